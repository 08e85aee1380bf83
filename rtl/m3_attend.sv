/// ATTEND: one head's attention on the array, whose weights are keys, then values (docs/accelerator.md
/// §4). Rows of Q are fetched in pairs into a buffer of two slots. Pair by pair the array makes
/// scores, which go to m3_softmax, and, `Lag` pairs later, p times V, which is scaled in the post unit
/// and written. cycles = pairs · (KB · max(HW, 2) + HW · max(KB, 2)) + a constant, where softmax
/// keeps up: where Lag pairs take longer than 2 KB + 20 cycles and the array's latency.
module m3_attend #(
  parameter int unsigned W = 32,
  parameter int unsigned WAddrW = 9,
  parameter int unsigned ActAddrW = 15,
  parameter int unsigned KeyWords = 64,   // most words of a row of scores
  parameter int unsigned HeadWords = 16,  // most words of a head's row
  localparam int unsigned KeyW = $clog2(KeyWords),
  localparam int unsigned HeadW = $clog2(HeadWords)
) (
  input  logic                 clk_i,
  input  logic                 rst_ni,
  // the op: a pulse; its fields stay as they are until done_o
  input  logic                 start_i,
  output logic                 done_o,       // one cycle, everything written
  input  logic [15:0]          rows_i,       // >= 1
  input  logic [15:0]          keys_i,       // 1 … KeyWords · W
  input  logic [15:0]          hw_i,         // words of a head's row, 1 … HeadWords
  input  logic [15:0]          kb_i,         // ceil(keys / W)
  input  logic [ActAddrW-1:0]  src_i,
  input  logic [15:0]          src_stride_i,
  input  logic [ActAddrW-1:0]  dst_i,
  input  logic [15:0]          dst_stride_i,
  input  logic [WAddrW-1:0]    key_i,        // keys and values in the lanes' memories
  input  logic [WAddrW-1:0]    value_i,
  input  logic [15:0]          mul_i,        // accumulators to scores
  input  logic [5:0]           shift_i,
  input  logic [14:0]          gain_i,
  input  logic [5:0]           shift_out_i,
  // activation memory: always granted, always ready
  output logic                 a_req_o,
  output logic [ActAddrW-1:0]  a_addr_o,
  input  logic [8*W-1:0]       a_data_i,
  output logic                 a_we_o,
  output logic [ActAddrW-1:0]  a_waddr_o,
  output logic [8*W-1:0]       a_wdata_o,
  // array: as m3_pass; parameters of all lanes come from here, gate 1, no activation
  output logic [WAddrW-1:0]    w_raddr_o,
  output logic                 step_valid_o,
  output logic                 step_first_o,
  output logic                 step_last_o,
  output logic [16*W-1:0]      step_act_o,
  output logic                 step_two_rows_o,
  output logic                 fill_o,
  output logic [53:0]          par_o,
  input  logic                 beat_soon_i,  // a beat comes in the next cycle
  input  logic [8*W-1:0]       q_i,
  input  logic [16*W-1:0]      z_i
);
  localparam int unsigned Lag = 3;

  logic        running_q;
  logic [15:0] pairs;
  assign pairs = (rows_i >> 1) + 16'(rows_i[0]);

  // ---- fetch of Q: pair after pair, row 0 then row 1
  logic                slot_q, row_q, fetch, fetch_last, row_real, score_end;
  logic [15:0]         fetch_row_q;
  logic [HeadW-1:0]    word_q, last_head_word;
  logic [ActAddrW-1:0] base_q;
  logic [1:0]          full_q;
  logic                fill_q, fill_row_q, fill_slot_q, fill_end_q;
  logic [HeadW-1:0]    fill_word_q;

  assign last_head_word = HeadW'(hw_i - 16'd1);
  assign row_real   = fetch_row_q < rows_i;
  assign fetch      = running_q & (row_real | row_q) & ~full_q[slot_q];
  assign fetch_last = word_q == last_head_word;
  assign a_req_o    = fetch & row_real;
  assign a_addr_o   = base_q + ActAddrW'(word_q);
  assign fill_o     = fill_q;
  logic unused_stride;
  assign unused_stride = ^{src_stride_i, dst_stride_i};  // their upper bits reach beyond the memory

  logic issue_slot_q;
  always_ff @(posedge clk_i or negedge rst_ni) begin
    if (!rst_ni) begin
      slot_q     <= 1'b0;
      row_q      <= 1'b0;
      word_q     <= '0;
      full_q     <= '0;
      fill_q     <= 1'b0;
      fill_end_q <= 1'b0;
    end else begin
      if (fetch) word_q <= fetch_last ? '0 : word_q + 1'b1;
      if (fetch & fetch_last) begin
        row_q <= ~row_q;
        if (row_q) slot_q <= ~slot_q;
      end
      fill_q     <= a_req_o;
      fill_end_q <= fetch & fetch_last & row_q;
      // fetch goes on to the other slot meanwhile
      if (fetch & fetch_last & row_q) full_q[slot_q] <= 1'b1;
      if (score_end) full_q[issue_slot_q] <= 1'b0;
    end
  end
  always_ff @(posedge clk_i) begin
    if (start_i) begin
      fetch_row_q <= '0;
      base_q      <= src_i;
    end else if (fetch & fetch_last) begin
      fetch_row_q <= fetch_row_q + 16'd1;
      base_q      <= base_q + ActAddrW'(src_stride_i);
    end
    fill_row_q  <= row_q;
    fill_slot_q <= slot_q;
    fill_word_q <= word_q;
  end

  (* ram_style = "distributed" *) logic [8*W-1:0] q_row0 [2*HeadWords];
  (* ram_style = "distributed" *) logic [8*W-1:0] q_row1 [2*HeadWords];
  logic [8*W-1:0] q0_q, q1_q, p0, p1;
  logic [HeadW:0] q_at;
  logic           score_step;
  always_ff @(posedge clk_i) begin
    if (fill_q & ~fill_row_q) q_row0[{fill_slot_q, fill_word_q}] <= a_data_i;
    if (score_step) q0_q <= q_row0[q_at];
  end
  always_ff @(posedge clk_i) begin
    if (fill_q & fill_row_q) q_row1[{fill_slot_q, fill_word_q}] <= a_data_i;
    if (score_step) q1_q <= q_row1[q_at];
  end

  // ---- issue: in step s scores of pair s, then p times V of pair s - Lag
  logic [15:0]       s_q, step_q, at_step, block_q, steps, words, blocks, pairs_done;
  logic              value_q;              // p times V, not scores
  logic              begins, ready, issue, real_step, block_end, phase_end, skip, one_step;
  logic [WAddrW-1:0] w_q;
  logic              step_value_q;
  logic [1:0]        pair_slot;

  assign words     = value_q ? kb_i : hw_i;
  assign blocks    = value_q ? hw_i : kb_i;
  assign steps     = one_step ? 16'd2 : words;
  assign skip      = value_q ? (s_q < 16'(Lag)) : (s_q >= pairs);
  assign begins    = (step_q == '0) & (block_q == '0);
  assign ready     = value_q ? (pairs_done > s_q - 16'(Lag)) : (full_q[issue_slot_q] & ~fill_end_q);
  assign issue     = running_q & ~skip & (s_q < pairs + 16'(Lag)) & (~begins | ready);
  // a block of one step pauses before it: blocks of both kinds end two steps apart at least
  assign one_step  = words < 16'd2;
  assign real_step = issue & (~one_step | (step_q != '0));
  assign at_step   = one_step ? '0 : step_q;
  assign block_end = issue & (step_q == steps - 16'd1);
  assign phase_end = block_end & (block_q == blocks - 16'd1);
  assign score_end = phase_end & ~value_q;
  assign score_step = real_step & ~value_q;
  assign q_at      = {issue_slot_q, at_step[HeadW-1:0]};
  assign pair_slot = value_q ? s_q[1:0] - 2'(Lag) : s_q[1:0];
  assign w_raddr_o = w_q;
  assign step_act_o = step_value_q ? {p1, p0} : {q1_q, q0_q};

  always_ff @(posedge clk_i or negedge rst_ni) begin
    if (!rst_ni) begin
      value_q      <= 1'b0;
      step_q       <= '0;
      block_q      <= '0;
      issue_slot_q <= 1'b0;
      step_valid_o <= 1'b0;
    end else begin
      step_valid_o <= real_step;
      if (issue) step_q <= block_end ? '0 : step_q + 16'd1;
      if (block_end) block_q <= phase_end ? '0 : block_q + 16'd1;
      if (score_end) issue_slot_q <= ~issue_slot_q;
      if (start_i) value_q <= 1'b0;
      else if (running_q & (phase_end | skip)) value_q <= ~value_q;
    end
  end
  always_ff @(posedge clk_i) begin
    if (start_i) s_q <= '0;
    else if (running_q & value_q & (phase_end | skip)) s_q <= s_q + 16'd1;
    if (start_i) w_q <= key_i;
    else if (running_q & (phase_end | skip)) w_q <= value_q ? key_i : value_i;
    else if (real_step) w_q <= w_q + 1'b1;
    step_first_o    <= at_step == '0;
    step_last_o     <= block_end;
    step_value_q    <= value_q;
    step_two_rows_o <= ~rows_i[0] | (16'(value_q ? s_q - 16'(Lag) : s_q) != pairs - 16'd1);
  end

  // ---- parameters: the lanes take those of row 0 three cycles after a block's last step, of row 1 four
  logic [4:1] last_q;                      // last_q[k]: a last step k cycles ago
  logic [4:0] value_kind_q;
  logic [9:0] slots_q;                     // of its pair, bits 2k+1:2k
  logic       par_value;
  logic [1:0] par_slot;
  logic [15:0] scale_r;
  logic [4:0]  scale_n;
  always_ff @(posedge clk_i or negedge rst_ni) begin
    if (!rst_ni) last_q <= '0;
    else last_q <= {last_q[3:1], step_valid_o & step_last_o};
  end
  always_ff @(posedge clk_i) begin
    value_kind_q <= {value_kind_q[3:0], value_q};
    slots_q      <= {slots_q[7:0], pair_slot};
  end
  assign par_value = last_q[4] ? value_kind_q[4] : value_kind_q[3];
  assign par_slot  = last_q[4] ? slots_q[9:8] : slots_q[7:6];
  assign par_o     = par_value ? {shift_out_i - 6'(scale_n), scale_r, 32'd0} : {shift_i, mul_i, 32'd0};

  // ---- beats come back in the order of issue
  logic                out_value_q, out_row_q, out_skip, out_block_end, out_end, out_last;
  logic [15:0]         out_s_q, out_block_q;
  logic [ActAddrW-1:0] out_dst_q, waddr_q;
  logic                score_valid_q, we_q, finish_q;

  assign out_skip      = out_value_q ? (out_s_q < 16'(Lag)) : (out_s_q >= pairs);
  assign out_block_end = beat_soon_i & out_row_q;
  assign out_end       = out_block_end & (out_block_q == (out_value_q ? hw_i : kb_i) - 16'd1);
  assign out_last      = out_end & out_value_q & (out_s_q == pairs + 16'(Lag - 1));

  always_ff @(posedge clk_i or negedge rst_ni) begin
    if (!rst_ni) begin
      running_q     <= 1'b0;
      out_value_q   <= 1'b0;
      out_row_q     <= 1'b0;
      out_block_q   <= '0;
      score_valid_q <= 1'b0;
      we_q          <= 1'b0;
      finish_q      <= 1'b0;
      done_o        <= 1'b0;
    end else begin
      if (start_i) running_q <= 1'b1;
      else if (finish_q) running_q <= 1'b0;
      if (beat_soon_i & running_q) begin
        out_row_q <= ~out_row_q;
        if (out_row_q) out_block_q <= out_end ? '0 : out_block_q + 16'd1;
      end
      if (start_i) out_value_q <= 1'b0;
      else if (running_q & (out_end | out_skip)) out_value_q <= ~out_value_q;
      score_valid_q <= running_q & beat_soon_i & ~out_value_q;
      we_q          <= running_q & beat_soon_i & out_value_q
                       & (~out_row_q | ~rows_i[0] | (out_s_q != pairs + 16'(Lag - 1)));
      finish_q      <= running_q & out_last;
      done_o        <= finish_q;
    end
  end
  always_ff @(posedge clk_i) begin
    if (start_i) begin
      out_s_q   <= '0;
      out_dst_q <= dst_i;
    end else if (running_q & out_value_q & (out_end | out_skip)) begin
      out_s_q <= out_s_q + 16'd1;
      if (out_end) out_dst_q <= out_dst_q + ActAddrW'({dst_stride_i, 1'b0});
    end
    waddr_q <= out_dst_q + (out_row_q ? ActAddrW'(dst_stride_i) : '0) + ActAddrW'(out_block_q);
  end
  assign a_we_o    = we_q;
  assign a_waddr_o = waddr_q;
  assign a_wdata_o = q_i;

  m3_softmax #(.W(W), .KeyWords(KeyWords)) u_softmax (
    .clk_i, .rst_ni,
    .start_i, .keys_i, .gain_i,
    .score_valid_i(score_valid_q), .score_i(z_i), .pairs_done_o(pairs_done),
    .p_read_i(real_step & value_q), .p_addr_i({pair_slot, at_step[KeyW-1:0]}), .p0_o(p0), .p1_o(p1),
    .scale_slot_i(par_slot), .scale_row_i(last_q[4]), .scale_r_o(scale_r), .scale_n_o(scale_n)
  );
endmodule
