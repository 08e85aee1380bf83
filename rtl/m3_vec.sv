/// The VEC engine: NORM (xmem -> amem) and UPSAMPLE (amem -> amem), one op at a time. Reads and writes
/// may be stalled in any pattern.
module m3_vec #(
  parameter int unsigned W = 32,          // channels of a word, a multiple of 8
  parameter int unsigned NormWords = 64,  // words of W channels' norm parameters
  localparam int unsigned BeatW = $clog2(NormWords * W / 8)
) (
  input  logic             clk_i,
  input  logic             rst_ni,
  input  logic             op_valid_i,
  output logic             op_ready_o,    // no op runs
  input  logic [511:0]     op_i,
  output logic             done_o,        // pulse, after the op's last write
  output logic [15:0]      rows_done_o,   // rows (UPSAMPLE: lines) written since the op was taken
  input  logic             chase_en_i,    // NORM: row r waits for chase_rows_i > r
  input  logic [15:0]      chase_rows_i,
  // norm parameters from DDR, eight channels a beat
  input  logic             param_we_i,
  input  logic [BeatW-1:0] param_addr_i,
  input  logic [511:0]     param_data_i,
  // read ports: data in the cycle after gnt
  output logic             xmem_req_o,
  input  logic             xmem_gnt_i,
  output logic [15:0]      xmem_addr_o,
  input  logic [16*W-1:0]  xmem_data_i,
  output logic             amem_req_o,
  input  logic             amem_gnt_i,
  output logic [15:0]      amem_raddr_o,
  input  logic [8*W-1:0]   amem_rdata_i,
  // write port
  output logic             amem_valid_o,
  input  logic             amem_ready_i,
  output logic [15:0]      amem_waddr_o,
  output logic [8*W-1:0]   amem_wdata_o
);
  localparam int unsigned WordW = $clog2(NormWords);

  logic [511:0]    op_q;
  logic            busy_q, is_norm_q, norm_start_q, upsample_start_q;
  logic            norm_done, upsample_done, norm_valid, upsample_valid;
  logic [15:0]     norm_rows, upsample_lines, norm_waddr, upsample_waddr;
  logic [8*W-1:0]  norm_wdata, upsample_wdata;

  assign op_ready_o  = ~busy_q;
  assign done_o      = norm_done | upsample_done;
  assign rows_done_o = (norm_start_q | upsample_start_q) ? 16'd0 : is_norm_q ? norm_rows : upsample_lines;

  always_ff @(posedge clk_i or negedge rst_ni) begin
    if (!rst_ni) begin
      busy_q           <= 1'b0;
      norm_start_q     <= 1'b0;
      upsample_start_q <= 1'b0;
      is_norm_q        <= 1'b0;
    end else begin
      norm_start_q     <= op_valid_i & op_ready_o & (op_i[7:0] == m3_pkg::OpNorm);
      upsample_start_q <= op_valid_i & op_ready_o & (op_i[7:0] == m3_pkg::OpUpsample);
      if (op_valid_i & op_ready_o) begin
        busy_q    <= 1'b1;
        is_norm_q <= op_i[7:0] == m3_pkg::OpNorm;
      end else if (done_o) busy_q <= 1'b0;
    end
  end
  always_ff @(posedge clk_i) begin
    if (op_valid_i & op_ready_o) op_q <= op_i;
  end

  m3_norm #(.W(W), .NormWords(NormWords)) u_norm (
    .clk_i, .rst_ni,
    .start_i(norm_start_q),
    .rows_i(op_q[32*3 +: 16]),
    .words_i(op_q[32*3 + 16 +: WordW + 1]),
    .channels_i(op_q[32*4 +: 13]),
    .param_i(op_q[32*4 + 16 +: WordW]),
    .dst_stride_i(op_q[32*5 +: 16]),
    .src_stride_i(op_q[32*5 + 16 +: 16]),
    .src_i(op_q[32*6 +: 16]),
    .dst_i(op_q[32*7 +: 16]),
    .shift_i(op_q[32*8 +: 6]),
    .eps_i(op_q[32*9 +: 32]),
    .done_o(norm_done), .rows_done_o(norm_rows),
    .chase_en_i, .chase_rows_i,
    .param_we_i, .param_addr_i, .param_data_i,
    .xmem_req_o, .xmem_gnt_i, .xmem_addr_o, .xmem_data_i,
    .amem_valid_o(norm_valid), .amem_ready_i, .amem_addr_o(norm_waddr), .amem_data_o(norm_wdata)
  );

  m3_upsample #(.W(W)) u_upsample (
    .clk_i, .rst_ni,
    .start_i(upsample_start_q),
    .lines_i(op_q[32*3 +: 16]),
    .words_i(op_q[32*3 + 16 +: 8]),
    .width_i(op_q[32*4 +: 16]),
    .height_i(op_q[32*4 + 16 +: 16]),
    .src_i(op_q[32*6 +: 16]),
    .dst_i(op_q[32*7 +: 16]),
    .src_first_i(op_q[32*8 +: 16]),
    .dst_first_i(op_q[32*8 + 16 +: 16]),
    .done_o(upsample_done), .lines_done_o(upsample_lines),
    .amem_req_o, .amem_gnt_i, .amem_raddr_o, .amem_rdata_i,
    .amem_valid_o(upsample_valid), .amem_ready_i,
    .amem_waddr_o(upsample_waddr), .amem_wdata_o(upsample_wdata)
  );

  assign amem_valid_o = norm_valid | upsample_valid;  // only the unit that runs has words
  assign amem_waddr_o = is_norm_q ? norm_waddr : upsample_waddr;
  assign amem_wdata_o = is_norm_q ? norm_wdata : upsample_wdata;

  logic unused_op;
  assign unused_op = ^op_q;

`ifdef M3_ASSERT
  KnownOp:  assert property (@(posedge clk_i) disable iff (!rst_ni) op_valid_i & op_ready_o |->
                             (op_i[7:0] == m3_pkg::OpNorm) | (op_i[7:0] == m3_pkg::OpUpsample));
  OneWriter: assert property (@(posedge clk_i) disable iff (!rst_ni) ~(norm_valid & upsample_valid));
`endif
endmodule
