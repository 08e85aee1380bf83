/// The accelerator: control, engines, memories, one AXI4 master of 512 bits for DDR and an AXI4-Lite
/// slave for the host. Shipped: W = 32, 2048 multiplications a cycle.
module m3_top #(
  parameter int unsigned W = 32,             // lanes, and elements of a dot product: 8, 16, 32
  parameter int unsigned WeightWords = 512,  // words of W bytes in a lane's weight memory
  parameter int unsigned ParamWords = 128,   // blocks of parameters
  parameter int unsigned ActWords = 32768,   // words of W int8
  parameter int unsigned ResWords = 16384,   // words of W int16
  parameter int unsigned RowWords = 256,     // longest row of a pass
  parameter int unsigned KeyWords = 64,      // words of a row of attention scores
  parameter int unsigned HeadWords = 8,      // words of an attention head
  parameter int unsigned NormWords = 64,     // words of norm parameters
  parameter int unsigned Entries = 8192,     // of the expert lists
  parameter int unsigned Experts = 1024,
  parameter int unsigned TopK = 8
) (
  input  logic         clk_i,
  input  logic         rst_ni,
  output logic         irq_o,
  // AXI4-Lite slave
  input  logic         s_awvalid_i,
  output logic         s_awready_o,
  input  logic [11:0]  s_awaddr_i,
  input  logic         s_wvalid_i,
  output logic         s_wready_o,
  input  logic [31:0]  s_wdata_i,
  output logic         s_bvalid_o,
  input  logic         s_bready_i,
  input  logic         s_arvalid_i,
  output logic         s_arready_o,
  input  logic [11:0]  s_araddr_i,
  output logic         s_rvalid_o,
  input  logic         s_rready_i,
  output logic [31:0]  s_rdata_o,
  // AXI4 master; id 0 micro-ops, 1 data; a burst is INCR of 64-byte beats; responses in order by id
  output logic         m_arvalid_o,
  input  logic         m_arready_i,
  output logic         m_arid_o,
  output logic [39:0]  m_araddr_o,
  output logic [7:0]   m_arlen_o,
  input  logic         m_rvalid_i,
  output logic         m_rready_o,
  input  logic         m_rid_i,
  input  logic [511:0] m_rdata_i,
  input  logic [1:0]   m_rresp_i,
  output logic         m_awvalid_o,
  input  logic         m_awready_i,
  output logic [39:0]  m_awaddr_o,
  output logic [7:0]   m_awlen_o,
  output logic         m_wvalid_o,
  input  logic         m_wready_i,
  output logic [511:0] m_wdata_o,
  output logic         m_wlast_o,
  input  logic         m_bvalid_i,
  output logic         m_bready_o,
  input  logic [1:0]   m_bresp_i
);
  localparam int unsigned WAddrW = $clog2(WeightWords);
  localparam int unsigned PAddrW = $clog2(ParamWords);
  localparam int unsigned ActAddrW = $clog2(ActWords);
  localparam int unsigned ResAddrW = $clog2(ResWords);
  localparam int unsigned EntryW = $clog2(Entries);
  localparam int unsigned ExpertW = $clog2(Experts);
  localparam int unsigned Counters = 27;

  // ---- control
  logic         start, running, finished, illegal, bus_error;
  logic [39:0]  image;
  logic [31:0]  program_at;
  logic         f_rq_valid, f_rq_ready, f_r_ready;
  logic [31:0]  f_rq_addr;
  logic [7:0]   f_rq_len;
  logic [3:0]   op_valid, op_ready, done, busy;
  logic [4*512-1:0] op;
  logic         gemm_chases, vec_chases;
  logic [16*Counters-1:0] add;

  m3_regs #(
    .W(W), .WeightWords(WeightWords), .ActWords(ActWords), .ResWords(ResWords), .Counters(Counters)
  ) u_regs (
    .clk_i, .rst_ni,
    .awvalid_i(s_awvalid_i), .awready_o(s_awready_o), .awaddr_i(s_awaddr_i),
    .wvalid_i(s_wvalid_i), .wready_o(s_wready_o), .wdata_i(s_wdata_i),
    .bvalid_o(s_bvalid_o), .bready_i(s_bready_i),
    .arvalid_i(s_arvalid_i), .arready_o(s_arready_o), .araddr_i(s_araddr_i),
    .rvalid_o(s_rvalid_o), .rready_i(s_rready_i), .rdata_o(s_rdata_o),
    .start_o(start), .image_o(image), .program_o(program_at), .running_i(running),
    .finished_i(finished), .illegal_i(illegal), .bus_error_i(bus_error), .irq_o, .add_i(add)
  );
  m3_seq u_seq (
    .clk_i, .rst_ni,
    .start_i(start), .program_i(program_at), .running_o(running), .finished_o(finished),
    .illegal_o(illegal),
    .rq_valid_o(f_rq_valid), .rq_ready_i(f_rq_ready), .rq_addr_o(f_rq_addr), .rq_len_o(f_rq_len),
    .r_valid_i(m_rvalid_i & ~m_rid_i), .r_ready_o(f_r_ready), .r_data_i(m_rdata_i),
    .op_valid_o(op_valid), .op_ready_i(op_ready), .op_o(op), .done_i(done), .busy_o(busy),
    .gemm_chases_o(gemm_chases), .vec_chases_o(vec_chases)
  );

  // ---- DDR: micro-ops go first
  logic         l_rq_valid, l_rq_ready, l_r_ready;
  logic [31:0]  l_rq_addr, aw_addr;
  logic [7:0]   l_rq_len;
  assign m_arvalid_o = f_rq_valid | l_rq_valid;
  assign m_arid_o    = ~f_rq_valid;
  assign m_araddr_o  = image + {2'd0, f_rq_valid ? f_rq_addr : l_rq_addr, 6'd0};
  assign m_arlen_o   = f_rq_valid ? f_rq_len : l_rq_len;
  assign f_rq_ready  = m_arready_i;
  assign l_rq_ready  = m_arready_i & ~f_rq_valid;
  assign m_rready_o  = m_rid_i ? l_r_ready : f_r_ready;
  assign m_awaddr_o  = image + {2'd0, aw_addr, 6'd0};
  assign bus_error   = (m_rvalid_i & m_rready_o & (m_rresp_i != '0)) | (m_bvalid_i & (m_bresp_i != '0));

  // ---- memories; requesters in order of precedence: GEMM, VEC, then STORE (reads) or LOAD (writes)
  logic [2:0]            a_r_req, a_r_gnt, a_w_valid, a_w_ready, x_r_req, x_r_gnt;
  logic [1:0]            x_w_valid, x_w_ready;
  logic [3*ActAddrW-1:0] a_r_addr, a_w_addr;
  logic [3*ResAddrW-1:0] x_r_addr;
  logic [2*ResAddrW-1:0] x_w_addr;
  logic [8*W-1:0]        a_r_data;
  logic [16*W-1:0]       x_r_data;
  logic [24*W-1:0]       a_w_data;
  logic [32*W-1:0]       x_w_data;
  m3_spad #(.Width(8*W), .Words(ActWords), .Readers(3), .Writers(3)) u_act (
    .clk_i, .r_req_i(a_r_req), .r_gnt_o(a_r_gnt), .r_addr_i(a_r_addr), .r_data_o(a_r_data),
    .w_valid_i(a_w_valid), .w_ready_o(a_w_ready), .w_addr_i(a_w_addr), .w_data_i(a_w_data)
  );
  m3_spad #(.Width(16*W), .Words(ResWords), .Readers(3), .Writers(2)) u_res (
    .clk_i, .r_req_i(x_r_req), .r_gnt_o(x_r_gnt), .r_addr_i(x_r_addr), .r_data_o(x_r_data),
    .w_valid_i(x_w_valid), .w_ready_o(x_w_ready), .w_addr_i(x_w_addr), .w_data_i(x_w_data)
  );

  // ---- LOAD
  logic               norm_we;
  logic [15:0]        norm_addr;
  logic               ld_hold, ld_w_valid, ld_p_valid, ld_t_valid, ld_g_valid;
  logic [WAddrW-1:0]  ld_w_addr, item_w_base;
  logic [PAddrW-1:0]  ld_p_addr, item_p_base;
  logic [4:0]         ld_part;
  logic [511:0]       ld_data;
  logic [8:0]         ld_t_addr;
  logic [15:0]        ld_t_data;
  logic [EntryW:0]    entries;
  logic [ExpertW:0]   nonempty;
  logic               find_start, find_valid;
  logic [ExpertW-1:0] find_from, find_expert, entry_expert;
  logic [EntryW-1:0]  find_head, entry, item_first, item_second;
  logic [13:0]        find_rows, item_rows;
  logic [12:0]        entry_token;
  logic               item_valid, item_ready, item_end, item_half, item_linked, item_return;
  logic [7:0]         item_slot, return_slot;
  logic               weight_beat, expert_beat, other_beat, tile, hit, wait_slot;

  m3_load #(
    .W(W), .WeightWords(WeightWords), .ParamWords(ParamWords), .ActAddrW(ActAddrW),
    .ResAddrW(ResAddrW), .Entries(Entries), .Experts(Experts), .K(TopK)
  ) u_load (
    .clk_i, .rst_ni,
    .op_valid_i(op_valid[0]), .op_ready_o(op_ready[0]), .op_i(op[511:0]), .done_o(done[0]),
    .rq_valid_o(l_rq_valid), .rq_ready_i(l_rq_ready), .rq_addr_o(l_rq_addr), .rq_len_o(l_rq_len),
    .r_valid_i(m_rvalid_i & m_rid_i), .r_ready_o(l_r_ready), .r_data_i(m_rdata_i),
    .hold_i(ld_hold), .w_valid_o(ld_w_valid), .p_valid_o(ld_p_valid), .w_addr_o(ld_w_addr), .p_addr_o(ld_p_addr),
    .part_o(ld_part), .data_o(ld_data), .t_valid_o(ld_t_valid), .g_valid_o(ld_g_valid),
    .t_addr_o(ld_t_addr), .t_data_o(ld_t_data),
    .n_valid_o(norm_we), .n_addr_o(norm_addr),
    .a_valid_o(a_w_valid[2]), .a_ready_i(a_w_ready[2]), .a_addr_o(a_w_addr[2*ActAddrW +: ActAddrW]),
    .a_data_o(a_w_data[16*W +: 8*W]),
    .x_valid_o(x_w_valid[1]), .x_ready_i(x_w_ready[1]), .x_addr_o(x_w_addr[ResAddrW +: ResAddrW]),
    .x_data_o(x_w_data[16*W +: 16*W]),
    .entries_i(entries), .nonempty_i(nonempty), .find_start_o(find_start), .find_from_o(find_from),
    .find_valid_i(find_valid), .find_expert_i(find_expert), .find_head_i(find_head),
    .find_rows_i(find_rows), .entry_o(entry), .entry_expert_i(entry_expert),
    .entry_token_i(entry_token),
    .item_valid_o(item_valid), .item_ready_i(item_ready), .item_end_o(item_end),
    .item_half_o(item_half), .item_w_base_o(item_w_base), .item_p_base_o(item_p_base),
    .item_slot_o(item_slot), .item_rows_o(item_rows), .item_linked_o(item_linked),
    .item_first_o(item_first), .item_second_o(item_second),
    .return_i(item_return), .return_slot_i(return_slot),
    .weight_beat_o(weight_beat), .expert_beat_o(expert_beat), .other_beat_o(other_beat),
    .tile_o(tile), .hit_o(hit), .wait_slot_o(wait_slot)
  );

  // ---- GEMM
  logic        step, step_two, fill, wait_tile, entry_pushed, route_done;
  logic [7:0]  clamped;
  logic [15:0] gemm_rows, vec_rows;
  m3_gemm #(
    .W(W), .WeightWords(WeightWords), .ParamWords(ParamWords), .RowWords(RowWords),
    .ActAddrW(ActAddrW), .ResAddrW(ResAddrW), .Entries(Entries), .Experts(Experts), .K(TopK),
    .KeyWords(KeyWords), .HeadWords(HeadWords)
  ) u_gemm (
    .clk_i, .rst_ni,
    .op_valid_i(op_valid[1]), .op_ready_o(op_ready[1]), .op_i(op[1023:512]), .done_o(done[1]),
    .rows_done_o(gemm_rows), .chase_i(gemm_chases), .chase_rows_i(vec_rows),
    .ld_w_valid_i(ld_w_valid), .ld_p_valid_i(ld_p_valid), .ld_w_addr_i(ld_w_addr),
    .ld_p_addr_i(ld_p_addr), .ld_part_i(ld_part), .ld_data_i(ld_data), .ld_t_valid_i(ld_t_valid),
    .ld_g_valid_i(ld_g_valid), .ld_hold_o(ld_hold), .ld_t_addr_i(ld_t_addr), .ld_t_data_i(ld_t_data),
    .entries_o(entries), .nonempty_o(nonempty), .find_start_i(find_start), .find_from_i(find_from),
    .find_valid_o(find_valid), .find_expert_o(find_expert), .find_head_o(find_head),
    .find_rows_o(find_rows), .entry_i(entry), .entry_expert_o(entry_expert),
    .entry_token_o(entry_token),
    .item_valid_i(item_valid), .item_ready_o(item_ready), .item_end_i(item_end),
    .item_half_i(item_half), .item_w_base_i(item_w_base), .item_p_base_i(item_p_base),
    .item_slot_i(item_slot), .item_rows_i(item_rows), .item_linked_i(item_linked),
    .item_first_i(item_first), .item_second_i(item_second),
    .return_o(item_return), .return_slot_o(return_slot),
    .a_req_o(a_r_req[0]), .a_addr_o(a_r_addr[0 +: ActAddrW]), .a_data_i(a_r_data),
    .a_we_o(a_w_valid[0]), .a_waddr_o(a_w_addr[0 +: ActAddrW]), .a_wdata_o(a_w_data[0 +: 8*W]),
    .x_req_o(x_r_req[0]), .x_addr_o(x_r_addr[0 +: ResAddrW]), .x_data_i(x_r_data),
    .x_we_o(x_w_valid[0]), .x_waddr_o(x_w_addr[0 +: ResAddrW]), .x_wdata_o(x_w_data[0 +: 16*W]),
    .step_o(step), .step_two_o(step_two), .fill_o(fill), .clamped_o(clamped),
    .wait_tile_o(wait_tile), .entry_pushed_o(entry_pushed), .route_done_o(route_done)
  );

  // ---- VEC
  logic [15:0] vec_x_addr, vec_a_raddr, vec_a_waddr;
  assign x_r_addr[ResAddrW +: ResAddrW] = vec_x_addr[ResAddrW-1:0];
  assign a_r_addr[ActAddrW +: ActAddrW] = vec_a_raddr[ActAddrW-1:0];
  assign a_w_addr[ActAddrW +: ActAddrW] = vec_a_waddr[ActAddrW-1:0];
  m3_vec #(.W(W), .NormWords(NormWords)) u_vec (
    .clk_i, .rst_ni,
    .op_valid_i(op_valid[2]), .op_ready_o(op_ready[2]), .op_i(op[1535:1024]), .done_o(done[2]),
    .rows_done_o(vec_rows), .chase_en_i(vec_chases), .chase_rows_i(gemm_rows),
    .param_we_i(norm_we), .param_addr_i(norm_addr[$clog2(NormWords * W / 8)-1:0]),
    .param_data_i(ld_data),
    .xmem_req_o(x_r_req[1]), .xmem_gnt_i(x_r_gnt[1]), .xmem_addr_o(vec_x_addr),
    .xmem_data_i(x_r_data),
    .amem_req_o(a_r_req[1]), .amem_gnt_i(a_r_gnt[1]), .amem_raddr_o(vec_a_raddr),
    .amem_rdata_i(a_r_data),
    .amem_valid_o(a_w_valid[1]), .amem_ready_i(a_w_ready[1]), .amem_waddr_o(vec_a_waddr),
    .amem_wdata_o(a_w_data[8*W +: 8*W])
  );

  // ---- STORE
  m3_store #(.W(W), .ActAddrW(ActAddrW), .ResAddrW(ResAddrW)) u_store (
    .clk_i, .rst_ni,
    .op_valid_i(op_valid[3]), .op_ready_o(op_ready[3]), .op_i(op[2047:1536]), .done_o(done[3]),
    .a_req_o(a_r_req[2]), .a_gnt_i(a_r_gnt[2]), .a_addr_o(a_r_addr[2*ActAddrW +: ActAddrW]),
    .a_data_i(a_r_data),
    .x_req_o(x_r_req[2]), .x_gnt_i(x_r_gnt[2]), .x_addr_o(x_r_addr[2*ResAddrW +: ResAddrW]),
    .x_data_i(x_r_data),
    .aw_valid_o(m_awvalid_o), .aw_ready_i(m_awready_i), .aw_addr_o(aw_addr), .aw_len_o(m_awlen_o),
    .w_valid_o(m_wvalid_o), .w_ready_i(m_wready_i), .w_data_o(m_wdata_o), .w_last_o(m_wlast_o),
    .b_valid_i(m_bvalid_i), .b_ready_o(m_bready_o)
  );

  // ---- counters, in the order of docs/accelerator.md §7
  always_comb begin
    add = '0;
    add[16*0  +: 16] = 16'(running);
    add[16*1  +: 16] = 16'(busy[0]);
    add[16*2  +: 16] = 16'(busy[1]);
    add[16*3  +: 16] = 16'(busy[2]);
    add[16*4  +: 16] = 16'(busy[3]);
    add[16*5  +: 16] = 16'(step);
    add[16*6  +: 16] = step ? (step_two ? 16'(2*W*W) : 16'(W*W)) : 16'd0;
    add[16*7  +: 16] = weight_beat ? 16'd64 : 16'd0;
    add[16*8  +: 16] = expert_beat ? 16'd64 : 16'd0;
    add[16*9  +: 16] = other_beat ? 16'd64 : 16'd0;
    add[16*10 +: 16] = (m_rvalid_i & ~m_rid_i & f_r_ready) ? 16'd64 : 16'd0;
    add[16*11 +: 16] = (m_wvalid_o & m_wready_i) ? 16'd64 : 16'd0;
    add[16*12 +: 16] = step ? 16'(W*W) : 16'd0;
    add[16*13 +: 16] = (a_r_gnt != '0) ? 16'(W) : 16'd0;
    add[16*14 +: 16] = (x_r_gnt != '0) ? 16'(2*W) : 16'd0;
    add[16*15 +: 16] = step ? 16'(2*W) : 16'd0;
    add[16*16 +: 16] = ld_w_valid ? 16'd64 : 16'd0;
    add[16*17 +: 16] = (a_w_valid != '0) ? 16'(W) : 16'd0;
    add[16*18 +: 16] = (x_w_valid != '0) ? 16'(2*W) : 16'd0;
    add[16*19 +: 16] = fill ? 16'(W) : 16'd0;
    add[16*20 +: 16] = 16'(tile);
    add[16*21 +: 16] = 16'(hit);
    add[16*22 +: 16] = 16'(clamped);
    add[16*23 +: 16] = 16'(wait_tile);
    add[16*24 +: 16] = 16'(wait_slot);
    add[16*25 +: 16] = 16'(entry_pushed);
    add[16*26 +: 16] = route_done ? 16'(nonempty) : 16'd0;
  end
endmodule
