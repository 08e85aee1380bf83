/// One channel of the norm unit: squares for a row's sums, or a row's y; parameters. Fixed latency, no
/// stall. valid_i[k]: something is in stage k, whose registers it loads at the cycle's end:
///   1 operands, 2 product (x * x or x * D); then only for y: 3 D x - s1, 4 and 5 times r, 6 shifted,
///   7 z, 8 times mul, 9 plus bias, 10 shifted, 11 y.
/// Inputs without a stage in their name belong to stage 1; y is at y_o after stage 11.
module m3_norm_lane #(
  parameter int unsigned NormWords = 64,  // channels' parameters
  localparam int unsigned AddrW = $clog2(NormWords)
) (
  input  logic               clk_i,
  input  logic               param_we_i,
  input  logic [AddrW-1:0]   param_waddr_i,
  input  logic [47:0]        param_wdata_i,  // {mul, bias}
  input  logic [11:1]        valid_i,
  input  logic               square_i,       // stage 1: x * x, not x * D
  input  logic [15:0]        x_i,
  input  logic [12:0]        channels_i,     // D
  input  logic [27:0]        sum3_i,         // s1
  input  logic [15:0]        r4_i,
  input  logic [5:0]         shift6_i,       // 33 - m: 6 … 33
  input  logic [AddrW-1:0]   param_raddr7_i,
  input  logic [5:0]         shift10_i,
  output logic [15:0]        x_o,            // after stage 1
  output logic [31:0]        square_o,       // after stage 2
  output logic [7:0]         y_o
);
  (* ram_style = "distributed" *) logic [47:0] params [NormWords];

  logic signed [15:0] x_q, other_q, z_q;
  logic signed [31:0] product_q, bias_q, affine_q;
  logic signed [28:0] centred_q;
  logic signed [45:0] scaled_q, scaled_q2;
  logic signed [40:0] shifted_q;
  logic signed [32:0] sum_q;
  logic signed [33:0] down_q;
  logic [47:0]        param_q;
  logic signed [40:0] z;
  logic signed [33:0] y;

  always_ff @(posedge clk_i) begin
    if (param_we_i) params[param_waddr_i] <= param_wdata_i;
    if (valid_i[7]) param_q <= params[param_raddr7_i];
  end

  // rshift(v, s) = (floor(2 v / 2^s) + 1) >> 1: no rounding constant that depends on s.
  assign z = (shifted_q + 41'sd1) >>> 1;
  assign y = (down_q + 34'sd1) >>> 1;

  always_ff @(posedge clk_i) begin
    if (valid_i[1]) begin
      x_q     <= x_i;
      other_q <= square_i ? x_i : {3'd0, channels_i};
    end
    if (valid_i[2]) product_q <= 32'(x_q) * 32'(other_q);
    if (valid_i[3]) centred_q <= 29'(product_q) - 29'($signed(sum3_i));
    if (valid_i[4]) scaled_q  <= 46'(centred_q) * 46'($signed({1'b0, r4_i}));
    if (valid_i[5]) scaled_q2 <= scaled_q;
    if (valid_i[6]) shifted_q <= 41'($signed({scaled_q2, 1'b0}) >>> shift6_i);
    if (valid_i[7]) z_q <= (z > 41'sd32767) ? 16'sd32767 : (z < -41'sd32767) ? -16'sd32767 : z[15:0];
    if (valid_i[8]) begin
      affine_q <= 32'(z_q) * 32'($signed(param_q[47:32]));
      bias_q   <= $signed(param_q[31:0]);
    end
    if (valid_i[9])  sum_q  <= 33'(affine_q) + 33'(bias_q);
    if (valid_i[10]) down_q <= $signed({sum_q, 1'b0}) >>> shift10_i;
    if (valid_i[11]) y_o <= (y > 34'sd127) ? 8'sd127 : (y < -34'sd127) ? -8'sd127 : y[7:0];
  end
  assign x_o      = x_q;
  assign square_o = product_q;
endmodule
