/// Control: fetches micro-ops (64 bytes each) ahead, hands them in program order to the queues of the
/// four engines, and lets an engine begin its next op when the op's waits hold. Counts what each
/// engine has begun and done since the start of the run.
module m3_seq (
  input  logic         clk_i,
  input  logic         rst_ni,
  input  logic         start_i,       // one cycle
  input  logic [31:0]  program_i,     // first op, in beats
  output logic         running_o,
  output logic         finished_o,    // one cycle: END reached
  output logic         illegal_o,     // one cycle: an opcode that no engine knows; the run stops
  // requests and beats
  output logic         rq_valid_o,
  input  logic         rq_ready_i,
  output logic [31:0]  rq_addr_o,
  output logic [7:0]   rq_len_o,
  input  logic         r_valid_i,
  output logic         r_ready_o,
  input  logic [511:0] r_data_i,
  // engines, in the order LOAD, GEMM, VEC, STORE
  output logic [3:0]   op_valid_o,
  input  logic [3:0]   op_ready_i,
  output logic [4*512-1:0] op_o,
  input  logic [3:0]   done_i,
  output logic [3:0]   busy_o,
  output logic         gemm_chases_o, // GEMM's op goes row by row behind the running op of VEC
  output logic         vec_chases_o
);
  localparam int unsigned Ahead = 16;   // ops fetched ahead
  localparam int unsigned Burst = 8;

  // ---- fetch
  logic         run_q, live, head_valid, head_ready, fifo_ready, draining_q;
  logic [511:0] head;
  logic [4:0]   count, on_the_way_q;
  logic [31:0]  pc_q;
  logic [5:0]   room;

  // after the end what is still on its way is thrown away; a run that begins meanwhile waits for that
  assign live       = run_q & ~draining_q;
  assign room       = 6'(Ahead) - 6'(count) - 6'(on_the_way_q);
  assign rq_valid_o = live && (room >= 6'(Burst));
  assign rq_addr_o  = pc_q;
  assign rq_len_o   = 8'(Burst - 1) - 8'(pc_q[2:0]);   // to the next multiple of eight ops
  assign r_ready_o  = draining_q | fifo_ready;

  m3_fifo #(.Width(512), .Depth(Ahead)) u_ops (
    .clk_i, .rst_ni,
    .valid_i(r_valid_i & ~draining_q), .ready_o(fifo_ready), .data_i(r_data_i),
    .valid_o(head_valid), .ready_i(head_ready), .data_o(head), .count_o(count)
  );

  // ---- dispatch
  logic [3:0]  q_valid, q_ready, q_pop, sel;
  logic        is_end, legal, waits_hold, end_go;
  logic [63:0] done_q;       // four 16-bit counts
  logic [63:0] begun_q;
  logic [3:0]  busy_q;
  logic [11:0] unused_counts;

  assign is_end = head[7:0] == m3_pkg::OpEnd;
  always_comb begin
    sel   = '0;
    legal = 1'b1;
    unique case (head[7:0])
      m3_pkg::OpTile, m3_pkg::OpCopyIn, m3_pkg::OpLoadExperts: sel[0] = 1'b1;
      m3_pkg::OpGemm, m3_pkg::OpAttend, m3_pkg::OpRoute, m3_pkg::OpExperts: sel[1] = 1'b1;
      m3_pkg::OpNorm, m3_pkg::OpUpsample:                      sel[2] = 1'b1;
      m3_pkg::OpCopyOut:                                       sel[3] = 1'b1;
      m3_pkg::OpEnd:                                           sel = '0;
      default:                                                 legal = 1'b0;
    endcase
  end
  always_comb begin
    waits_hold = 1'b1;
    for (int unsigned e = 0; e < 4; e++) begin
      if (done_q[16*e +: 16] < head[32 + 16*e +: 16]) waits_hold = 1'b0;
    end
  end
  assign end_go     = live && head_valid && is_end && waits_hold;
  assign illegal_o  = live && head_valid && !legal;
  assign finished_o = end_go;
  assign head_ready = !live || (is_end ? waits_hold : ((sel & q_ready) != '0));

  for (genvar e = 0; e < 4; e++) begin : g_queue
    logic [511:0] op;
    logic         ok, chases;
    localparam int unsigned Other = (e == 1) ? 2 : 1;   // whom this engine may chase
    m3_fifo #(.Width(512), .Depth(4)) u_queue (
      .clk_i, .rst_ni,
      .valid_i(live & head_valid & sel[e]), .ready_o(q_ready[e]), .data_i(head),
      .valid_o(q_valid[e]), .ready_i(q_pop[e]), .data_o(op), .count_o(unused_counts[3*e +: 3])
    );
    assign chases = op[14] & (e == 1 || e == 2);
    always_comb begin
      ok = ~busy_q[e];
      for (int unsigned f = 0; f < 4; f++) begin
        if (chases && f == Other) begin
          if (begun_q[16*f +: 16] <= op[32 + 16*f +: 16]) ok = 1'b0;
        end else if (done_q[16*f +: 16] < op[32 + 16*f +: 16]) ok = 1'b0;
      end
    end
    assign op_valid_o[e]      = q_valid[e] & ok;
    assign op_o[512*e +: 512] = op;
    assign q_pop[e]           = op_valid_o[e] & op_ready_i[e];
  end
  assign busy_o    = busy_q;
  assign running_o = run_q | (busy_q != '0) | (q_valid != '0);  // a run stopped by an illegal op: what was begun

  // a chase ends when the op that is chased is done
  logic [15:0] gemm_chased_q, vec_chased_q;
  logic        gemm_chase_q, vec_chase_q;
  assign gemm_chases_o = gemm_chase_q && (done_q[47:32] <= gemm_chased_q);
  assign vec_chases_o  = vec_chase_q && (done_q[31:16] <= vec_chased_q);

  always_ff @(posedge clk_i or negedge rst_ni) begin
    if (!rst_ni) begin
      run_q        <= 1'b0;
      draining_q   <= 1'b0;
      on_the_way_q <= '0;
      busy_q       <= '0;
      done_q       <= '0;
      begun_q      <= '0;
      gemm_chase_q <= 1'b0;
      vec_chase_q  <= 1'b0;
    end else begin
      on_the_way_q <= on_the_way_q + ((rq_valid_o && rq_ready_i) ? 5'(rq_len_o) + 5'd1 : 5'd0)
                      - ((r_valid_i && r_ready_o) ? 5'd1 : 5'd0);
      if (start_i) run_q <= 1'b1;
      else if (end_go || illegal_o) run_q <= 1'b0;
      if (end_go || illegal_o) draining_q <= 1'b1;
      else if (on_the_way_q == '0 && count == '0) draining_q <= 1'b0;
      for (int unsigned e = 0; e < 4; e++) begin
        if (start_i) begin
          done_q[16*e +: 16]  <= '0;
          begun_q[16*e +: 16] <= '0;
        end else begin
          if (done_i[e]) done_q[16*e +: 16] <= done_q[16*e +: 16] + 16'd1;
          if (q_pop[e]) begun_q[16*e +: 16] <= begun_q[16*e +: 16] + 16'd1;
        end
        if (q_pop[e]) busy_q[e] <= 1'b1;
        else if (done_i[e]) busy_q[e] <= 1'b0;
      end
      if (q_pop[1]) gemm_chase_q <= op_o[512 + 14];
      if (q_pop[2]) vec_chase_q <= op_o[1024 + 14];
    end
  end
  always_ff @(posedge clk_i) begin
    if (start_i) pc_q <= program_i;
    else if (rq_valid_o && rq_ready_i) pc_q <= pc_q + 32'(rq_len_o) + 32'd1;
    if (q_pop[1]) gemm_chased_q <= op_o[512 + 64 +: 16];
    if (q_pop[2]) vec_chased_q <= op_o[1024 + 48 +: 16];
  end

`ifdef FORMAL
  // Every op is handed to one engine's queue, to no other, and leaves the fetch queue just then (that
  // a queue loses, repeats and reorders nothing is proven in m3_fifo); an op begins only when its
  // waits hold, by counts of our own, and its engine is idle; beats that were asked for have room.
  logic        past_q = 1'b0;
  logic [63:0] spec_begun_q, spec_done_q;
  logic [3:0]  took;
  logic [5:0]  coming;
  assign took   = {4{live & head_valid}} & sel & q_ready;
  assign coming = 6'(on_the_way_q) + 6'(count);

  always_ff @(posedge clk_i) begin
    past_q <= 1'b1;
    assume (rst_ni == past_q);
    if (start_i) assume (!running_o);                    // m3_regs sees to that
    assume (!r_valid_i || on_the_way_q != '0);           // beats are answers
    assume ((done_i & ~busy_q) == '0);                   // an engine is done with what it has
    for (int unsigned e = 0; e < 4; e++) begin
      if (!rst_ni || start_i) begin
        spec_begun_q[16*e +: 16] <= '0;
        spec_done_q[16*e +: 16]  <= '0;
      end else begin
        if (op_valid_o[e] && op_ready_i[e]) spec_begun_q[16*e +: 16] <= spec_begun_q[16*e +: 16] + 16'd1;
        if (done_i[e]) spec_done_q[16*e +: 16] <= spec_done_q[16*e +: 16] + 16'd1;
      end
    end
    if (past_q && rst_ni) begin
      AtMostOneEngine: assert ((took & (took - 4'd1)) == '0);
      LeavesWhenTaken: assert ((took != '0) == (live && head_valid && head_ready && head[7:4] != '0 && legal));
      CountsAgree:     assert (spec_begun_q == begun_q && spec_done_q == done_q);
      BeatsHaveRoom:   assert (draining_q || coming <= 6'(Ahead));
      BeatsTaken:      assert (!r_valid_i || r_ready_o);
      for (int unsigned e = 0; e < 4; e++) begin
        if (took[e]) assert (head[7:4] == 4'(e + 1));
        assert (spec_begun_q[16*e +: 16] == spec_done_q[16*e +: 16] + 16'(busy_q[e]));
        if (op_valid_o[e] && op_ready_i[e]) begin
          assert (spec_begun_q[16*e +: 16] == spec_done_q[16*e +: 16]);  // idle
          for (int unsigned f = 0; f < 4; f++) begin
            if (op_o[512*e + 14] && ((e == 1 && f == 2) || (e == 2 && f == 1))) begin
              assert (spec_begun_q[16*f +: 16] > op_o[512*e + 32 + 16*f +: 16]);
            end else begin
              assert (spec_done_q[16*f +: 16] >= op_o[512*e + 32 + 16*f +: 16]);
            end
          end
        end
      end
      if (finished_o) begin
        for (int unsigned f = 0; f < 4; f++) begin
          assert (spec_done_q[16*f +: 16] >= head[32 + 16*f +: 16]);
        end
      end
    end
  end
`endif
endmodule
