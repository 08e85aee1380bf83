/// Divider, one division a cycle: quotient_o = floor(65536 * rem_i / divisor_i) for rem_i < divisor_i,
/// and 65535 where they are equal; rem_i <= divisor_i is the caller's duty. Fixed latency, no stall.
module m3_divide #(
  parameter int unsigned Width = 28,      // bits of the operands
  parameter int unsigned TagWidth = 1,    // bits that travel along
  parameter int unsigned StageBits = 2,   // quotient bits of one stage: 1, 2 or 4
  localparam int unsigned Stages = 16 / StageBits  // cycles from valid_i to valid_o
) (
  input  logic                clk_i,
  input  logic                rst_ni,
  input  logic                valid_i,
  input  logic [Width-1:0]    rem_i,
  input  logic [Width-1:0]    divisor_i,
  input  logic [TagWidth-1:0] tag_i,
  output logic                valid_o,
  output logic [15:0]         quotient_o,
  output logic [TagWidth-1:0] tag_o
);
  localparam int unsigned StateW = Width + 16;  // {remainder, quotient so far}

  /// StageBits steps of long division; the dividend's lower bits are all zero.
  function automatic logic [StateW-1:0] advance(input logic [StateW-1:0] state,
                                                input logic [Width-1:0] divisor);
    logic [Width-1:0] rem;
    logic [Width:0]   twice;
    logic [15:0]      quotient;
    logic             fits;
    {rem, quotient} = state;
    for (int unsigned b = 0; b < StageBits; b++) begin
      twice    = {rem, 1'b0};
      fits     = twice >= {1'b0, divisor};
      rem      = Width'(fits ? twice - {1'b0, divisor} : twice);
      quotient = {quotient[14:0], fits};
    end
    advance = {rem, quotient};
  endfunction

  logic [Stages-1:0]   valid_q;
  logic [StateW-1:0]   state_q   [Stages];
  logic [Width-1:0]    divisor_q [Stages];
  logic [TagWidth-1:0] tag_q     [Stages];

  always_ff @(posedge clk_i or negedge rst_ni) begin
    if (!rst_ni) valid_q <= '0;
    else valid_q <= {valid_q[Stages-2:0], valid_i};
  end

  always_ff @(posedge clk_i) begin
    if (valid_i) begin
      state_q[0]   <= advance({rem_i, 16'd0}, divisor_i);
      divisor_q[0] <= divisor_i;
      tag_q[0]     <= tag_i;
    end
    for (int unsigned s = 1; s < Stages; s++) begin
      if (valid_q[s-1]) begin
        state_q[s]   <= advance(state_q[s-1], divisor_q[s-1]);
        divisor_q[s] <= divisor_q[s-1];
        tag_q[s]     <= tag_q[s-1];
      end
    end
  end

  assign valid_o    = valid_q[Stages-1];
  assign quotient_o = state_q[Stages-1][15:0];
  assign tag_o      = tag_q[Stages-1];

`ifdef M3_ASSERT
  RemainderInRange: assert property (@(posedge clk_i) disable iff (!rst_ni)
                                     valid_i |-> rem_i <= divisor_i);
`endif
endmodule
