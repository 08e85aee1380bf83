/// One pass of the array: rows times one tile. Fetches pairs of rows from the activation memory into
/// a row buffer of two slots, replays each slot for every output block, and writes the beats that
/// come back to the activation memory or adds them to the residual. Rows and destinations are
/// regular, or given by a stream of tokens (experts). It has precedence on the memories, so nothing
/// inside stalls but for a token, a chased row or room in the router.
/// cycles = 2·I + pairs · max(B · max(I, 2), 2·I) + a constant (docs/accelerator.md §4).
module m3_pass #(
  parameter int unsigned W = 32,
  parameter int unsigned WeightWords = 512,
  parameter int unsigned ParamWords = 128,
  parameter int unsigned RowWords = 256,
  parameter int unsigned ActAddrW = 15,
  parameter int unsigned ResAddrW = 14,
  parameter int unsigned HeadWords = 8,
  localparam int unsigned WAddrW = $clog2(WeightWords),
  localparam int unsigned PAddrW = $clog2(ParamWords),
  localparam int unsigned RowW = $clog2(RowWords)
) (
  input  logic                 clk_i,
  input  logic                 rst_ni,
  // a pass: fields are read while `busy_o`, hold them
  input  logic                 start_i,      // one cycle, while not busy
  output logic                 busy_o,
  output logic                 done_o,       // one cycle, everything written
  input  logic [15:0]          rows_i,       // >= 1
  input  logic [15:0]          words_i,      // I
  input  logic [15:0]          blocks_i,     // B
  input  logic [WAddrW-1:0]    w_base_i,
  input  logic [PAddrW-1:0]    p_base_i,
  input  logic [ActAddrW-1:0]  src_i,
  input  logic [15:0]          src_stride_i,
  input  logic                 src_by_token_i,
  input  m3_pkg::dst_e         dst_kind_i,
  input  logic [15:0]          dst_i,
  input  logic [15:0]          dst_stride_i,
  input  logic                 dst_by_token_i,
  // a convolution: row r is the nine pixels around pixel r of the map
  input  logic                 conv_i,
  input  logic [15:0]          width_i,
  input  logic [15:0]          height_i,
  input  logic [15:0]          src_first_i,  // map line that src_i begins with
  input  logic [15:0]          first_i,      // map line of row 0
  input  logic                 chase_i,      // row r waits for chase_rows_i > r
  input  logic [15:0]          chase_rows_i,
  output logic [15:0]          rows_done_o,
  // keys and values: blocks from k_block on are keys, from v_block on values (docs/accelerator.md §4)
  input  logic                 kv_i,
  input  logic [7:0]           k_block_i,
  input  logic [7:0]           v_block_i,
  input  logic [WAddrW-1:0]    key_base_i,
  input  logic [WAddrW-1:0]    value_base_i,
  input  logic [7:0]           key_words_i,   // KB
  input  logic [7:0]           head_words_i,  // HW
  input  logic [15:0]          token_i,       // of row 0
  output logic                 kv_valid_o,    // with the beat
  output logic                 kv_value_o,
  output logic [WAddrW-1:0]    kv_addr_o,
  output logic [$clog2(W)-1:0] kv_index_o,
  output logic [$clog2(HeadWords)-1:0] kv_slot_o,
  output logic                 kv_flush_o,
  // tokens, one a row, for passes by token
  input  logic                 tok_valid_i,
  output logic                 tok_ready_o,
  input  logic [12:0]          tok_i,
  input  logic [15:0]          tok_gate_i,
  // the router takes raw beats; it can hold `room` more pairs
  input  logic                 router_room_i,
  output logic                 router_pair_o, // a pair is on its way
  // activation memory: always granted, always ready
  output logic                 a_req_o,
  output logic [ActAddrW-1:0]  a_addr_o,
  input  logic [8*W-1:0]       a_data_i,
  output logic                 a_we_o,
  output logic [ActAddrW-1:0]  a_waddr_o,
  output logic [8*W-1:0]       a_wdata_o,
  // residual memory: the same
  output logic                 x_req_o,
  output logic [ResAddrW-1:0]  x_addr_o,
  input  logic [16*W-1:0]      x_data_i,
  output logic                 x_we_o,
  output logic [ResAddrW-1:0]  x_waddr_o,
  output logic [16*W-1:0]      x_wdata_o,
  output logic [7:0]           x_clamped_o,  // channels clamped by the write of this cycle
  // array
  output logic [WAddrW-1:0]    w_raddr_o,
  output logic                 step_valid_o,
  output logic                 step_first_o,
  output logic                 step_last_o,
  output logic [16*W-1:0]      step_act_o,
  output logic [PAddrW-1:0]    step_p_addr_o,
  output logic [15:0]          gate_o,
  output logic                 step_two_rows_o, // both rows of the step count
  output logic                 fill_o,          // a word comes into the row buffer
  input  logic                 beat_soon_i,     // a beat comes in the next cycle
  input  logic [8*W-1:0]       q_i,
  input  logic [16*W-1:0]      z_i
);
  logic running_q;
  assign busy_o = running_q;

  // ---- rows: where each begins and where its results go, one ahead of the fetch
  logic [15:0]         gen_row_q, gen_src_q, gen_dst_q;
  logic                gen_end, gen_valid, gen_take, gen_wants_token, gen_go;
  logic                row_valid_q, row_real_q;
  logic [ActAddrW-1:0] row_src_q;
  logic [15:0]         row_dst_q, row_gate_q;
  logic                by_token;

  assign by_token        = src_by_token_i | dst_by_token_i;
  assign gen_valid       = gen_row_q < rows_i;  // the partner of an odd last row is not real
  assign gen_end         = !gen_valid && !gen_row_q[0];
  assign gen_wants_token = by_token & gen_valid;
  assign gen_go          = running_q && !gen_end && (!row_valid_q || gen_take)
                           && (!gen_wants_token || tok_valid_i)
                           && (!chase_i || !gen_valid || chase_rows_i > gen_row_q);
  assign tok_ready_o     = gen_go & gen_wants_token;

  always_ff @(posedge clk_i or negedge rst_ni) begin
    if (!rst_ni) row_valid_q <= 1'b0;
    else if (gen_go) row_valid_q <= 1'b1;
    else if (gen_take) row_valid_q <= 1'b0;
  end
  always_ff @(posedge clk_i) begin
    if (start_i) begin
      gen_row_q <= '0;
      gen_src_q <= 16'(src_i);
      gen_dst_q <= dst_i;
    end else if (gen_go) begin
      gen_row_q <= gen_row_q + 16'd1;
      gen_src_q <= gen_src_q + src_stride_i;
      gen_dst_q <= gen_dst_q + dst_stride_i;
    end
    if (gen_go) begin
      row_real_q <= gen_valid;
      row_src_q  <= src_by_token_i ? src_i + ActAddrW'(tok_i * src_stride_i[12:0])
                                   : gen_src_q[ActAddrW-1:0];
      row_dst_q  <= dst_by_token_i ? dst_i + 16'(tok_i * dst_stride_i[12:0]) : gen_dst_q;
      row_gate_q <= dst_by_token_i ? tok_gate_i : 16'd32768;
    end
  end

  // ---- fetch: one word a cycle into the slot that is free
  logic              slot_q, half_q;            // being filled: slot, row of the pair
  logic [RowW-1:0]   word_q;
  logic [1:0]        full_q;
  logic              fetch, fetch_last, conv_ready, conv_zero, fill_zero_q;
  logic [ActAddrW-1:0] conv_addr;
  logic [8*W-1:0]    fill_data;
  logic              fill_q, fill_real_q, fill_end_q, fill_slot_q, fill_half_q;
  logic [RowW-1:0]   fill_word_q;
  logic              issue_end, issue_slot_q;
  logic [15:0]       dst0_q, gate0_q;
  logic              info_push;
  logic [64:0]       info_in, info_out;
  logic              info_ready, info_pop, unused_info_valid;
  logic [3:0]        unused_count;

  m3_gather #(.AddrW(ActAddrW)) u_gather (
    .clk_i, .rst_ni,
    .start_i(start_i & conv_i), .src_i, .stride_i(src_stride_i), .width_i, .height_i,
    .src_first_i, .first_i, .ready_o(conv_ready), .next_i(fetch & row_real_q & conv_i),
    .addr_o(conv_addr), .zero_o(conv_zero)
  );
  assign fetch      = row_valid_q && !full_q[slot_q] && info_ready && (!conv_i || conv_ready);
  assign fetch_last = word_q == RowW'(words_i - 16'd1);
  assign gen_take   = fetch & fetch_last;
  assign a_req_o    = fetch & row_real_q & ~(conv_i & conv_zero);
  assign a_addr_o   = conv_i ? conv_addr : row_src_q + ActAddrW'(word_q);
  assign info_push  = gen_take & half_q;
  assign info_in    = {row_real_q, row_gate_q, gate0_q, row_dst_q, dst0_q};

  always_ff @(posedge clk_i or negedge rst_ni) begin
    if (!rst_ni) begin
      slot_q <= 1'b0;
      half_q <= 1'b0;
      full_q <= '0;
      fill_q <= 1'b0;
      word_q <= '0;
    end else begin
      if (fetch) word_q <= fetch_last ? '0 : word_q + 1'b1;
      if (gen_take) begin
        half_q <= ~half_q;
        if (half_q) slot_q <= ~slot_q;
      end
      fill_q <= fetch;
      if (fill_q & fill_end_q) full_q[fill_slot_q] <= 1'b1;
      if (issue_end) full_q[issue_slot_q] <= 1'b0;
    end
  end
  always_ff @(posedge clk_i) begin
    fill_zero_q <= conv_i & conv_zero;
    fill_real_q <= row_real_q;
    fill_end_q  <= fetch_last & half_q;
    fill_slot_q <= slot_q;
    fill_half_q <= half_q;
    fill_word_q <= word_q;
    if (gen_take & ~half_q) begin
      dst0_q  <= row_dst_q;
      gate0_q <= row_gate_q;
    end
  end

  assign fill_data = fill_zero_q ? '0 : a_data_i;
  (* ram_style = "block" *) logic [8*W-1:0] buffer0 [2*RowWords];
  (* ram_style = "block" *) logic [8*W-1:0] buffer1 [2*RowWords];
  logic [8*W-1:0]  act0_q, act1_q;
  logic [RowW:0]   read_at;
  always_ff @(posedge clk_i) begin
    if (fill_q & fill_real_q & ~fill_half_q) buffer0[{fill_slot_q, fill_word_q}] <= fill_data;
    act0_q <= buffer0[read_at];
  end
  always_ff @(posedge clk_i) begin
    if (fill_q & fill_real_q & fill_half_q) buffer1[{fill_slot_q, fill_word_q}] <= fill_data;
    act1_q <= buffer1[read_at];
  end
  assign step_act_o = {act1_q, act0_q};
  assign fill_o     = fill_q & fill_real_q;

  m3_fifo #(.Width(65), .Depth(8)) u_info (
    .clk_i, .rst_ni,
    .valid_i(info_push), .ready_o(info_ready), .data_i(info_in),
    .valid_o(unused_info_valid), .ready_i(info_pop), .data_o(info_out),
    .count_o(unused_count)
  );

  // ---- issue: every block of the pair in the slot that is full
  logic [15:0]       step_q, block_q, steps;
  logic [WAddrW-1:0] w_q;
  logic [PAddrW-1:0] p_q;
  logic              issue, step_real, block_end, pair_start;

  assign steps     = (words_i < 16'd2) ? 16'd2 : words_i;
  assign pair_start = (step_q == '0) && (block_q == '0);
  assign issue     = full_q[issue_slot_q]
                     && (!pair_start || dst_kind_i != m3_pkg::DstRouter || router_room_i);
  assign step_real = issue && (step_q < words_i);
  assign block_end = issue && (step_q == steps - 16'd1);
  assign issue_end = block_end && (block_q == blocks_i - 16'd1);
  assign read_at   = {issue_slot_q, step_q[RowW-1:0]};
  assign w_raddr_o = w_q;
  assign router_pair_o = issue && pair_start && (dst_kind_i == m3_pkg::DstRouter);

  always_ff @(posedge clk_i or negedge rst_ni) begin
    if (!rst_ni) begin
      issue_slot_q <= 1'b0;
      step_q       <= '0;
      block_q      <= '0;
      step_valid_o <= 1'b0;
    end else begin
      step_valid_o <= step_real;
      if (issue) step_q <= block_end ? '0 : step_q + 16'd1;
      if (block_end) block_q <= issue_end ? '0 : block_q + 16'd1;
      if (issue_end) issue_slot_q <= ~issue_slot_q;
    end
  end
  always_ff @(posedge clk_i) begin
    if (start_i || issue_end) w_q <= w_base_i;
    else if (step_real) w_q <= w_q + 1'b1;
    if (start_i || issue_end) p_q <= p_base_i;
    else if (block_end) p_q <= p_q + 1'b1;
    step_first_o  <= step_q == '0;
    step_last_o   <= step_q == words_i - 16'd1;
    step_p_addr_o <= p_q;
  end

  // ---- beats come back: row 0, row 1 of each block, in order; `info` says where they go
  localparam int unsigned OutAddrW = (ActAddrW > ResAddrW) ? ActAddrW : ResAddrW;
  logic        out_half_q;
  logic [15:0] out_block_q;
  logic [OutAddrW-1:0] out_dst;
  logic        out_real, out_last, we_q, add_q, set_q;
  logic [OutAddrW-1:0] waddr_q;
  logic [16*W-1:0] sum;
  logic [15:0] pairs_left_q;
  logic [1:0]  tail_q;
  logic        pair_out;

  assign out_dst  = OutAddrW'(out_half_q ? info_out[31:16] : info_out[15:0]) + OutAddrW'(out_block_q);
  assign out_real = beat_soon_i & (!out_half_q | info_out[64]);
  assign out_last = out_half_q && (out_block_q == blocks_i - 16'd1);
  assign pair_out = beat_soon_i & out_last;
  assign info_pop = pair_out;
  assign gate_o   = out_half_q ? info_out[63:48] : info_out[47:32];
  assign x_req_o  = out_real && (dst_kind_i == m3_pkg::DstResAdd);
  assign x_addr_o = out_dst[ResAddrW-1:0];

  // step_two_rows_o goes with a step, whose info is that of the pair being issued, not of the beats
  logic [1:0] two_q;
  always_ff @(posedge clk_i) begin
    if (info_push) two_q[slot_q] <= row_real_q;
    step_two_rows_o <= two_q[issue_slot_q];
  end

  always_ff @(posedge clk_i or negedge rst_ni) begin
    if (!rst_ni) begin
      running_q    <= 1'b0;
      out_half_q   <= 1'b0;
      out_block_q  <= '0;
      we_q         <= 1'b0;
      x_we_o       <= 1'b0;
      pairs_left_q <= '0;
      tail_q       <= '0;
      done_o       <= 1'b0;
      rows_done_o  <= '0;
    end else begin
      if (beat_soon_i) begin
        out_half_q <= ~out_half_q;
        if (out_half_q) out_block_q <= out_last ? '0 : out_block_q + 16'd1;
      end
      we_q   <= out_real && (dst_kind_i == m3_pkg::DstAct) && !(kv_i && is_key_or_value);
      x_we_o <= add_q | set_q;
      // the last word is written two cycles after `beat_soon`
      tail_q <= {tail_q[0], pair_out && (pairs_left_q == 16'd1)};
      done_o <= tail_q[1];
      if (start_i) begin
        running_q    <= 1'b1;
        pairs_left_q <= (rows_i + 16'd1) >> 1;
        rows_done_o  <= '0;
      end else begin
        if (pair_out) pairs_left_q <= pairs_left_q - 16'd1;
        if (tail_q[1]) running_q <= 1'b0;
        if (pair_out_q2) rows_done_o <= rows_done_o + 16'd2;
      end
    end
  end
  // ---- keys and values go into the lanes
  localparam int unsigned LaneW = $clog2(W);
  logic        is_key_or_value, is_value;
  logic [15:0] pair_token_q, token;
  logic [7:0]  head_word, group;
  assign is_key_or_value = out_block_q[7:0] >= k_block_i;
  assign is_value        = out_block_q[7:0] >= v_block_i;
  assign token           = pair_token_q + 16'(out_half_q);
  assign group           = 8'(token >> LaneW);
  assign head_word       = out_block_q[7:0] - (is_value ? v_block_i : k_block_i);
  always_ff @(posedge clk_i) begin
    if (start_i) pair_token_q <= token_i;
    else if (pair_out) pair_token_q <= pair_token_q + 16'd2;
    kv_value_o <= is_value;
    kv_addr_o  <= is_value ? value_base_i + WAddrW'(head_word * key_words_i) + WAddrW'(group)
                           : key_base_i + WAddrW'(group * head_words_i) + WAddrW'(head_word);
    kv_index_o <= token[LaneW-1:0];
    kv_slot_o  <= head_word[$clog2(HeadWords)-1:0];
    kv_flush_o <= (token[LaneW-1:0] == '1) || (token == token_i + rows_i - 16'd1);
  end
  always_ff @(posedge clk_i or negedge rst_ni) begin
    if (!rst_ni) kv_valid_o <= 1'b0;
    else kv_valid_o <= out_real & kv_i & is_key_or_value;
  end

  logic pair_out_q, pair_out_q2;
  always_ff @(posedge clk_i or negedge rst_ni) begin
    if (!rst_ni) begin
      add_q       <= 1'b0;
      set_q       <= 1'b0;
      pair_out_q  <= 1'b0;
      pair_out_q2 <= 1'b0;
    end else begin
      add_q       <= out_real && (dst_kind_i == m3_pkg::DstResAdd);
      set_q       <= out_real && (dst_kind_i == m3_pkg::DstResSet);
      pair_out_q  <= pair_out;
      pair_out_q2 <= pair_out_q;
    end
  end
  always_ff @(posedge clk_i) begin
    waddr_q <= out_dst;
    if (add_q | set_q) begin
      x_wdata_o <= sum;
      x_waddr_o <= waddr_q[ResAddrW-1:0];
    end
  end
  assign a_we_o    = we_q;
  assign a_waddr_o = waddr_q[ActAddrW-1:0];
  assign a_wdata_o = q_i;

  logic [W-1:0] clamped;
  always_comb begin
    for (int unsigned n = 0; n < W; n++) begin
      logic signed [16:0] s;
      s = (add_q ? 17'($signed(x_data_i[16*n +: 16])) : 17'sd0) + 17'($signed(z_i[16*n +: 16]));
      clamped[n]        = (s > 17'sd32767) || (s < -17'sd32767);
      sum[16*n +: 16]   = (s > 17'sd32767) ? 16'sd32767 : (s < -17'sd32767) ? -16'sd32767 : s[15:0];
    end
  end
  always_ff @(posedge clk_i) x_clamped_o <= add_q ? 8'($countones(clamped)) : 8'd0;
endmodule
