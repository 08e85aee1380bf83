/// Addresses of a 3x3 convolution's rows (docs/accelerator.md §3): row after row, each the words of the
/// pixels (y-1, x-1), (y-1, x) … (y+1, x+1); outside the map there are zeros. Pixels lie line by line
/// without gaps, so a line's three are one run of words, and a row's centre is one pixel after the last.
module m3_gather #(
  parameter int unsigned AddrW = 15
) (
  input  logic             clk_i,
  input  logic             rst_ni,
  // the op: a pulse; its fields stay as they are until the next
  input  logic             start_i,
  input  logic [AddrW-1:0] src_i,
  input  logic [15:0]      stride_i,     // words of a pixel
  input  logic [15:0]      width_i,
  input  logic [15:0]      height_i,
  input  logic [15:0]      src_first_i,  // map line that src begins with
  input  logic [15:0]      first_i,      // map line of the first row's pixel, its x is 0
  output logic             ready_o,      // from the third cycle after start_i
  // the word at addr_o, or a zero word; next_i steps on
  input  logic             next_i,
  output logic [AddrW-1:0] addr_o,
  output logic             zero_o
);
  typedef enum logic [1:0] { LineSize, Offset, Base, Run } state_e;
  state_e           state_q;
  logic [AddrW-1:0] line_size_q, run_q, above_q, factor_a, factor_b, product;
  logic [15:0]      x_q, y_q, word_q;
  logic [1:0]       line_q, pixel_q;     // of the nine: 0 … 2
  logic             last_word, last_pixel, last_line, last_x;

  assign factor_a   = (state_q == LineSize) ? AddrW'(width_i) : AddrW'(first_i - src_first_i - 16'd1);
  assign factor_b   = (state_q == LineSize) ? AddrW'(stride_i) : line_size_q;
  assign product    = AddrW'((2*AddrW)'(factor_a) * (2*AddrW)'(factor_b));
  assign last_word  = word_q == stride_i - 16'd1;
  assign last_pixel = last_word & (pixel_q == 2'd2);
  assign last_line  = last_pixel & (line_q == 2'd2);
  assign last_x     = x_q == width_i - 16'd1;
  assign ready_o    = state_q == Run;
  assign addr_o     = run_q;
  assign zero_o     = ((line_q == 2'd0) & (y_q == '0)) | ((line_q == 2'd2) & (y_q == height_i - 16'd1))
                      | ((pixel_q == 2'd0) & (x_q == '0)) | ((pixel_q == 2'd2) & last_x);

  always_ff @(posedge clk_i or negedge rst_ni) begin
    if (!rst_ni) state_q <= Run;
    else if (start_i) state_q <= LineSize;
    else begin
      unique case (state_q)
        LineSize: state_q <= Offset;
        Offset:   state_q <= Base;
        default:  state_q <= Run;
      endcase
    end
  end

  // above_q: of the row's first pixel; run_q: of the word now
  always_ff @(posedge clk_i) begin
    unique case (state_q)
      LineSize: line_size_q <= product;
      Offset:   above_q     <= src_i + product - AddrW'(stride_i);
      Base: begin
        run_q   <= above_q;
        x_q     <= '0;
        y_q     <= first_i;
        line_q  <= '0;
        pixel_q <= '0;
        word_q  <= '0;
      end
      default: if (next_i) begin
        word_q  <= last_word ? '0 : word_q + 16'd1;
        if (last_word) pixel_q <= last_pixel ? '0 : pixel_q + 2'd1;
        if (last_pixel) line_q <= last_line ? '0 : line_q + 2'd1;
        if (last_line) begin
          run_q   <= above_q + AddrW'(stride_i);
          above_q <= above_q + AddrW'(stride_i);
          x_q     <= last_x ? '0 : x_q + 16'd1;
          if (last_x) y_q <= y_q + 16'd1;
        end else if (last_pixel) begin
          run_q <= run_q + line_size_q - AddrW'({stride_i, 1'b0}) - AddrW'(stride_i) + 1'b1;
        end else begin
          run_q <= run_q + 1'b1;
        end
      end
    endcase
  end
endmodule
