/// W lanes side by side, and what they share: the pipeline of a step's flags and the distribution of
/// DDR beats to the lanes' memories.
module m3_array #(
  parameter int unsigned W = 32,
  parameter int unsigned WeightWords = 512,
  parameter int unsigned ParamWords = 128,
  parameter int unsigned HeadWords = 8,       // words of an attention head, at most
  localparam int unsigned WAddrW = $clog2(WeightWords),
  localparam int unsigned PAddrW = $clog2(ParamWords)
) (
  input  logic                clk_i,
  input  logic                rst_ni,
  // from DDR, 64 bytes a beat: 64/W lanes' words or 8 lanes' parameters
  input  logic                ld_w_valid_i,
  input  logic                ld_p_valid_i,
  input  logic [WAddrW-1:0]   ld_w_addr_i,
  input  logic [PAddrW-1:0]   ld_p_addr_i,
  input  logic [4:0]          ld_part_i,      // which group of lanes: part · (64/W or 8) is its first
  input  logic [511:0]        ld_data_i,
  input  logic                ld_t_valid_i,   // one byte of an activation table, into every lane
  input  logic [8:0]          ld_t_addr_i,
  input  logic [7:0]          ld_t_data_i,
  // keys and values of attention: what the beat at `post_valid_o` is, and where it belongs
  input  logic                kv_valid_i,
  input  logic                kv_value_i,     // a value, else a key
  input  logic [WAddrW-1:0]   kv_addr_i,
  input  logic [$clog2(W)-1:0] kv_index_i,    // token mod W: a key's lane, a value's byte
  input  logic [$clog2(HeadWords)-1:0] kv_slot_i, // word of the head
  input  logic                kv_flush_i,     // values: the word is whole, or this is the last token
  output logic                ld_hold_o,      // a weight beat must not come in the next cycle
  // a step: addresses one cycle before the operands and flags
  input  logic [WAddrW-1:0]   w_raddr_i,
  input  logic                valid_i,
  input  logic                first_i,
  input  logic                last_i,
  input  logic [16*W-1:0]     act_i,
  input  logic [PAddrW-1:0]   p_raddr_i,      // of the step's block, with the step
  input  logic                own_par_i,
  input  logic [53:0]         par_i,
  input  m3_pkg::act_e        act_sel_i,
  input  logic                table_sel_i,
  input  logic [15:0]         gate_i,
  output logic                raw_valid_o,
  output logic [32*W-1:0]     raw_o,
  output logic                post_soon_o,    // one cycle before post_valid_o
  output logic                post_valid_o,
  output logic [8*W-1:0]      q_o,
  output logic [16*W-1:0]     z_o
);
  localparam int unsigned LanesW = 64 / W;  // lanes of a beat of weights
  localparam int unsigned LatPost = m3_pkg::LatPost;
  localparam int unsigned LatRaw = m3_pkg::LatRaw;

  logic [LatPost:0]   last_q;  // last_q[i]: a block's last step was at the lanes i + 1 cycles ago
  logic [PAddrW-1:0]  p_raddr_q, p_raddr_q2;


  always_ff @(posedge clk_i or negedge rst_ni) begin
    if (!rst_ni) last_q <= '0;
    else last_q <= {last_q[LatPost-1:0], last_i & valid_i};
  end
  always_ff @(posedge clk_i) begin
    p_raddr_q  <= p_raddr_i;
    p_raddr_q2 <= p_raddr_q;
  end
  assign raw_valid_o  = last_q[LatRaw-1] | last_q[LatRaw];
  assign post_soon_o  = last_q[LatPost-2] | last_q[LatPost-1];
  assign post_valid_o = last_q[LatPost-1] | last_q[LatPost];

  // a key or value is written one cycle after its beat; LOAD keeps that cycle free
  logic                 key_q, value_q;
  logic [WAddrW-1:0]    kv_addr_q;
  logic [$clog2(W)-1:0] kv_index_q;
  logic [8*W-1:0]       key_word_q;
  assign ld_hold_o = kv_valid_i & (~kv_value_i | kv_flush_i);
  always_ff @(posedge clk_i or negedge rst_ni) begin
    if (!rst_ni) begin
      key_q   <= 1'b0;
      value_q <= 1'b0;
    end else begin
      key_q   <= kv_valid_i & ~kv_value_i;
      value_q <= kv_valid_i & kv_value_i & kv_flush_i;
    end
  end
  always_ff @(posedge clk_i) begin
    if (kv_valid_i) begin
      kv_addr_q  <= kv_addr_i;
      kv_index_q <= kv_index_i;
      key_word_q <= q_o;
    end
  end

  for (genvar n = 0; n < W; n++) begin : g_lane
    logic [8*W-1:0] value_word;
    m3_vgather #(.W(W), .Slots(HeadWords)) u_vgather (
      .clk_i,
      .valid_i(kv_valid_i & kv_value_i), .slot_i(kv_slot_i), .index_i(kv_index_i),
      .byte_i(q_o[8*n +: 8]), .word_o(value_word)
    );
    m3_lane #(
      .W(W), .WeightWords(WeightWords), .ParamWords(ParamWords)
    ) u_lane (
      .clk_i,
      .w_we_i((ld_w_valid_i & (ld_part_i == 5'(n / LanesW))) | value_q
              | (key_q & (kv_index_q == ($clog2(W))'(n)))),
      .w_waddr_i((key_q | value_q) ? kv_addr_q : ld_w_addr_i),
      .w_wdata_i(value_q ? value_word : key_q ? key_word_q : ld_data_i[8*W*(n % LanesW) +: 8*W]),
      .p_we_i(ld_p_valid_i & (ld_part_i == 5'(n / 8))),
      .p_waddr_i(ld_p_addr_i),
      .p_wdata_i(ld_data_i[64*(n % 8) +: 54]),
      .t_we_i(ld_t_valid_i),
      .t_waddr_i(ld_t_addr_i),
      .t_wdata_i(ld_t_data_i),
      .w_raddr_i, .act_i, .valid_i, .first_i, .last_i,
      .p_raddr_i(p_raddr_q2),
      .own_par_i, .par_i, .act_sel_i, .table_sel_i, .gate_i,
      .raw_o(raw_o[32*n +: 32]),
      .q_o(q_o[8*n +: 8]),
      .z_o(z_o[16*n +: 16])
    );
  end
endmodule
