/// GEMM engine: turns its ops into passes of the array. GEMM is one pass; ATTEND has a unit of its
/// own that drives the array; ROUTE is a pass whose sums go to the router; EXPERTS takes work items
/// from the LOAD engine until the one that says `end`.
module m3_gemm #(
  parameter int unsigned W = 32,
  parameter int unsigned WeightWords = 512,
  parameter int unsigned ParamWords = 128,
  parameter int unsigned RowWords = 256,
  parameter int unsigned ActAddrW = 15,
  parameter int unsigned ResAddrW = 14,
  parameter int unsigned Entries = 8192,
  parameter int unsigned Experts = 1024,
  parameter int unsigned K = 8,
  parameter int unsigned KeyWords = 64,   // words of a row of scores, at most
  parameter int unsigned HeadWords = 8,   // words of an attention head, at most
  localparam int unsigned WAddrW = $clog2(WeightWords),
  localparam int unsigned PAddrW = $clog2(ParamWords),
  localparam int unsigned EntryW = $clog2(Entries),
  localparam int unsigned ExpertW = $clog2(Experts)
) (
  input  logic                clk_i,
  input  logic                rst_ni,
  input  logic                op_valid_i,
  output logic                op_ready_o,
  input  logic [511:0]        op_i,
  output logic                done_o,
  output logic [15:0]         rows_done_o,
  input  logic                chase_i,
  input  logic [15:0]         chase_rows_i,
  // what LOAD writes into lanes and router
  input  logic                ld_w_valid_i,
  input  logic                ld_p_valid_i,
  input  logic [WAddrW-1:0]   ld_w_addr_i,
  input  logic [PAddrW-1:0]   ld_p_addr_i,
  input  logic [4:0]          ld_part_i,
  input  logic [511:0]        ld_data_i,
  output logic                ld_hold_o,
  input  logic                ld_t_valid_i,
  input  logic                ld_g_valid_i,
  input  logic [8:0]          ld_t_addr_i,
  input  logic [15:0]         ld_t_data_i,
  // lists, for the LOAD engine
  output logic [EntryW:0]     entries_o,
  output logic [ExpertW:0]    nonempty_o,
  input  logic                find_start_i,
  input  logic [ExpertW-1:0]  find_from_i,
  output logic                find_valid_o,
  output logic [ExpertW-1:0]  find_expert_o,
  output logic [EntryW-1:0]   find_head_o,
  output logic [13:0]         find_rows_o,
  input  logic [EntryW-1:0]   entry_i,
  output logic [ExpertW-1:0]  entry_expert_o,
  output logic [12:0]         entry_token_o,
  // work items
  input  logic                item_valid_i,
  output logic                item_ready_o,
  input  logic                item_end_i,
  input  logic                item_half_i,
  input  logic [WAddrW-1:0]   item_w_base_i,
  input  logic [PAddrW-1:0]   item_p_base_i,
  input  logic [7:0]          item_slot_i,
  input  logic [13:0]         item_rows_i,
  input  logic                item_linked_i,
  input  logic [EntryW-1:0]   item_first_i,
  input  logic [EntryW-1:0]   item_second_i,
  output logic                return_o,
  output logic [7:0]          return_slot_o,
  // memories, with precedence
  output logic                a_req_o,
  output logic [ActAddrW-1:0] a_addr_o,
  input  logic [8*W-1:0]      a_data_i,
  output logic                a_we_o,
  output logic [ActAddrW-1:0] a_waddr_o,
  output logic [8*W-1:0]      a_wdata_o,
  output logic                x_req_o,
  output logic [ResAddrW-1:0] x_addr_o,
  input  logic [16*W-1:0]     x_data_i,
  output logic                x_we_o,
  output logic [ResAddrW-1:0] x_waddr_o,
  output logic [16*W-1:0]     x_wdata_o,
  // counters
  output logic                step_o,        // the array multiplies
  output logic                step_two_o,    // for two rows
  output logic                fill_o,        // a word comes into the row buffer
  output logic [7:0]          clamped_o,
  output logic                wait_tile_o,
  output logic                entry_pushed_o,
  output logic                route_done_o
);
  typedef enum logic [2:0] { Idle, Start, Run, NextItem, StartItem, RunItem, Finish } state_e;
  state_e state_q;

  logic [511:0] op_q;
  logic [7:0]   opcode;
  logic         is_route, is_experts, is_attend;
  logic [31:0]  d3, d4, d5, d6, d7, d8, d9, d10, d11, d12, d13;
  assign opcode     = op_q[7:0];
  assign is_route   = opcode == m3_pkg::OpRoute;
  assign is_attend  = opcode == m3_pkg::OpAttend;
  assign is_experts = opcode == m3_pkg::OpExperts;
  assign d3  = op_q[32*3 +: 32];
  assign d4  = op_q[32*4 +: 32];
  assign d5  = op_q[32*5 +: 32];
  assign d6  = op_q[32*6 +: 32];
  assign d7  = op_q[32*7 +: 32];
  assign d8  = op_q[32*8 +: 32];
  assign d9  = op_q[32*9 +: 32];
  assign d10 = op_q[32*10 +: 32];
  assign d11 = op_q[32*11 +: 32];
  assign d12 = op_q[32*12 +: 32];
  assign d13 = op_q[32*13 +: 32];

  // ---- the pass that op or item asks for
  logic                pass_start, pass_busy, pass_done;
  logic [15:0]         rows, words, blocks, src_stride, dst, dst_stride;
  logic [WAddrW-1:0]   w_base;
  logic [PAddrW-1:0]   p_base;
  logic [ActAddrW-1:0] src;
  logic                src_by_token, dst_by_token;
  m3_pkg::dst_e        dst_kind;
  m3_pkg::act_e        act;
  logic                table_sel;
  logic                half_q, linked_q;
  logic [WAddrW-1:0]   item_w_q;
  logic [PAddrW-1:0]   item_p_q;
  logic [13:0]         item_rows_q;
  logic [EntryW-1:0]   item_first_q, item_second_q;

  always_comb begin
    rows         = d3[15:0];
    words        = d3[31:16];
    blocks       = d4[15:0];
    w_base       = WAddrW'(d4[31:16]);
    p_base       = PAddrW'(d5[15:0]);
    src          = ActAddrW'(d6);
    src_stride   = d5[31:16];
    dst          = d7[15:0];
    dst_stride   = d8[15:0];
    src_by_token = 1'b0;
    dst_by_token = 1'b0;
    unique case (op_q[10:9])
      2'd0:    dst_kind = m3_pkg::DstAct;
      2'd1:    dst_kind = m3_pkg::DstResAdd;
      default: dst_kind = m3_pkg::DstResSet;
    endcase
    unique case (op_q[12:11])
      2'd0:    act = m3_pkg::ActNone;
      2'd1:    act = m3_pkg::ActRelu;
      default: act = m3_pkg::ActTable;
    endcase
    table_sel = op_q[13];
    if (is_route) begin
      dst_kind = m3_pkg::DstRouter;
      act      = m3_pkg::ActNone;
    end
    if (is_experts) begin
      rows   = 16'(item_rows_q);
      w_base = item_w_q;
      p_base = item_p_q;
      if (!half_q) begin  // fc1: gathered rows -> hidden
        words        = d3[15:0];
        blocks       = d3[31:16];
        src_by_token = 1'b1;
        dst_kind     = m3_pkg::DstAct;
        dst          = d9[15:0];
        dst_stride   = d5[15:0];
      end else begin      // fc2: hidden -> scattered into the residual
        words        = d4[15:0];
        blocks       = d4[31:16];
        src          = ActAddrW'(d9);
        src_stride   = d5[15:0];
        dst_by_token = 1'b1;
        dst_kind     = m3_pkg::DstResAdd;
        act          = m3_pkg::ActNone;
      end
    end
  end

  // ---- tokens
  logic        clear_lists, list_start, tok_valid, tok_ready;
  logic [12:0] tok;
  logic [15:0] tok_gate;
  logic        push_valid, push_ready;
  logic [ExpertW-1:0] push_expert;
  logic [12:0] push_token;
  logic [15:0] push_gate;
  assign list_start = (state_q == StartItem);
  m3_elist #(.Entries(Entries), .Experts(Experts)) u_elist (
    .clk_i, .rst_ni,
    .clear_i(clear_lists),
    .push_valid_i(push_valid), .push_ready_o(push_ready), .push_expert_i(push_expert),
    .push_token_i(push_token), .push_gate_i(push_gate),
    .entries_o, .nonempty_o,
    .find_start_i, .find_from_i, .find_valid_o, .find_expert_o, .find_head_o, .find_rows_o,
    .entry_i, .entry_expert_o, .entry_token_o,
    .list_start_i(list_start), .list_first_i(item_first_q), .list_second_i(item_second_q),
    .list_linked_i(linked_q), .list_rows_i(item_rows_q),
    .tok_valid_o(tok_valid), .tok_ready_i(tok_ready), .tok_o(tok), .tok_gate_o(tok_gate)
  );
  assign entry_pushed_o = push_valid & push_ready;

  // ---- router
  logic            router_start, router_busy, router_room, router_pair, raw_valid;
  logic [32*W-1:0] raw;
  assign router_start = (state_q == Start) & is_route;
  assign clear_lists  = router_start;
  m3_router #(.W(W), .Experts(Experts), .K(K)) u_router (
    .clk_i, .rst_ni,
    .start_i(router_start), .busy_o(router_busy),
    .rows_i(rows), .experts_i(d9[ExpertW:0]), .top_k_i(d9[19:16]),
    .mul_i(d12[15:0]), .shift_i(d12[21:16]), .prune_i(d13[15:0]),
    .t_we_i(ld_g_valid_i), .t_waddr_i(ld_t_addr_i[7:0]), .t_wdata_i(ld_t_data_i),
    .room_o(router_room), .pair_i(router_pair),
    .raw_valid_i(raw_valid & is_route), .raw_i(raw),
    .push_valid_o(push_valid), .push_ready_i(push_ready), .push_expert_o(push_expert),
    .push_token_o(push_token), .push_gate_o(push_gate)
  );

  // ---- pass and array
  logic [WAddrW-1:0] w_raddr;
  logic [PAddrW-1:0] step_p_addr;
  logic              step_valid, step_first, step_last, beat_soon, unused_post_valid;
  logic [16*W-1:0]   step_act, z;
  logic [15:0]       gate;
  logic [8*W-1:0]    q;

  logic                     kv_valid, kv_value, kv_flush;
  logic [WAddrW-1:0]        kv_addr;
  logic [$clog2(W)-1:0]     kv_index;
  logic [$clog2(HeadWords)-1:0] kv_slot;

  assign pass_start = (state_q == Start) || (state_q == StartItem);
  m3_pass #(
    .W(W), .WeightWords(WeightWords), .ParamWords(ParamWords), .RowWords(RowWords),
    .ActAddrW(ActAddrW), .ResAddrW(ResAddrW), .HeadWords(HeadWords)
  ) u_pass (
    .clk_i, .rst_ni,
    .start_i(pass_start & ~is_attend), .busy_o(pass_busy), .done_o(pass_done),
    .rows_i(rows), .words_i(words), .blocks_i(blocks), .w_base_i(w_base), .p_base_i(p_base),
    .src_i(src), .src_stride_i(src_stride), .src_by_token_i(src_by_token),
    .dst_kind_i(dst_kind), .dst_i(dst), .dst_stride_i(dst_stride), .dst_by_token_i(dst_by_token),
    .conv_i(op_q[8] & (opcode == m3_pkg::OpGemm)), .width_i(d12[15:0]), .height_i(d12[31:16]),
    .src_first_i(d13[15:0]), .first_i(d13[31:16]),
    .chase_i, .chase_rows_i, .rows_done_o,
    .kv_i(op_q[15] & (opcode == m3_pkg::OpGemm)), .k_block_i(d9[7:0]), .v_block_i(d9[15:8]),
    .key_base_i(WAddrW'(d10[15:0])), .value_base_i(WAddrW'(d10[31:16])), .key_words_i(d11[7:0]),
    .head_words_i(d11[23:16]), .token_i(d8[31:16]),
    .kv_valid_o(kv_valid), .kv_value_o(kv_value), .kv_addr_o(kv_addr), .kv_index_o(kv_index),
    .kv_slot_o(kv_slot), .kv_flush_o(kv_flush),
    .tok_valid_i(tok_valid), .tok_ready_o(tok_ready), .tok_i(tok), .tok_gate_i(tok_gate),
    .router_room_i(router_room), .router_pair_o(router_pair),
    .a_req_o(pass_a_req), .a_addr_o(pass_a_addr), .a_data_i, .a_we_o(pass_a_we),
    .a_waddr_o(pass_a_waddr), .a_wdata_o(pass_a_wdata),
    .x_req_o, .x_addr_o, .x_data_i, .x_we_o, .x_waddr_o, .x_wdata_o, .x_clamped_o(clamped_o),
    .w_raddr_o(pass_w_raddr), .step_valid_o(pass_valid), .step_first_o(pass_first),
    .step_last_o(pass_last), .step_act_o(pass_act), .step_p_addr_o(step_p_addr), .gate_o(pass_gate),
    .step_two_rows_o(pass_two), .fill_o(pass_fill),
    .beat_soon_i(beat_soon & ~is_attend), .q_i(q), .z_i(z)
  );
  m3_array #(
    .W(W), .WeightWords(WeightWords), .ParamWords(ParamWords), .HeadWords(HeadWords)
  ) u_array (
    .clk_i, .rst_ni,
    .ld_w_valid_i, .ld_p_valid_i, .ld_w_addr_i, .ld_p_addr_i, .ld_part_i, .ld_data_i,
    .kv_valid_i(kv_valid), .kv_value_i(kv_value), .kv_addr_i(kv_addr), .kv_index_i(kv_index),
    .kv_slot_i(kv_slot), .kv_flush_i(kv_flush), .ld_hold_o,
    .ld_t_valid_i, .ld_t_addr_i, .ld_t_data_i(ld_t_data_i[7:0]),
    .w_raddr_i(w_raddr), .valid_i(step_valid), .first_i(step_first), .last_i(step_last),
    .act_i(step_act), .p_raddr_i(step_p_addr), .own_par_i(~is_attend), .par_i(att_par),
    .act_sel_i(is_attend ? m3_pkg::ActNone : act), .table_sel_i(table_sel), .gate_i(gate),
    .raw_valid_o(raw_valid), .raw_o(raw), .post_soon_o(beat_soon),
    .post_valid_o(unused_post_valid), .q_o(q), .z_o(z)
  );
  assign step_o = step_valid;

  // ---- attention drives array and activation memory in the pass's place
  logic                pass_valid, pass_first, pass_last, pass_two, pass_fill, pass_a_req, pass_a_we;
  logic                att_valid, att_first, att_last, att_two, att_fill, att_a_req, att_a_we, att_done;
  logic [WAddrW-1:0]   pass_w_raddr, att_w_raddr;
  logic [ActAddrW-1:0] pass_a_addr, pass_a_waddr, att_a_addr, att_a_waddr;
  logic [8*W-1:0]      pass_a_wdata, att_a_wdata;
  logic [16*W-1:0]     pass_act, att_act;
  logic [15:0]         pass_gate;
  logic [53:0]         att_par;
  m3_attend #(
    .W(W), .WAddrW(WAddrW), .ActAddrW(ActAddrW), .KeyWords(KeyWords), .HeadWords(HeadWords)
  ) u_attend (
    .clk_i, .rst_ni,
    .start_i((state_q == Start) & is_attend), .done_o(att_done),
    .rows_i(d3[15:0]), .keys_i(d3[31:16]), .hw_i(d4[15:0]), .kb_i(d4[31:16]),
    .src_i(ActAddrW'(d6)), .src_stride_i(d5[31:16]), .dst_i(ActAddrW'(d7)), .dst_stride_i(d8[15:0]),
    .key_i(WAddrW'(d10[15:0])), .value_i(WAddrW'(d10[31:16])), .mul_i(d12[15:0]),
    .shift_i(d12[21:16]), .gain_i(d13[14:0]), .shift_out_i(d13[21:16]),
    .a_req_o(att_a_req), .a_addr_o(att_a_addr), .a_data_i, .a_we_o(att_a_we),
    .a_waddr_o(att_a_waddr), .a_wdata_o(att_a_wdata),
    .w_raddr_o(att_w_raddr), .step_valid_o(att_valid), .step_first_o(att_first),
    .step_last_o(att_last), .step_act_o(att_act), .step_two_rows_o(att_two), .fill_o(att_fill),
    .par_o(att_par), .beat_soon_i(beat_soon & is_attend), .q_i(q), .z_i(z)
  );
  assign w_raddr    = is_attend ? att_w_raddr : pass_w_raddr;
  assign step_valid = is_attend ? att_valid : pass_valid;
  assign step_first = is_attend ? att_first : pass_first;
  assign step_last  = is_attend ? att_last : pass_last;
  assign step_act   = is_attend ? att_act : pass_act;
  assign step_two_o = is_attend ? att_two : pass_two;
  assign fill_o     = is_attend ? att_fill : pass_fill;
  assign gate       = is_attend ? 16'd32768 : pass_gate;
  assign a_req_o    = is_attend ? att_a_req : pass_a_req;
  assign a_addr_o   = is_attend ? att_a_addr : pass_a_addr;
  assign a_we_o     = is_attend ? att_a_we : pass_a_we;
  assign a_waddr_o  = is_attend ? att_a_waddr : pass_a_waddr;
  assign a_wdata_o  = is_attend ? att_a_wdata : pass_a_wdata;

  // ---- sequence
  assign op_ready_o    = state_q == Idle;
  assign item_ready_o  = state_q == NextItem;
  assign wait_tile_o   = (state_q == NextItem) & ~item_valid_i;
  assign return_o      = (state_q == RunItem) & pass_done;
  assign done_o        = state_q == Finish;
  assign route_done_o  = done_o & is_route;
  logic unused_busy;
  assign unused_busy = pass_busy;

  always_ff @(posedge clk_i or negedge rst_ni) begin
    if (!rst_ni) state_q <= Idle;
    else begin
      unique case (state_q)
        Idle: if (op_valid_i) state_q <= (op_i[7:0] == m3_pkg::OpExperts) ? NextItem : Start;
        Start: state_q <= Run;
        Run: begin
          if (is_route ? ~router_busy & ~pass_busy : is_attend ? att_done : pass_done) state_q <= Finish;
        end
        NextItem: if (item_valid_i) state_q <= item_end_i ? Finish : StartItem;
        StartItem: state_q <= RunItem;
        RunItem: if (pass_done) state_q <= NextItem;
        default: state_q <= Idle;
      endcase
    end
  end
  always_ff @(posedge clk_i) begin
    if (op_valid_i & op_ready_o) op_q <= op_i;
    if (item_valid_i & item_ready_o) begin
      half_q        <= item_half_i;
      linked_q      <= item_linked_i;
      item_w_q      <= item_w_base_i;
      item_p_q      <= item_p_base_i;
      item_rows_q   <= item_rows_i;
      item_first_q  <= item_first_i;
      item_second_q <= item_second_i;
      return_slot_o <= item_slot_i;
    end
  end
endmodule
