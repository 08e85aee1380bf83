/// From logits to entries of the expert lists (docs/accelerator.md §3, Route). Raw beats of the array
/// fill a buffer of four pairs of rows; each row is read twice, one logit a cycle: for the chosen
/// experts and the maximum, and, a row behind, for the softmax over all; then its gate weights are
/// made and pushed. `room_o` tells the pass that another pair fits.
module m3_router #(
  parameter int unsigned W = 32,
  parameter int unsigned Experts = 1024,
  parameter int unsigned K = 8,
  localparam int unsigned ExpertW = $clog2(Experts)
) (
  input  logic               clk_i,
  input  logic               rst_ni,
  // an operation: fields hold until `busy_o` falls
  input  logic               start_i,
  output logic               busy_o,
  input  logic [15:0]        rows_i,
  input  logic [ExpertW:0]   experts_i,
  input  logic [3:0]         top_k_i,
  input  logic [15:0]        mul_i,
  input  logic [5:0]         shift_i,
  input  logic [15:0]        prune_i,
  // gate table
  input  logic               t_we_i,
  input  logic [7:0]         t_waddr_i,
  input  logic [15:0]        t_wdata_i,
  // logits
  output logic               room_o,
  input  logic               pair_i,       // a pair is on its way
  input  logic               raw_valid_i,
  input  logic [32*W-1:0]    raw_i,
  // entries
  output logic               push_valid_o,
  input  logic               push_ready_i,
  output logic [ExpertW-1:0] push_expert_o,
  output logic [12:0]        push_token_o,
  output logic [15:0]        push_gate_o
);
  localparam int unsigned Blocks = Experts / W;
  localparam int unsigned BlockW = $clog2(Blocks);
  localparam int unsigned LaneW = $clog2(W);
  localparam int unsigned Addr = BlockW + 3;  // {pair mod 4, row, block}

  localparam int unsigned MinRow = 8;         // cycles of a row's second reading, at least
  localparam int unsigned ChosenW = K * ExpertW;

  // ---- buffer, in two copies as it is read at two places
  (* ram_style = "block" *) logic [32*W-1:0] logits_a [8*Blocks];
  (* ram_style = "block" *) logic [32*W-1:0] logits_b [8*Blocks];
  logic [BlockW-1:0] in_block_q, last_block;
  logic              in_row_q;
  logic [15:0]       in_pair_q;  // pairs that have come wholly
  logic [2:0]        held_q;     // pairs on their way or not yet done with
  logic [32*W-1:0]   word_a_q, word_b_q;
  logic [Addr-1:0]   addr_a, addr_b, addr_in;
  logic              pair_in, pair_out;

  assign last_block = BlockW'((experts_i - 1'b1) >> LaneW);
  assign room_o     = held_q < 3'd4;
  assign addr_in    = {in_pair_q[1:0], in_row_q, in_block_q};
  assign pair_in    = raw_valid_i && in_row_q && (in_block_q == last_block);

  always_ff @(posedge clk_i) begin
    if (raw_valid_i) logits_a[addr_in] <= raw_i;
    word_a_q <= logits_a[addr_a];
  end
  always_ff @(posedge clk_i) begin
    if (raw_valid_i) logits_b[addr_in] <= raw_i;
    word_b_q <= logits_b[addr_b];
  end

  // ---- first reading: top_k and maximum. Stages: 0 address, 1 word, 2 logit, 3 its place found.
  logic [15:0]        a_row_q;
  logic [ExpertW:0]   a_e_q;
  logic [ExpertW-1:0] a_index1_q, a_index2_q;
  logic               a_go, a_last;
  logic [2:1]         a_v_q, a_first_q;
  logic [3:1]         a_last_q;
  logic [31:0]        a_logit_q, a_max, b_max;
  logic [ChosenW-1:0] a_chosen, b_chosen;
  logic [1:0]         ab_level_q;  // rows begun by the first reading, not yet left by the second
  logic               b_row_valid, b_row_done, unused_ab_ready;
  logic [1:0]         unused_ab_count;

  // not beyond the op: the partner of an odd last row lies in the buffer too
  assign a_go   = busy_o && (a_row_q < rows_i) && (in_pair_q > {1'b0, a_row_q[15:1]})
                  && (a_e_q != '0 || ab_level_q < 2'd2);
  assign a_last = a_e_q == experts_i - 1'b1;
  assign addr_a = {a_row_q[2:0], a_e_q[ExpertW-1:LaneW]};

  always_ff @(posedge clk_i) begin
    a_first_q  <= {a_first_q[1], a_e_q == '0};
    a_index1_q <= a_e_q[ExpertW-1:0];
    a_index2_q <= a_index1_q;
    a_logit_q  <= word_a_q[32*a_index1_q[LaneW-1:0] +: 32];
  end
  m3_topk #(.K(K), .IndexW(ExpertW)) u_topk (
    .clk_i,
    .valid_i(a_v_q[2]), .first_i(a_first_q[2]), .value_i(a_logit_q), .index_i(a_index2_q),
    .max_o(a_max), .index_o(a_chosen)
  );
  m3_fifo #(.Width(32 + ChosenW), .Depth(2)) u_ab (
    .clk_i, .rst_ni,
    .valid_i(a_last_q[3]), .ready_o(unused_ab_ready), .data_i({a_max, a_chosen}),
    .valid_o(b_row_valid), .ready_i(b_row_done), .data_o({b_max, b_chosen}),
    .count_o(unused_ab_count)
  );

  // ---- second reading: numerators, their sum, and those of the chosen. Stages: 0 address, 1 word,
  // 2 logit, 3 distance from the maximum, 4 scaled, 5 in octaves, 6 numerator.
  logic [15:0]        b_row_q;
  logic [ExpertW:0]   b_e_q;
  logic [ExpertW-1:0] b_index_q [7];
  logic               b_go;
  logic [6:1]         b_v_q, b_first_q, b_last_q;
  logic [31:0]        b_logit_q, b_below_q, b_max_q;
  logic [47:0]        b_scaled_q, b_shifted;
  logic [15:0]        b_octaves_q, b_table_q, numerator;
  logic [3:0]         b_halvings_q;
  logic               b_zero_q;
  logic [25:0]        sum_q, sum_d;
  logic [16*K-1:0]    share_q, share_d;
  logic [ChosenW-1:0] chosen_q;
  logic [2:0]         c_level_q;  // rows begun by the second reading, not yet pushed
  logic               row_out;
  (* ram_style = "distributed" *) logic [15:0] gate_table [256];

  assign b_go       = b_row_valid && (b_e_q != '0 || c_level_q < 3'd4);
  assign b_row_done = b_go && (b_e_q >= experts_i - 1'b1)
                      && (b_e_q >= (ExpertW + 1)'(MinRow - 1));
  assign addr_b     = {b_row_q[2:0], b_e_q[ExpertW-1:LaneW]};
  assign pair_out   = b_row_done && (b_row_q[0] || b_row_q == rows_i - 16'd1);
  assign b_shifted  = b_scaled_q >> shift_i;
  assign numerator  = b_zero_q ? 16'd0 : b_table_q >> b_halvings_q;

  always_comb begin
    sum_d = (b_first_q[6] ? 26'd0 : sum_q) + 26'(numerator);
    for (int unsigned i = 0; i < K; i++) begin
      share_d[16*i +: 16] = (chosen_q[ExpertW*i +: ExpertW] == b_index_q[6])
                            ? numerator : share_q[16*i +: 16];
    end
  end
  always_ff @(posedge clk_i) begin
    b_first_q    <= {b_first_q[5:1], b_e_q == '0};
    b_index_q[1] <= b_e_q[ExpertW-1:0];
    for (int unsigned i = 2; i < 7; i++) b_index_q[i] <= b_index_q[i-1];
    if (b_first_q[1]) b_max_q <= b_max;
    b_logit_q    <= word_b_q[32*b_index_q[1][LaneW-1:0] +: 32];
    b_below_q    <= b_max_q - b_logit_q;
    b_scaled_q   <= 48'(b_below_q) * 48'(mul_i);
    b_octaves_q  <= (b_shifted > 48'd65535) ? 16'hffff : b_shifted[15:0];
    b_table_q    <= gate_table[b_octaves_q[7:0]];
    b_halvings_q <= b_octaves_q[11:8];
    b_zero_q     <= b_octaves_q[15:12] != '0;
    if (b_v_q[5] && b_first_q[5]) chosen_q <= b_chosen;
    if (b_v_q[6]) begin
      sum_q   <= sum_d;
      share_q <= share_d;
    end
  end
  always_ff @(posedge clk_i) begin
    if (t_we_i) gate_table[t_waddr_i] <= t_wdata_i;
  end

  // ---- the row's reciprocal beside its chosen experts
  logic               r_valid, c_valid, s_valid, c_pop, unused_c_ready, unused_s_ready, unused_tag;
  logic [15:0]        r_value, s_value;
  logic [4:0]         r_shifts, s_shifts;
  logic [16*K-1:0]    c_share;
  logic [ChosenW-1:0] c_chosen;
  logic [2:0]         unused_c_count, unused_s_count;

  m3_recip #(.TagWidth(1)) u_recip (
    .clk_i, .rst_ni,
    .valid_i(b_last_q[6]), .sum_i(sum_d), .gain_i(15'd16384), .tag_i(1'b0),
    .valid_o(r_valid), .r_o(r_value), .n_o(r_shifts), .tag_o(unused_tag)
  );
  m3_fifo #(.Width(16*K + ChosenW), .Depth(4)) u_c (
    .clk_i, .rst_ni,
    .valid_i(b_last_q[6]), .ready_o(unused_c_ready), .data_i({share_d, chosen_q}),
    .valid_o(c_valid), .ready_i(c_pop), .data_o({c_share, c_chosen}), .count_o(unused_c_count)
  );
  m3_fifo #(.Width(21), .Depth(4)) u_s (
    .clk_i, .rst_ni,
    .valid_i(r_valid), .ready_o(unused_s_ready), .data_i({r_value, r_shifts}),
    .valid_o(s_valid), .ready_i(c_pop), .data_o({s_value, s_shifts}), .count_o(unused_s_count)
  );

  // ---- gate weights, in order of rank: multiply, then round and push
  typedef enum logic [1:0] { Multiply, Round, Push } state_e;
  state_e      state_q;
  logic [2:0]  rank_q;
  logic [15:0] token_q, gate_q;
  logic [31:0] product_q;
  logic [32:0] rounded;
  logic [4:0]  down;
  logic        entry_done;

  assign down    = 5'd25 - s_shifts;
  assign rounded = (33'(product_q) + ((down == 5'd0) ? 33'd0 : (33'd1 << (down - 5'd1)))) >> down;
  assign push_valid_o  = (state_q == Push) && (gate_q >= prune_i);
  assign push_expert_o = c_chosen[ExpertW*rank_q +: ExpertW];
  assign push_token_o  = token_q[12:0];
  assign push_gate_o   = gate_q;
  assign entry_done    = (state_q == Push) && (push_ready_i || gate_q < prune_i);
  assign c_pop         = entry_done && ({1'b0, rank_q} == top_k_i - 4'd1);
  assign row_out       = c_pop;

  always_ff @(posedge clk_i) begin
    product_q <= 32'(c_share[16*rank_q +: 16]) * 32'(s_value);
    gate_q    <= (state_q == Round) ? ((rounded > 33'd32768) ? 16'd32768 : rounded[15:0]) : gate_q;
  end

  always_ff @(posedge clk_i or negedge rst_ni) begin
    if (!rst_ni) begin
      busy_o     <= 1'b0;
      in_block_q <= '0;
      in_row_q   <= 1'b0;
      in_pair_q  <= '0;
      held_q     <= '0;
      a_row_q    <= '0;
      a_e_q      <= '0;
      a_v_q      <= '0;
      a_last_q   <= '0;
      ab_level_q <= '0;
      b_row_q    <= '0;
      b_e_q      <= '0;
      b_v_q      <= '0;
      b_last_q   <= '0;
      c_level_q  <= '0;
      state_q    <= Multiply;
      rank_q     <= '0;
      token_q    <= '0;
    end else begin
      if (start_i) begin
        busy_o    <= 1'b1;
        in_pair_q <= '0;
        a_row_q   <= '0;
        b_row_q   <= '0;
        token_q   <= '0;
      end else begin
        if (pair_in) in_pair_q <= in_pair_q + 16'd1;
        if (a_go && a_last) a_row_q <= a_row_q + 16'd1;
        if (b_row_done) b_row_q <= b_row_q + 16'd1;
        if (row_out) begin
          token_q <= token_q + 16'd1;
          if (token_q == rows_i - 16'd1) busy_o <= 1'b0;
        end
      end
      if (raw_valid_i) begin
        in_row_q <= ~in_row_q;
        if (in_row_q) in_block_q <= (in_block_q == last_block) ? '0 : in_block_q + 1'b1;
      end
      held_q     <= held_q + 3'(pair_i) - 3'(pair_out);
      ab_level_q <= ab_level_q + 2'(a_go && a_e_q == '0) - 2'(b_row_done);
      c_level_q  <= c_level_q + 3'(b_go && b_e_q == '0) - 3'(row_out);
      if (a_go) a_e_q <= a_last ? '0 : a_e_q + 1'b1;
      if (b_go) b_e_q <= b_row_done ? '0 : b_e_q + 1'b1;
      a_v_q    <= {a_v_q[1], a_go};
      a_last_q <= {a_last_q[2:1], a_go && a_last};
      b_v_q    <= {b_v_q[5:1], b_go && b_e_q < experts_i};
      b_last_q <= {b_last_q[5:1], b_go && b_e_q == experts_i - 1'b1};
      unique case (state_q)
        Multiply: if (c_valid && s_valid) state_q <= Round;
        Round:    state_q <= Push;
        default:  if (entry_done) begin
          state_q <= Multiply;
          rank_q  <= c_pop ? '0 : rank_q + 1'b1;
        end
      endcase
    end
  end
endmodule
