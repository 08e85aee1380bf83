/// One register of a stream, ready/valid on both sides, full rate; `ready_o` follows `ready_i`
/// combinationally. Where that path must be cut too, take m3_fifo with Depth 2.
module m3_sreg #(
  parameter int unsigned Width = 8  // bits of a beat
) (
  input  logic             clk_i,
  input  logic             rst_ni,
  input  logic             valid_i,
  output logic             ready_o,
  input  logic [Width-1:0] data_i,
  output logic             valid_o,
  input  logic             ready_i,
  output logic [Width-1:0] data_o
);
  logic             valid_q;
  logic [Width-1:0] data_q;

  assign ready_o = ready_i | ~valid_q;
  assign valid_o = valid_q;
  assign data_o  = data_q;

  always_ff @(posedge clk_i) begin
    if (valid_i & ready_o) data_q <= data_i;
  end

  always_ff @(posedge clk_i or negedge rst_ni) begin
    if (!rst_ni) valid_q <= 1'b0;
    else if (ready_o) valid_q <= valid_i;
  end

`ifdef FORMAL
  // Beats held = beats in - beats out, and what leaves is the last that entered.
  logic             past_q = 1'b0;
  logic             held_q;
  logic [Width-1:0] last_q, out_q;
  logic             wait_q;
  always_ff @(posedge clk_i) begin
    past_q <= 1'b1;
    assume (rst_ni == past_q);
    held_q <= rst_ni & (held_q | (valid_i & ready_o)) & ~((valid_o & ready_i) & ~(valid_i & ready_o));
    if (valid_i & ready_o) last_q <= data_i;
    wait_q <= rst_ni & valid_o & ~ready_i;
    out_q  <= data_o;
    if (past_q && rst_ni) begin
      NothingLostOrRepeated: assert (held_q == valid_o);
      if (valid_o) Unchanged: assert (data_o == last_q);
      if (wait_q) StableUntilTaken: assert (valid_o && data_o == out_q);
    end
  end
`endif
endmodule
