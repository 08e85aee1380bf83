/// Norm of rows of xmem into amem (docs/accelerator.md §3, Norm), exact integers throughout. A row is
/// read twice, one word a cycle: for its sums, and, a fixed latency later, when 1/std is known, for
/// y. Up to `Flight` rows are between the two, so that a row costs 2 * words cycles of the read port.
module m3_norm #(
  parameter int unsigned W = 32,          // channels of a word, a multiple of 8
  parameter int unsigned NormWords = 64,  // words of W channels' parameters: the longest row
  localparam int unsigned WordW = $clog2(NormWords),
  localparam int unsigned BeatW = $clog2(NormWords * W / 8)
) (
  input  logic              clk_i,
  input  logic              rst_ni,
  // the op: a pulse; its fields stay as they are until done_o
  input  logic              start_i,
  input  logic [15:0]       rows_i,         // >= 1
  input  logic [WordW:0]    words_i,        // of a row, 1 … NormWords
  input  logic [12:0]       channels_i,     // D
  input  logic [WordW-1:0]  param_i,        // parameters of the row's first word
  input  logic [15:0]       src_i,
  input  logic [15:0]       src_stride_i,
  input  logic [15:0]       dst_i,
  input  logic [15:0]       dst_stride_i,
  input  logic [5:0]        shift_i,
  input  logic [31:0]       eps_i,          // >= 1
  output logic              done_o,         // pulse, after the last write
  output logic [15:0]       rows_done_o,    // rows written
  input  logic              chase_en_i,     // row r waits for chase_rows_i > r
  input  logic [15:0]       chase_rows_i,
  // parameters from DDR, eight channels a beat
  input  logic              param_we_i,
  input  logic [BeatW-1:0]  param_addr_i,
  input  logic [511:0]      param_data_i,
  // xmem, read: data in the cycle after gnt
  output logic              xmem_req_o,
  input  logic              xmem_gnt_i,
  output logic [15:0]       xmem_addr_o,
  input  logic [16*W-1:0]   xmem_data_i,
  // amem, write
  output logic              amem_valid_o,
  input  logic              amem_ready_i,
  output logic [15:0]       amem_addr_o,
  output logic [8*W-1:0]    amem_data_o
);
  localparam int unsigned Flight = 8;    // rows between their first read and their last
  localparam int unsigned Room = 16;     // words of y between their read and their write
  localparam int unsigned Quads = W / 4;
  localparam int unsigned Groups = W / 8;
  localparam int unsigned FlightW = $clog2(Flight + 1);
  localparam int unsigned RoomW = $clog2(Room + 1);

  // ---- reads: y first, so that rows leave before others enter
  logic [WordW-1:0]   last_word;
  logic               running_q;
  logic [15:0]        sums_row_q, sums_base_q, y_base_q;
  logic [WordW-1:0]   sums_word_q, y_word_q;
  logic [FlightW-1:0] flight_q;
  logic [RoomW-1:0]   room_q;
  logic               scale_valid, y_open, sums_open, y_read, sums_read, y_leaves, sums_enters;
  logic               take;             // a word of y is written

  assign last_word = WordW'(words_i - 1'b1);
  assign y_open    = running_q & scale_valid & (room_q != RoomW'(Room));
  assign sums_open = running_q & (sums_row_q != rows_i)
                     & ((sums_word_q != '0) | ((flight_q != FlightW'(Flight))
                                               & (~chase_en_i | (chase_rows_i > sums_row_q))));
  assign xmem_req_o  = y_open | sums_open;
  assign xmem_addr_o = y_open ? y_base_q + 16'(y_word_q) : sums_base_q + 16'(sums_word_q);
  assign y_read      = y_open & xmem_gnt_i;
  assign sums_read   = ~y_open & sums_open & xmem_gnt_i;
  assign y_leaves    = y_read & (y_word_q == last_word);
  assign sums_enters = sums_read & (sums_word_q == '0);

  always_ff @(posedge clk_i or negedge rst_ni) begin
    if (!rst_ni) begin
      running_q   <= 1'b0;
      sums_row_q  <= '0;
      sums_word_q <= '0;
      y_word_q    <= '0;
      flight_q    <= '0;
      room_q      <= '0;
    end else begin
      if (start_i) running_q <= 1'b1;
      else if (done_o) running_q <= 1'b0;
      if (start_i) sums_row_q <= '0;
      else if (sums_read & (sums_word_q == last_word)) sums_row_q <= sums_row_q + 1'b1;
      if (sums_read) sums_word_q <= (sums_word_q == last_word) ? '0 : sums_word_q + 1'b1;
      if (y_read)    y_word_q    <= (y_word_q == last_word) ? '0 : y_word_q + 1'b1;
      flight_q <= flight_q + FlightW'(sums_enters) - FlightW'(y_leaves);
      room_q   <= room_q + RoomW'(y_read) - RoomW'(take);
    end
  end
  always_ff @(posedge clk_i) begin
    if (start_i) begin
      sums_base_q <= src_i;
      y_base_q    <= src_i;
    end else begin
      if (sums_read & (sums_word_q == last_word)) sums_base_q <= sums_base_q + src_stride_i;
      if (y_leaves) y_base_q <= y_base_q + src_stride_i;
    end
  end

  // ---- what goes down the lanes' pipeline with a word
  logic [12:1]      y_q;                 // y_q[k]: stage k holds a word of y
  logic [5:1]       sums_q;
  logic [5:1]       first_q, last_q;     // of a row, for its sums
  logic [27:0]      row_sum, s1_q [3:1]; // the row's scalars, and copies down to where they are used
  logic [15:0]      row_r, r_q [4:1];
  logic [4:0]       row_m;
  logic [5:0]       down_q [6:1];        // 33 - m
  logic [WordW-1:0] param_q [7:1];

  always_ff @(posedge clk_i or negedge rst_ni) begin
    if (!rst_ni) begin
      y_q    <= '0;
      sums_q <= '0;
    end else begin
      y_q    <= {y_q[11:1], y_read};
      sums_q <= {sums_q[4:1], sums_read};
    end
  end
  always_ff @(posedge clk_i) begin
    first_q <= {first_q[4:1], sums_word_q == '0};
    last_q  <= {last_q[4:1], sums_word_q == last_word};
    if (y_read) begin
      s1_q[1]    <= row_sum;
      r_q[1]     <= row_r;
      down_q[1]  <= 6'd33 - 6'(row_m);
      param_q[1] <= param_i + y_word_q;
    end
    for (int unsigned k = 2; k <= 3; k++) if (y_q[k-1]) s1_q[k]    <= s1_q[k-1];
    for (int unsigned k = 2; k <= 4; k++) if (y_q[k-1]) r_q[k]     <= r_q[k-1];
    for (int unsigned k = 2; k <= 6; k++) if (y_q[k-1]) down_q[k]  <= down_q[k-1];
    for (int unsigned k = 2; k <= 7; k++) if (y_q[k-1]) param_q[k] <= param_q[k-1];
  end

  logic [16*W-1:0] x;                    // of a word that is read for its sums
  logic [32*W-1:0] square;
  logic [8*W-1:0]  y_word;
  for (genvar n = 0; n < W; n++) begin : g_lane
    logic param_we;
    if (Groups == 1) begin : g_all
      assign param_we = param_we_i;
    end else begin : g_group
      assign param_we = param_we_i & (param_addr_i[$clog2(Groups)-1:0] == ($clog2(Groups))'(n / 8));
    end
    m3_norm_lane #(.NormWords(NormWords)) u_lane (
      .clk_i,
      .param_we_i(param_we),
      .param_waddr_i(param_addr_i[BeatW-1 -: WordW]),
      .param_wdata_i(param_data_i[64*(n % 8) +: 48]),
      .valid_i({y_q[11:3], y_q[2:1] | sums_q[2:1]}),
      .square_i(sums_q[1]),
      .x_i(xmem_data_i[16*n +: 16]),
      .channels_i,
      .sum3_i(s1_q[3]),
      .r4_i(r_q[4]),
      .shift6_i(down_q[6]),
      .param_raddr7_i(param_q[7]),
      .shift10_i(shift_i),
      .x_o(x[16*n +: 16]),
      .square_o(square[32*n +: 32]),
      .y_o(y_word[8*n +: 8])
    );
  end

  logic unused_param;
  assign unused_param = ^param_data_i;   // of each 64 bits, 48 count

  // ---- sums of a row: by fours (stage 3), of the word (4), of the row (5)
  logic signed [17:0] x4_q [Quads];
  logic [33:0]        square4_q [Quads];
  logic [16*W-1:0]    x_q2;              // x, level with its square
  logic signed [27:0] word_sum, word_sum_q, s1_acc_q;
  logic [41:0]        word_squares, word_squares_q, s2_acc_q;

  always_comb begin
    word_sum     = '0;
    word_squares = '0;
    for (int unsigned i = 0; i < Quads; i++) begin
      word_sum     += 28'(x4_q[i]);
      word_squares += 42'(square4_q[i]);
    end
  end
  always_ff @(posedge clk_i) begin
    if (sums_q[2]) x_q2 <= x;
    if (sums_q[3]) begin
      for (int unsigned i = 0; i < Quads; i++) begin
        x4_q[i] <= (18'($signed(x_q2[64*i +: 16])) + 18'($signed(x_q2[64*i+16 +: 16])))
                   + (18'($signed(x_q2[64*i+32 +: 16])) + 18'($signed(x_q2[64*i+48 +: 16])));
        square4_q[i] <= (34'(square[128*i +: 32]) + 34'(square[128*i+32 +: 32]))
                        + (34'(square[128*i+64 +: 32]) + 34'(square[128*i+96 +: 32]));
      end
    end
    if (sums_q[4]) begin
      word_sum_q     <= word_sum;
      word_squares_q <= word_squares;
    end
    if (sums_q[5]) begin
      s1_acc_q <= (first_q[5] ? '0 : s1_acc_q) + word_sum_q;
      s2_acc_q <= (first_q[5] ? '0 : s2_acc_q) + word_squares_q;
    end
  end

  // ---- a row's V (stages 1 … 3), brought to [2^54, 2^56) (4, 5), its root, 2^43 / root
  logic [5:1]         row_q;             // row_q[k]: stage k holds a row
  logic [54:0]        ds2_q, ds2_q2;     // D * s2
  logic [53:0]        s1s1_q, s1s1_q2;   // s1 * s1
  logic [55:0]        v_q, coarse_d, coarse_q, fine_d, fine_q;
  logic [4:3]         coarse_m_d, coarse_m_q;
  logic [4:0]         fine_m_d, fine_m_q;
  logic               root_valid, scale_push;
  logic [27:0]        root;
  logic [4:0]         root_m, scale_m;
  logic [15:0]        scale_r;

  always_comb begin
    coarse_d   = v_q;
    coarse_m_d = '0;
    if (coarse_d[55:24] == '0) begin coarse_d = coarse_d << 32; coarse_m_d[4] = 1'b1; end
    if (coarse_d[55:40] == '0) begin coarse_d = coarse_d << 16; coarse_m_d[3] = 1'b1; end
    fine_d   = coarse_q;
    fine_m_d = {coarse_m_q, 3'd0};
    if (fine_d[55:48] == '0) begin fine_d = fine_d << 8; fine_m_d[2] = 1'b1; end
    if (fine_d[55:52] == '0) begin fine_d = fine_d << 4; fine_m_d[1] = 1'b1; end
    if (fine_d[55:54] == '0) begin fine_d = fine_d << 2; fine_m_d[0] = 1'b1; end
  end

  always_ff @(posedge clk_i or negedge rst_ni) begin
    if (!rst_ni) row_q <= '0;
    else row_q <= {row_q[4:1], sums_q[5] & last_q[5]};
  end
  always_ff @(posedge clk_i) begin
    if (row_q[1]) begin
      ds2_q  <= 55'(s2_acc_q) * 55'(channels_i);
      s1s1_q <= 54'(s1_acc_q) * 54'(s1_acc_q);
    end
    if (row_q[2]) begin
      ds2_q2  <= ds2_q;
      s1s1_q2 <= s1s1_q;
    end
    if (row_q[3]) v_q <= 56'(ds2_q2) - 56'(s1s1_q2) + 56'(eps_i);
    if (row_q[4]) begin
      coarse_q   <= coarse_d;
      coarse_m_q <= coarse_m_d;
    end
    if (row_q[5]) begin
      fine_q   <= fine_d;
      fine_m_q <= fine_m_d;
    end
  end

  logic root_start_q;
  always_ff @(posedge clk_i or negedge rst_ni) begin
    if (!rst_ni) root_start_q <= 1'b0;
    else root_start_q <= row_q[5];
  end
  m3_isqrt #(.TagWidth(5)) u_isqrt (
    .clk_i, .rst_ni,
    .valid_i(root_start_q), .value_i(fine_q), .tag_i(fine_m_q),
    .valid_o(root_valid), .root_o(root), .tag_o(root_m)
  );
  m3_divide #(.Width(28), .TagWidth(5)) u_divide (
    .clk_i, .rst_ni,
    .valid_i(root_valid), .rem_i(28'h8000000), .divisor_i(root), .tag_i(root_m),
    .valid_o(scale_push), .quotient_o(scale_r), .tag_o(scale_m)
  );

  // ---- rows between sums and y; `flight_q` sees to it that both have space
  logic unused_sum_ready, unused_sum_valid, unused_scale_ready, unused_y_ready;
  logic [FlightW-1:0] unused_sum_count, unused_scale_count;
  logic [RoomW-1:0]   unused_y_count;
  m3_fifo #(.Width(28), .Depth(Flight)) u_sum (
    .clk_i, .rst_ni,
    .valid_i(row_q[1]), .ready_o(unused_sum_ready), .data_i(s1_acc_q),
    .valid_o(unused_sum_valid), .ready_i(y_leaves), .data_o(row_sum), .count_o(unused_sum_count)
  );
  m3_fifo #(.Width(21), .Depth(Flight)) u_scale (
    .clk_i, .rst_ni,
    .valid_i(scale_push), .ready_o(unused_scale_ready), .data_i({scale_m, scale_r}),
    .valid_o(scale_valid), .ready_i(y_leaves), .data_o({row_m, row_r}),
    .count_o(unused_scale_count)
  );

  // ---- writes
  logic [WordW-1:0] write_word_q;
  logic [15:0]      write_base_q;
  logic             row_written;

  m3_fifo #(.Width(8 * W), .Depth(Room)) u_y (
    .clk_i, .rst_ni,
    .valid_i(y_q[12]), .ready_o(unused_y_ready), .data_i(y_word),
    .valid_o(amem_valid_o), .ready_i(amem_ready_i), .data_o(amem_data_o),
    .count_o(unused_y_count)
  );
  assign take        = amem_valid_o & amem_ready_i;
  assign row_written = take & (write_word_q == last_word);
  assign amem_addr_o = write_base_q + 16'(write_word_q);

  always_ff @(posedge clk_i or negedge rst_ni) begin
    if (!rst_ni) begin
      write_word_q <= '0;
      rows_done_o  <= '0;
      done_o       <= 1'b0;
    end else begin
      if (take) write_word_q <= row_written ? '0 : write_word_q + 1'b1;
      if (start_i) rows_done_o <= '0;
      else if (row_written) rows_done_o <= rows_done_o + 1'b1;
      done_o <= row_written & (rows_done_o + 1'b1 == rows_i);
    end
  end
  always_ff @(posedge clk_i) begin
    if (start_i) write_base_q <= dst_i;
    else if (row_written) write_base_q <= write_base_q + dst_stride_i;
  end

`ifdef M3_ASSERT
  SumHasSpace:   assert property (@(posedge clk_i) disable iff (!rst_ni)
                                  row_q[1] |-> unused_sum_ready);
  ScaleHasSpace: assert property (@(posedge clk_i) disable iff (!rst_ni)
                                  scale_push |-> unused_scale_ready & unused_sum_valid);
  WordHasSpace:  assert property (@(posedge clk_i) disable iff (!rst_ni)
                                  y_q[12] |-> unused_y_ready);
  IdleAtStart:   assert property (@(posedge clk_i) disable iff (!rst_ni) start_i |->
                                  ~running_q & (flight_q == '0) & (room_q == '0));
`endif
endmodule
