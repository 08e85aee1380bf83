/// STORE engine: COPY_OUT, words of the activation or residual memory into DDR, in whole beats.
module m3_store #(
  parameter int unsigned W = 32,
  parameter int unsigned ActAddrW = 15,
  parameter int unsigned ResAddrW = 14
) (
  input  logic                clk_i,
  input  logic                rst_ni,
  input  logic                op_valid_i,
  output logic                op_ready_o,
  input  logic [511:0]        op_i,
  output logic                done_o,
  // memories: data one cycle after the grant
  output logic                a_req_o,
  input  logic                a_gnt_i,
  output logic [ActAddrW-1:0] a_addr_o,
  input  logic [8*W-1:0]      a_data_i,
  output logic                x_req_o,
  input  logic                x_gnt_i,
  output logic [ResAddrW-1:0] x_addr_o,
  input  logic [16*W-1:0]     x_data_i,
  // AXI write channels, addresses in beats
  output logic                aw_valid_o,
  input  logic                aw_ready_i,
  output logic [31:0]         aw_addr_o,
  output logic [7:0]          aw_len_o,
  output logic                w_valid_o,
  input  logic                w_ready_i,
  output logic [511:0]        w_data_o,
  output logic                w_last_o,
  input  logic                b_valid_i,
  output logic                b_ready_o
);
  localparam int unsigned PiecesA = 64 / W;
  localparam int unsigned PiecesX = 32 / W;

  logic        busy_q, asked_q, res_q;
  logic [31:0] addr_q;
  logic [15:0] src_q, left_q;       // next word, words not yet read
  logic [23:0] beats, beats_left_q; // beats not yet answered
  logic [6:0]  fill_q, pieces;
  logic [511:0] beat_q;
  logic        get, got_q, got_last_q, full_q, full_last, flush;
  logic        burst_valid, burst_ready, burst_idle;
  logic [8:0]  burst_left_q;        // beats left of the burst under way
  logic        last_piece;
  logic [8:0]  burst_answers_q;

  assign op_ready_o = ~busy_q;
  assign pieces     = res_q ? 7'(PiecesX) : 7'(PiecesA);
  assign beats      = op_i[8] ? (24'(op_i[32*5 +: 16]) + 24'(PiecesX - 1)) / 24'(PiecesX)
                              : (24'(op_i[32*5 +: 16]) + 24'(PiecesA - 1)) / 24'(PiecesA);

  m3_burst u_burst (
    .clk_i, .rst_ni,
    .valid_i(busy_q & ~asked_q), .ready_o(burst_idle), .addr_i(addr_q), .beats_i(beats_left_q),
    .valid_o(burst_valid), .ready_i(burst_ready), .addr_o(aw_addr_o), .len_o(aw_len_o)
  );
  // one burst at a time: its data follow its address
  assign aw_valid_o  = burst_valid & (burst_left_q == '0);
  assign burst_ready = aw_ready_i & (burst_left_q == '0);

  // words are read while there is room in the beat
  assign last_piece = (fill_q + 7'(got_q) == pieces - 7'd1) || (left_q == 16'd1);
  assign get        = busy_q && asked_q && (left_q != '0) && !full_q && !(got_q && got_last_q);
  assign a_req_o    = get & ~res_q;
  assign x_req_o    = get & res_q;
  assign a_addr_o   = ActAddrW'(src_q);
  assign x_addr_o   = ResAddrW'(src_q);

  assign w_valid_o  = full_q & (burst_left_q != '0);
  assign w_data_o   = beat_q;
  assign w_last_o   = burst_left_q == 9'd1;
  assign flush      = w_valid_o & w_ready_i;
  assign full_last  = got_q & got_last_q;
  assign b_ready_o  = 1'b1;

  logic granted;
  assign granted = (a_req_o & a_gnt_i) | (x_req_o & x_gnt_i);

  always_ff @(posedge clk_i or negedge rst_ni) begin
    if (!rst_ni) begin
      busy_q          <= 1'b0;
      asked_q         <= 1'b0;
      got_q           <= 1'b0;
      full_q          <= 1'b0;
      fill_q          <= '0;
      burst_left_q    <= '0;
      burst_answers_q <= '0;
      done_o          <= 1'b0;
      left_q          <= '0;
      beats_left_q    <= '0;
    end else begin
      done_o <= 1'b0;
      got_q  <= granted;
      if (op_valid_i & op_ready_o) begin
        busy_q       <= 1'b1;
        asked_q      <= 1'b0;
        left_q       <= op_i[32*5 +: 16];
        beats_left_q <= beats;
      end else if (busy_q) begin
        if (burst_idle) asked_q <= 1'b1;
        if (granted) left_q <= left_q - 16'd1;
        if (flush) beats_left_q <= beats_left_q - 24'd1;
        if (asked_q && beats_left_q == '0 && burst_answers_q == '0 && burst_idle) begin
          busy_q <= 1'b0;
          done_o <= 1'b1;
        end
      end
      if (got_q) fill_q <= got_last_q ? '0 : fill_q + 7'd1;
      full_q <= full_last | (full_q & ~flush);
      if (aw_valid_o & aw_ready_i) burst_left_q <= 9'(aw_len_o) + 9'd1;
      else if (flush) burst_left_q <= burst_left_q - 9'd1;
      burst_answers_q <= burst_answers_q + {8'd0, aw_valid_o & aw_ready_i} - {8'd0, b_valid_i};
    end
  end
  always_ff @(posedge clk_i) begin
    if (op_valid_i & op_ready_o) begin
      res_q  <= op_i[8];
      addr_q <= op_i[32*3 +: 32];
      src_q  <= op_i[32*4 +: 16];
    end else if (granted) begin
      src_q <= src_q + 16'd1;
    end
    if (granted) got_last_q <= last_piece;
    if (flush) beat_q <= '0;
    else if (busy_q && !asked_q) beat_q <= '0;
    for (int unsigned i = 0; i < PiecesA; i++) begin
      if (got_q && fill_q == 7'(res_q ? i / 2 : i)) begin
        beat_q[8*W*i +: 8*W] <= res_q ? x_data_i[8*W*(i % 2) +: 8*W] : a_data_i;
      end
    end
  end
endmodule
