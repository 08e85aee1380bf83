/// Integer square root, one a cycle: root_o = floor(sqrt(value_i)). Fixed latency, no stall.
module m3_isqrt #(
  parameter int unsigned TagWidth = 1,   // bits that travel along
  parameter int unsigned StageBits = 2,  // bits of the root of one stage: 1, 2 or 4
  localparam int unsigned RootW = 28,
  localparam int unsigned Stages = RootW / StageBits  // cycles from valid_i to valid_o
) (
  input  logic                clk_i,
  input  logic                rst_ni,
  input  logic                valid_i,
  input  logic [2*RootW-1:0]  value_i,
  input  logic [TagWidth-1:0] tag_i,
  output logic                valid_o,
  output logic [RootW-1:0]    root_o,
  output logic [TagWidth-1:0] tag_o
);
  localparam int unsigned RemW = RootW + 2;  // before a step: remainder <= 2 * root so far
  localparam int unsigned StateW = RemW + RootW;

  /// StageBits steps, each taking two more bits of the value: the root grows by a 1 where
  /// (2 root + 1)^2 still fits.
  function automatic logic [StateW-1:0] advance(input logic [StateW-1:0] state,
                                                input logic [2*StageBits-1:0] bits);
    logic [RemW-1:0]  rem, trial;
    logic [RootW-1:0] root;
    logic             fits;
    {rem, root} = state;
    for (int unsigned b = 0; b < StageBits; b++) begin
      rem   = {rem[RemW-3:0], bits[2*(StageBits-1-b) +: 2]};
      trial = {root, 2'b01};
      fits  = rem >= trial;
      rem   = fits ? rem - trial : rem;
      root  = {root[RootW-2:0], fits};
    end
    advance = {rem, root};
  endfunction

  logic [Stages-1:0]   valid_q;
  logic [StateW-1:0]   state_q [Stages];
  logic [2*RootW-1:0]  value_q [Stages];  // what is left, at the top
  logic [TagWidth-1:0] tag_q   [Stages];

  always_ff @(posedge clk_i or negedge rst_ni) begin
    if (!rst_ni) valid_q <= '0;
    else valid_q <= {valid_q[Stages-2:0], valid_i};
  end

  always_ff @(posedge clk_i) begin
    if (valid_i) begin
      state_q[0] <= advance('0, value_i[2*RootW-1 -: 2*StageBits]);
      value_q[0] <= value_i << (2 * StageBits);
      tag_q[0]   <= tag_i;
    end
    for (int unsigned s = 1; s < Stages; s++) begin
      if (valid_q[s-1]) begin
        state_q[s] <= advance(state_q[s-1], value_q[s-1][2*RootW-1 -: 2*StageBits]);
        value_q[s] <= value_q[s-1] << (2 * StageBits);
        tag_q[s]   <= tag_q[s-1];
      end
    end
  end

  assign valid_o = valid_q[Stages-1];
  assign root_o  = state_q[Stages-1][RootW-1:0];
  assign tag_o   = tag_q[Stages-1];
endmodule
