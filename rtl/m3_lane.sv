/// One output channel of the array: weights, a W-wide dot product for two rows, parameters, the post
/// unit. Fixed latency, no stall. Two int8 products share one multiplier: the rows lie 18 bits apart
/// in a 27-bit operand, and eight products of ±127 · ±128 fit the low field, so packed products are
/// added by eights and split afterwards.
///
/// Time, counted from the step (0) whose operands are at `act_i`: products 0, sums of eight 1,
/// accumulators 2; if it was the block's last step, row 0 passes bias 3, multiply 4, round 5,
/// clamp 6, activation 7, row 1 one cycle later. A block takes two steps at least.
module m3_lane #(
  parameter int unsigned W = 32,             // elements of a dot product, a multiple of 8
  parameter int unsigned WeightWords = 512,  // words of W weights
  parameter int unsigned ParamWords = 128,   // output channels' parameters
  localparam int unsigned WAddrW = $clog2(WeightWords),
  localparam int unsigned PAddrW = $clog2(ParamWords)
) (
  input  logic                clk_i,
  // memories' write ports
  input  logic                w_we_i,
  input  logic [WAddrW-1:0]   w_waddr_i,
  input  logic [8*W-1:0]      w_wdata_i,
  input  logic                p_we_i,
  input  logic [PAddrW-1:0]   p_waddr_i,
  input  logic [53:0]         p_wdata_i,   // {shift, mul, bias}
  input  logic                t_we_i,
  input  logic [8:0]          t_waddr_i,   // {table, int8 value + 128}
  input  logic [7:0]          t_wdata_i,
  // a step
  input  logic [WAddrW-1:0]   w_raddr_i,   // one cycle before act_i
  input  logic [16*W-1:0]     act_i,       // row 1, row 0: W int8 each
  input  logic                valid_i,
  input  logic                first_i,     // of its block
  input  logic                last_i,
  // post unit, all rows and blocks of a pass alike but for the addresses
  input  logic [PAddrW-1:0]   p_raddr_i,   // of the block whose last step is at time 2
  input  logic                own_par_i,   // 1: parameters from the memory, 0: from par_i
  input  logic [53:0]         par_i,
  input  m3_pkg::act_e        act_sel_i,
  input  logic                table_sel_i,
  input  logic [15:0]         gate_i,      // 1.0 = 32768, at time 7 (row 0) and 8 (row 1)
  output logic [31:0]         raw_o,       // acc + bias, from time 4 on: row 0, then row 1
  output logic [7:0]          q_o,         // int8 after the activation, from time 8 on
  output logic [15:0]         z_o          // int16 times gate, from time 8 on
);
  localparam int unsigned Eights = W / 8;

  (* ram_style = "block" *) logic [8*W-1:0] weights [WeightWords];
  (* ram_style = "block" *) logic [53:0]    params [ParamWords];
  (* ram_style = "distributed" *) logic [7:0] table_mem [512];

  function automatic logic signed [26:0] packed_rows(input logic [7:0] row1, input logic [7:0] row0);
    packed_rows = 27'($signed({row1, 18'd0})) + 27'($signed(row0));
  endfunction

  logic [8*W-1:0]     w_q;
  logic signed [47:0] p_q [W], c_q [Eights];
  logic signed [31:0] sum0, sum1, acc0_q, acc1_q, hold_q;
  logic [1:0]         v_q, f_q, e_q;
  logic               row0_q, row1_q, mul_v_q, round_v_q, clamp_v_q, act_v_q;
  logic [53:0]        par_q;
  logic signed [32:0] a_q;
  logic [15:0]        mul_q;
  logic [5:0]         shift_q, shift_q2;
  logic signed [49:0] m_q, y_q;
  logic signed [7:0]  q_q;
  logic signed [15:0] y16_q;

  always_ff @(posedge clk_i) begin
    if (w_we_i) weights[w_waddr_i] <= w_wdata_i;
    w_q <= weights[w_raddr_i];
  end

  always_ff @(posedge clk_i) begin
    if (p_we_i) params[p_waddr_i] <= p_wdata_i;
    if (e_q[1]) par_q <= params[p_raddr_i];
  end

  always_ff @(posedge clk_i) begin
    if (t_we_i) table_mem[t_waddr_i] <= t_wdata_i;
  end

  always_ff @(posedge clk_i) begin
    for (int unsigned k = 0; k < W; k++) begin
      p_q[k] <= 48'(packed_rows(act_i[8*(W+k) +: 8], act_i[8*k +: 8])) * 48'($signed(w_q[8*k +: 8]));
    end
    for (int unsigned i = 0; i < Eights; i++) begin
      c_q[i] <= ((p_q[8*i] + p_q[8*i+1]) + (p_q[8*i+2] + p_q[8*i+3]))
                + ((p_q[8*i+4] + p_q[8*i+5]) + (p_q[8*i+6] + p_q[8*i+7]));
    end
    if (v_q[1]) begin
      acc0_q <= (f_q[1] ? 32'sd0 : acc0_q) + sum0;
      acc1_q <= (f_q[1] ? 32'sd0 : acc1_q) + sum1;
    end
    v_q    <= {v_q[0], valid_i};
    f_q    <= {f_q[0], first_i};
    e_q    <= {e_q[0], last_i & valid_i};
    row0_q <= e_q[1];
    row1_q <= row0_q;
    if (row0_q) hold_q <= acc1_q;
  end

  always_comb begin
    sum0 = '0;
    sum1 = '0;
    for (int unsigned i = 0; i < Eights; i++) begin  // low field, and high field plus its borrow
      sum0 += 32'($signed(c_q[i][17:0]));
      sum1 += 32'($signed(c_q[i][47:18])) + 32'(c_q[i][17]);
    end
  end

  logic [53:0] par;
  assign par = own_par_i ? par_q : par_i;

  always_ff @(posedge clk_i) begin
    mul_v_q   <= row0_q | row1_q;
    round_v_q <= mul_v_q;
    clamp_v_q <= round_v_q;
    act_v_q   <= clamp_v_q;
    if (row0_q | row1_q) begin
      a_q     <= (row0_q ? 33'(acc0_q) : 33'(hold_q)) + 33'($signed(par[31:0]));
      mul_q   <= par[47:32];
      shift_q <= par[53:48];
    end
    if (mul_v_q) begin
      m_q      <= 50'(a_q) * 50'($signed({1'b0, mul_q}));
      shift_q2 <= shift_q;
    end
    if (round_v_q) y_q <= m3_pkg::rshift(m_q, shift_q2);
    if (clamp_v_q) begin
      q_q   <= m3_pkg::sat8(y_q);
      y16_q <= m3_pkg::sat16(y_q);
    end
    if (act_v_q) begin
      unique case (act_sel_i)
        m3_pkg::ActRelu:  q_o <= q_q[7] ? 8'd0 : q_q;
        m3_pkg::ActTable: q_o <= table_mem[{table_sel_i, ~q_q[7], q_q[6:0]}];
        default:          q_o <= q_q;
      endcase
      z_o <= 16'((34'(y16_q) * $signed({18'd0, gate_i}) + 34'sd16384) >>> 15);
    end
  end
  assign raw_o = a_q[31:0];
endmodule
