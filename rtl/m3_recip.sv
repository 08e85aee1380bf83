/// Reciprocal of a sum, one a cycle: n_o left shifts bring sum_i to [2^25, 2^26), and
/// r_o = floor(gain_i * 2^26 / (sum_i << n_o)). Wants sum_i > 0 and gain_i in [2^14, 2^15).
/// No stall; valid_o comes 2 + 16 / StageBits cycles after valid_i.
module m3_recip #(
  parameter int unsigned TagWidth = 1,
  parameter int unsigned StageBits = 2  // as in m3_divide
) (
  input  logic                clk_i,
  input  logic                rst_ni,
  input  logic                valid_i,
  input  logic [25:0]         sum_i,
  input  logic [14:0]         gain_i,
  input  logic [TagWidth-1:0] tag_i,
  output logic                valid_o,
  output logic [15:0]         r_o,
  output logic [4:0]          n_o,
  output logic [TagWidth-1:0] tag_o
);
  logic                coarse_valid_q, fine_valid_q;
  logic [25:0]         coarse_d, coarse_q, fine_d, fine_q;
  logic [4:3]          coarse_n_d, coarse_n_q;
  logic [4:0]          fine_n_d, fine_n_q;
  logic [14:0]         coarse_gain_q, fine_gain_q;
  logic [TagWidth-1:0] coarse_tag_q, fine_tag_q;

  always_comb begin
    coarse_d   = sum_i;
    coarse_n_d = '0;
    if (coarse_d[25:10] == '0) begin coarse_d = coarse_d << 16; coarse_n_d[4] = 1'b1; end
    if (coarse_d[25:18] == '0) begin coarse_d = coarse_d << 8;  coarse_n_d[3] = 1'b1; end
    fine_d   = coarse_q;
    fine_n_d = {coarse_n_q, 3'd0};
    if (fine_d[25:22] == '0) begin fine_d = fine_d << 4; fine_n_d[2] = 1'b1; end
    if (fine_d[25:24] == '0) begin fine_d = fine_d << 2; fine_n_d[1] = 1'b1; end
    if (!fine_d[25])         begin fine_d = fine_d << 1; fine_n_d[0] = 1'b1; end
  end

  always_ff @(posedge clk_i or negedge rst_ni) begin
    if (!rst_ni) begin
      coarse_valid_q <= 1'b0;
      fine_valid_q   <= 1'b0;
    end else begin
      coarse_valid_q <= valid_i;
      fine_valid_q   <= coarse_valid_q;
    end
  end
  always_ff @(posedge clk_i) begin
    if (valid_i) begin
      coarse_q      <= coarse_d;
      coarse_n_q    <= coarse_n_d;
      coarse_gain_q <= gain_i;
      coarse_tag_q  <= tag_i;
    end
    if (coarse_valid_q) begin
      fine_q      <= fine_d;
      fine_n_q    <= fine_n_d;
      fine_gain_q <= coarse_gain_q;
      fine_tag_q  <= coarse_tag_q;
    end
  end

  m3_divide #(
    .Width(26), .TagWidth(TagWidth + 5), .StageBits(StageBits)
  ) u_divide (
    .clk_i, .rst_ni,
    .valid_i(fine_valid_q),
    .rem_i({1'b0, fine_gain_q, 10'd0}),  // gain * 2^26 / 2^16
    .divisor_i(fine_q),
    .tag_i({fine_tag_q, fine_n_q}),
    .valid_o,
    .quotient_o(r_o),
    .tag_o({tag_o, n_o})
  );
endmodule
