/// First in, first out, ready/valid on both sides. Nothing is lost, repeated or reordered: proven
/// (scripts/rtl_prove.sh). `data_o` is combinational from the memory; `ready_o` depends on no input.
module m3_fifo #(
  parameter int unsigned Width = 8,  // bits of an entry
  parameter int unsigned Depth = 4,  // entries, >= 2, any number
  localparam int unsigned CountW = $clog2(Depth + 1)
) (
  input  logic              clk_i,
  input  logic              rst_ni,
  input  logic              valid_i,
  output logic              ready_o,
  input  logic [Width-1:0]  data_i,
  output logic              valid_o,
  input  logic              ready_i,
  output logic [Width-1:0]  data_o,
  output logic [CountW-1:0] count_o  // entries held
);
  localparam int unsigned PtrW = $clog2(Depth);

  logic [Width-1:0]  mem [Depth];
  logic [PtrW-1:0]   wr_q, rd_q;
  logic [CountW-1:0] count_q;
  logic              push, pop;

  assign ready_o = count_q != CountW'(Depth);
  assign valid_o = count_q != '0;
  assign data_o  = mem[rd_q];
  assign count_o = count_q;
  assign push    = valid_i & ready_o;
  assign pop     = valid_o & ready_i;

  always_ff @(posedge clk_i) begin
    if (push) mem[wr_q] <= data_i;
  end

  always_ff @(posedge clk_i or negedge rst_ni) begin
    if (!rst_ni) begin
      wr_q    <= '0;
      rd_q    <= '0;
      count_q <= '0;
    end else begin
      if (push) wr_q <= (wr_q == PtrW'(Depth - 1)) ? '0 : wr_q + 1'b1;
      if (pop)  rd_q <= (rd_q == PtrW'(Depth - 1)) ? '0 : rd_q + 1'b1;
      count_q <= count_q + CountW'(push) - CountW'(pop);
    end
  end

`ifdef FORMAL
  // One entry, chosen freely at its push, is followed until it leaves: it must leave after exactly
  // those in front of it, unchanged. As the choice is free this holds for every entry.
  (* anyseq *) logic follow;
  logic              past_q = 1'b0, have_q = 1'b0;
  logic [CountW-1:0] ahead_q;
  logic [Width-1:0]  want_q;
  logic [PtrW:0]     place;
  assign place = {1'b0, rd_q} + (PtrW + 1)'(ahead_q);

  always_ff @(posedge clk_i) begin
    past_q <= 1'b1;
    assume (rst_ni == past_q);
    if (!rst_ni) have_q <= 1'b0;
    else if (!have_q) begin
      if (push && follow) begin
        have_q  <= 1'b1;
        ahead_q <= count_q - CountW'(pop);
        want_q  <= data_i;
      end
    end else if (pop) begin
      if (ahead_q == '0) begin
        have_q <= 1'b0;
        EntryUnchanged: assert (data_o == want_q);
      end else ahead_q <= ahead_q - 1'b1;
    end
    if (past_q && rst_ni) begin
      PointersInRange: assert (wr_q < Depth && rd_q < Depth);
      CountInRange:    assert (count_q <= Depth);
      PointersAgree:   assert ((rd_q + count_q == {1'b0, wr_q}) ||
                               (rd_q + count_q == {1'b0, wr_q} + Depth));
      if (have_q) begin
        StillHeld:  assert (ahead_q < count_q);
        InItsPlace: assert (mem[(place >= Depth) ? PtrW'(place - Depth) : PtrW'(place)] == want_q);
      end
    end
  end
`endif
endmodule
