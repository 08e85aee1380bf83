/// Cuts a request for beats of 64 bytes into AXI bursts that do not cross 4 KiB.
module m3_burst #(
  parameter int unsigned MaxBeats = 64
) (
  input  logic        clk_i,
  input  logic        rst_ni,
  input  logic        valid_i,
  output logic        ready_o,
  input  logic [31:0] addr_i,   // in beats
  input  logic [23:0] beats_i,  // >= 1
  output logic        valid_o,
  input  logic        ready_i,
  output logic [31:0] addr_o,   // in beats
  output logic [7:0]  len_o     // beats - 1, as in AXI
);
  logic        busy_q;
  logic [31:0] addr_q;
  logic [23:0] left_q;
  logic [6:0]  room, beats;

  assign room    = 7'd64 - {1'b0, addr_q[5:0]};
  always_comb begin
    beats = (room > 7'(MaxBeats)) ? 7'(MaxBeats) : room;
    if (left_q < 24'(beats)) beats = left_q[6:0];
  end
  assign ready_o = ~busy_q;
  assign valid_o = busy_q;
  assign addr_o  = addr_q;
  assign len_o   = 8'(beats) - 8'd1;

  always_ff @(posedge clk_i or negedge rst_ni) begin
    if (!rst_ni) busy_q <= 1'b0;
    else if (!busy_q) busy_q <= valid_i;
    else if (ready_i && left_q == 24'(beats)) busy_q <= 1'b0;
  end
  always_ff @(posedge clk_i) begin
    if (!busy_q) begin
      addr_q <= addr_i;
      left_q <= beats_i;
    end else if (ready_i) begin
      addr_q <= addr_q + 32'(beats);
      left_q <= left_q - 24'(beats);
    end
  end

`ifdef FORMAL
  logic        past_q = 1'b0;
  logic [31:0] next_q;   // the beat that must come next
  logic [23:0] sent_q, want_q;
  always_ff @(posedge clk_i) begin
    past_q <= 1'b1;
    assume (rst_ni == past_q);
    assume (beats_i != '0);
    if (valid_i && ready_o) begin
      next_q <= addr_i;
      want_q <= beats_i;
      sent_q <= '0;
    end else if (valid_o && ready_i) begin
      next_q <= next_q + 32'(len_o) + 32'd1;
      sent_q <= sent_q + 24'(len_o) + 24'd1;
    end
    if (past_q && rst_ni && busy_q) begin
      NoGap:        assert (addr_o == next_q && left_q == want_q - sent_q && left_q != '0);
      WithinPage:   assert (32'(addr_o[5:0]) + 32'(len_o) < 32'd64);
      WithinBurst:  assert (32'(len_o) < MaxBeats);
      NotTooMany:   assert (24'(len_o) < left_q);
    end
  end
`endif
endmodule
