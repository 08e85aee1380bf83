/// Bilinear x2 of a map in amem (docs/accelerator.md §3, Upsample): four reads and one write a word of
/// the output, each output pixel from its near pixel and the neighbours away from it; the map's border
/// repeats. Pixels lie line by line without gaps; source and output may be strips of the map.
module m3_upsample #(
  parameter int unsigned W = 32  // channels of a word
) (
  input  logic              clk_i,
  input  logic              rst_ni,
  // the op: a pulse; its fields stay as they are until done_o
  input  logic              start_i,
  input  logic [15:0]       lines_i,       // of the output, >= 1
  input  logic [7:0]        words_i,       // of a pixel, >= 1
  input  logic [15:0]       width_i,       // of the source map
  input  logic [15:0]       height_i,
  input  logic [15:0]       src_i,
  input  logic [15:0]       dst_i,
  input  logic [15:0]       src_first_i,   // map line that src begins with
  input  logic [15:0]       dst_first_i,   // line of the output map that dst begins with
  output logic              done_o,        // pulse, after the last write
  output logic [15:0]       lines_done_o,
  // amem, read: data in the cycle after gnt
  output logic              amem_req_o,
  input  logic              amem_gnt_i,
  output logic [15:0]       amem_raddr_o,
  input  logic [8*W-1:0]    amem_rdata_i,
  // amem, write
  output logic              amem_valid_o,
  input  logic              amem_ready_i,
  output logic [15:0]       amem_waddr_o,
  output logic [8*W-1:0]    amem_wdata_o
);
  localparam int unsigned Room = 8;  // output words between their first read and their write
  localparam int unsigned RoomW = $clog2(Room + 1);

  /// Near and far along lines (bit 1) and pixels (bit 0), in the order of reading.
  typedef enum logic [1:0] { NearNear, NearFar, FarNear, FarFar } corner_e;
  typedef enum logic [2:0] { Idle, LineSize, Offset, Base, Run, Drain } state_e;

  // ---- addresses. Words of a line and of a pixel are steps; only the start takes multiplications.
  state_e      state_q;
  corner_e     corner_q;
  logic [15:0] line_size_q, offset_q, near_line_q, near_pixel_q, line_q, x_q, left_q;
  logic [15:0] far_line, far_pixel, factor_a, factor_b;
  logic [7:0]  word_q;
  logic        advance, last_word, last_x, enters;
  logic [16:0] last_pixel;
  logic [15:0] line_map;  // line of the source map that is near

  assign factor_a  = (state_q == LineSize) ? width_i : (dst_first_i >> 1) - src_first_i;
  assign factor_b  = (state_q == LineSize) ? 16'(words_i) : line_size_q;
  assign line_map  = line_q >> 1;
  assign last_pixel = {width_i, 1'b0} - 17'd1;
  assign last_word = word_q == words_i - 8'd1;
  assign last_x    = 17'(x_q) == last_pixel;
  assign far_line  = line_q[0] ? ((line_map == height_i - 16'd1) ? near_line_q : near_line_q + line_size_q)
                               : ((line_map == '0) ? near_line_q : near_line_q - line_size_q);
  assign far_pixel = x_q[0] ? (last_x ? near_pixel_q : near_pixel_q + 16'(words_i))
                            : ((x_q == '0) ? near_pixel_q : near_pixel_q - 16'(words_i));

  // ---- one address waits for its grant
  logic        addr_valid_q, addr_line_end_q, gone;
  corner_e     addr_corner_q;
  logic [15:0] addr_q;
  logic [RoomW-1:0] room_q;
  logic        take;

  assign advance      = (state_q == Run) & (~addr_valid_q | gone);
  assign amem_req_o   = addr_valid_q & ((addr_corner_q != NearNear) | (room_q != RoomW'(Room)));
  assign gone         = amem_req_o & amem_gnt_i;
  assign enters       = gone & (addr_corner_q == NearNear);
  assign amem_raddr_o = addr_q;

  always_ff @(posedge clk_i or negedge rst_ni) begin
    if (!rst_ni) begin
      state_q      <= Idle;
      addr_valid_q <= 1'b0;
      room_q       <= '0;
    end else begin
      unique case (state_q)
        Idle:     if (start_i) state_q <= LineSize;
        LineSize: state_q <= Offset;
        Offset:   state_q <= Base;
        Base:     state_q <= Run;
        Run:      if (advance & (corner_q == FarFar) & last_word & last_x & (left_q == 16'd1))
                    state_q <= Drain;
        Drain:    if (done_o) state_q <= Idle;
        default:  state_q <= Idle;
      endcase
      if (advance) addr_valid_q <= 1'b1;
      else if (gone) addr_valid_q <= 1'b0;
      room_q <= room_q + RoomW'(enters) - RoomW'(take);
    end
  end

  always_ff @(posedge clk_i) begin
    if (state_q == LineSize) line_size_q <= 16'(32'(factor_a) * 32'(factor_b));
    if (state_q == Offset)   offset_q    <= 16'(32'(factor_a) * 32'(factor_b));
    if (state_q == Base) begin
      near_line_q  <= src_i + offset_q;
      near_pixel_q <= '0;
      line_q       <= dst_first_i;
      left_q       <= lines_i;
      x_q          <= '0;
      word_q       <= '0;
      corner_q     <= NearNear;
    end
    if (advance) begin
      addr_q <= (corner_q[1] ? far_line : near_line_q) + (corner_q[0] ? far_pixel : near_pixel_q)
                + 16'(word_q);
      addr_corner_q   <= corner_q;
      addr_line_end_q <= last_word & last_x;
      unique case (corner_q)
        NearNear: corner_q <= NearFar;
        NearFar:  corner_q <= FarNear;
        FarNear:  corner_q <= FarFar;
        default: begin
          corner_q <= NearNear;
          word_q   <= last_word ? '0 : word_q + 1'b1;
          if (last_word) begin
            x_q          <= last_x ? '0 : x_q + 1'b1;
            near_pixel_q <= last_x ? '0 : x_q[0] ? near_pixel_q + 16'(words_i) : near_pixel_q;
            if (last_x) begin
              line_q <= line_q + 1'b1;
              left_q <= left_q - 1'b1;
              if (line_q[0]) near_line_q <= near_line_q + line_size_q;
            end
          end
        end
      endcase
    end
  end

  // ---- 9 nn + 3 nf + 3 fn + ff + 8: weighted (stage 2), added up (3)
  logic [3:1]         valid_q;
  corner_e            corner_q1, corner_q2, corner_q3;
  logic [3:1]         line_end_q;
  logic signed [11:0] term_q [W], sum_q [W];
  logic [8*W-1:0]     word;

  always_ff @(posedge clk_i or negedge rst_ni) begin
    if (!rst_ni) valid_q <= '0;
    else valid_q <= {valid_q[2:1], gone};
  end
  always_ff @(posedge clk_i) begin
    corner_q1  <= addr_corner_q;
    corner_q2  <= corner_q1;
    corner_q3  <= corner_q2;
    line_end_q <= {line_end_q[2:1], addr_line_end_q};
    for (int unsigned n = 0; n < W; n++) begin
      if (valid_q[1]) begin
        term_q[n] <= ((corner_q1 == NearNear) ? 12'($signed(amem_rdata_i[8*n +: 8])) <<< 3
                    : (corner_q1 == FarFar)   ? 12'sd0
                                              : 12'($signed(amem_rdata_i[8*n +: 8])) <<< 1)
                     + 12'($signed(amem_rdata_i[8*n +: 8]));
      end
      if (valid_q[2]) sum_q[n] <= ((corner_q2 == NearNear) ? 12'sd8 : sum_q[n]) + term_q[n];
    end
  end
  always_comb begin
    for (int unsigned n = 0; n < W; n++) word[8*n +: 8] = sum_q[n][11:4];
  end

  // ---- writes
  logic        unused_ready, line_end, line_written;
  logic [RoomW-1:0] unused_count;
  m3_fifo #(.Width(8 * W + 1), .Depth(Room)) u_out (
    .clk_i, .rst_ni,
    .valid_i(valid_q[3] & (corner_q3 == FarFar)), .ready_o(unused_ready),
    .data_i({line_end_q[3], word}),
    .valid_o(amem_valid_o), .ready_i(amem_ready_i), .data_o({line_end, amem_wdata_o}),
    .count_o(unused_count)
  );
  assign take         = amem_valid_o & amem_ready_i;
  assign line_written = take & line_end;

  always_ff @(posedge clk_i or negedge rst_ni) begin
    if (!rst_ni) begin
      lines_done_o <= '0;
      done_o       <= 1'b0;
    end else begin
      if (start_i) lines_done_o <= '0;
      else if (line_written) lines_done_o <= lines_done_o + 1'b1;
      done_o <= line_written & (lines_done_o + 1'b1 == lines_i);
    end
  end
  always_ff @(posedge clk_i) begin
    if (start_i) amem_waddr_o <= dst_i;
    else if (take) amem_waddr_o <= amem_waddr_o + 1'b1;
  end

`ifdef M3_ASSERT
  WordHasSpace: assert property (@(posedge clk_i) disable iff (!rst_ni)
                                 valid_q[3] & (corner_q3 == FarFar) |-> unused_ready);
  IdleAtStart:  assert property (@(posedge clk_i) disable iff (!rst_ni)
                                 start_i |-> (state_q == Idle) & (room_q == '0));
`endif
endmodule
