/// Attention's softmax (docs/accelerator.md §3): int16 scores of rows in, numerators p (0 … 127) and
/// the scale (r, n) of each row out. Rows go in pairs; pair i lives in slot i mod 4 from its first
/// score until its p words have been read. A pair whose scores are complete is worked off one word a
/// cycle, row 0 then row 1, while others are written and read. Never stalls: whoever sends scores of
/// pair i + 4 has read pair i.
module m3_softmax #(
  parameter int unsigned W = 32,         // scores of a word, a multiple of 8
  parameter int unsigned KeyWords = 64,  // the longest row
  localparam int unsigned Slots = 4,
  localparam int unsigned WordW = $clog2(KeyWords),
  localparam int unsigned LaneW = $clog2(W)
) (
  input  logic             clk_i,
  input  logic             rst_ni,
  input  logic             start_i,        // pulse, before an op's first score: no pair yet
  input  logic [15:0]      keys_i,         // 1 … KeyWords · W; stays as it is during the op
  input  logic [14:0]      gain_i,         // G; stays too
  // scores: of pair after pair, block after block, row 0 then row 1
  input  logic             score_valid_i,
  input  logic [16*W-1:0]  score_i,
  output logic [15:0]      pairs_done_o,   // pairs whose p words and scales can be read
  // p words of both rows, in the cycle after p_read_i
  input  logic             p_read_i,
  input  logic [WordW+1:0] p_addr_i,       // {slot, word}
  output logic [8*W-1:0]   p0_o,
  output logic [8*W-1:0]   p1_o,
  // scale of a row, combinational
  input  logic [1:0]       scale_slot_i,
  input  logic             scale_row_i,
  output logic [15:0]      scale_r_o,
  output logic [4:0]       scale_n_o
);
  localparam int unsigned Quads = W / 4;

  (* ram_style = "block" *) logic [16*W-1:0] scores [2 * Slots * KeyWords];
  (* ram_style = "block" *) logic [8*W-1:0]  p_row0 [Slots * KeyWords];
  (* ram_style = "block" *) logic [8*W-1:0]  p_row1 [Slots * KeyWords];

  logic [15:0]      last_key;
  logic [WordW-1:0] last_word;
  logic [W-1:0]     tail;                  // keys of a row's last word
  assign last_key  = keys_i - 16'd1;
  assign last_word = WordW'(last_key >> LaneW);
  always_comb begin
    for (int unsigned n = 0; n < W; n++) tail[n] = LaneW'(n) <= last_key[LaneW-1:0];
  end

  // ---- scores in: the largest of a word by fours (stage 1), of the word (2), of the row (3)
  logic [1:0]         in_slot_q;
  logic               in_row_q;
  logic [WordW-1:0]   in_word_q;
  logic [3:1]         in_q;                // in_q[k]: stage k holds a word
  logic [3:1]         in_first_q, in_last_q, in_rows_q;
  logic [7:0]         in_slots_q;          // slot at stage k: bits 2k+1:2k; 1:0 unused
  logic [16*W-1:0]    in_word;             // scores that count, others lowest
  logic [16*W-1:0]    word_q;
  logic signed [15:0] max4_d [Quads], max4_q [Quads], max_d, max_q, row_max_q [2], row_max_d;
  logic [15:0]        row_max_mem [2 * Slots];
  logic               pair_in;

  function automatic logic signed [15:0] larger(input logic signed [15:0] a,
                                                input logic signed [15:0] b);
    larger = (a > b) ? a : b;
  endfunction

  always_comb begin
    for (int unsigned n = 0; n < W; n++) begin
      in_word[16*n +: 16] = ((in_word_q == last_word) & ~tail[n]) ? 16'h8000 : score_i[16*n +: 16];
    end
    for (int unsigned i = 0; i < Quads; i++) begin
      max4_d[i] = larger(larger(word_q[64*i +: 16], word_q[64*i+16 +: 16]),
                         larger(word_q[64*i+32 +: 16], word_q[64*i+48 +: 16]));
    end
    max_d = max4_q[0];
    for (int unsigned i = 1; i < Quads; i++) max_d = larger(max_d, max4_q[i]);
    row_max_d = in_first_q[3] ? max_q : larger(max_q, row_max_q[in_rows_q[3]]);
  end
  assign pair_in = in_q[3] & in_last_q[3] & in_rows_q[3];

  always_ff @(posedge clk_i or negedge rst_ni) begin
    if (!rst_ni) begin
      in_slot_q <= '0;
      in_row_q  <= 1'b0;
      in_word_q <= '0;
      in_q      <= '0;
    end else begin
      in_q <= {in_q[2:1], score_valid_i};
      if (start_i) begin
        in_slot_q <= '0;
        in_row_q  <= 1'b0;
        in_word_q <= '0;
      end else if (score_valid_i) begin
        in_row_q <= ~in_row_q;
        if (in_row_q) begin
          in_word_q <= (in_word_q == last_word) ? '0 : in_word_q + 1'b1;
          if (in_word_q == last_word) in_slot_q <= in_slot_q + 1'b1;
        end
      end
    end
  end
  always_ff @(posedge clk_i) begin
    if (score_valid_i) scores[{in_slot_q, in_row_q, in_word_q}] <= score_i;
    in_first_q <= {in_first_q[2:1], in_word_q == '0};
    in_last_q  <= {in_last_q[2:1], in_word_q == last_word};
    in_rows_q  <= {in_rows_q[2:1], in_row_q};
    in_slots_q <= {in_slots_q[5:2], in_slot_q, 2'd0};
    if (score_valid_i) word_q <= in_word;
    for (int unsigned i = 0; i < Quads; i++) if (in_q[1]) max4_q[i] <= max4_d[i];
    if (in_q[2]) max_q <= max_d;
    if (in_q[3]) row_max_q[in_rows_q[3]] <= row_max_d;
    if (in_q[3] & in_last_q[3]) row_max_mem[{in_slots_q[7:6], in_rows_q[3]}] <= row_max_d;
  end

  // ---- work: read a word (stage 0), below the largest (1), p (2), written and added up (3 … 5)
  logic [2:0]       waiting_q;             // pairs complete and not begun
  logic             work_q, work_row_q, work_ends, work_next;
  logic [1:0]       work_slot_q;
  logic [WordW-1:0] work_word_q;
  logic [5:1]       stage_q;
  logic [5:1]       first_q, last_q, row_q;
  logic [11:0]      slots_q;               // as in_slots_q
  logic [WordW-1:0] at_q [3:1];
  logic [16*W-1:0]  score_q;
  logic [15:0]      row_max;
  logic [8*W-1:0]   below_d, below_q;
  logic [W-1:0]     none_d, none_q;        // p is 0: too far below, or no key
  logic [7*W-1:0]   p;
  logic [8*W-1:0]   p_q;
  logic [8:0]       sum4_q [Quads];
  logic [11:0]      sum_d, sum_q;
  logic [17:0]      row_sum_q;
  logic             sum_valid_q;
  logic [2:0]       sum_tag_q;             // {slot, row}

  assign work_ends = work_q & work_row_q & (work_word_q == last_word);
  assign work_next = (~work_q | work_ends) & (waiting_q != '0);
  always_ff @(posedge clk_i or negedge rst_ni) begin
    if (!rst_ni) begin
      waiting_q   <= '0;
      work_q      <= 1'b0;
      work_row_q  <= 1'b0;
      work_slot_q <= '0;
      work_word_q <= '0;
      stage_q     <= '0;
      sum_valid_q <= 1'b0;
    end else begin
      stage_q     <= {stage_q[4:1], work_q};
      sum_valid_q <= stage_q[5] & last_q[5];
      waiting_q   <= waiting_q + 3'(pair_in) - 3'(work_next);
      if (~work_q | work_ends) work_q <= work_next;
      if (start_i) work_slot_q <= '0;
      else if (work_ends) work_slot_q <= work_slot_q + 1'b1;
      if (work_q) begin
        work_word_q <= (work_word_q == last_word) ? '0 : work_word_q + 1'b1;
        if (work_word_q == last_word) work_row_q <= ~work_row_q;
      end
    end
  end

  assign row_max = row_max_mem[{slots_q[3:2], row_q[1]}];
  for (genvar n = 0; n < W; n++) begin : g_lane
    logic signed [16:0] below;
    assign below = 17'($signed(row_max)) - 17'($signed(score_q[16*n +: 16]));
    assign below_d[8*n +: 8] = below[7:0];
    assign none_d[n] = (below[16:8] != '0) | (last_q[1] & ~tail[n]);
    m3_exp u_exp (.below_i(below_q[8*n +: 8]), .p_o(p[7*n +: 7]));
  end
  always_comb begin
    sum_d = '0;
    for (int unsigned i = 0; i < Quads; i++) sum_d += 12'(sum4_q[i]);
  end

  always_ff @(posedge clk_i) begin
    if (work_q) score_q <= scores[{work_slot_q, work_row_q, work_word_q}];
    first_q <= {first_q[4:1], work_word_q == '0};
    last_q  <= {last_q[4:1], work_word_q == last_word};
    row_q   <= {row_q[4:1], work_row_q};
    slots_q <= {slots_q[9:2], work_slot_q, 2'd0};
    at_q[1] <= work_word_q;
    at_q[2] <= at_q[1];
    at_q[3] <= at_q[2];
    if (stage_q[1]) begin
      below_q <= below_d;
      none_q  <= none_d;
    end
    if (stage_q[2]) begin
      for (int unsigned n = 0; n < W; n++) p_q[8*n +: 8] <= none_q[n] ? 8'd0 : {1'b0, p[7*n +: 7]};
    end
    if (stage_q[3]) begin
      for (int unsigned i = 0; i < Quads; i++) begin
        sum4_q[i] <= (9'(p_q[32*i +: 8]) + 9'(p_q[32*i+8 +: 8]))
                     + (9'(p_q[32*i+16 +: 8]) + 9'(p_q[32*i+24 +: 8]));
      end
    end
    if (stage_q[4]) sum_q <= sum_d;
    if (stage_q[5]) begin
      row_sum_q <= (first_q[5] ? '0 : row_sum_q) + 18'(sum_q);
      sum_tag_q <= {slots_q[11:10], row_q[5]};
    end
  end

  always_ff @(posedge clk_i) begin
    if (stage_q[3] & ~row_q[3]) p_row0[{slots_q[7:6], at_q[3]}] <= p_q;
    if (p_read_i) p0_o <= p_row0[p_addr_i];
  end
  always_ff @(posedge clk_i) begin
    if (stage_q[3] & row_q[3]) p_row1[{slots_q[7:6], at_q[3]}] <= p_q;
    if (p_read_i) p1_o <= p_row1[p_addr_i];
  end

  // ---- scales
  logic [20:0] scale_mem [2 * Slots];
  logic        scale_valid;
  logic [2:0]  scale_tag;
  logic [15:0] scale_r;
  logic [4:0]  scale_n;

  m3_recip #(.TagWidth(3)) u_recip (
    .clk_i, .rst_ni,
    .valid_i(sum_valid_q), .sum_i({8'd0, row_sum_q}), .gain_i, .tag_i(sum_tag_q),
    .valid_o(scale_valid), .r_o(scale_r), .n_o(scale_n), .tag_o(scale_tag)
  );
  always_ff @(posedge clk_i) begin
    if (scale_valid) scale_mem[scale_tag] <= {scale_n, scale_r};
  end
  assign {scale_n_o, scale_r_o} = scale_mem[{scale_slot_i, scale_row_i}];

  always_ff @(posedge clk_i or negedge rst_ni) begin
    if (!rst_ni) pairs_done_o <= '0;
    else if (start_i) pairs_done_o <= '0;
    else if (scale_valid & scale_tag[0]) pairs_done_o <= pairs_done_o + 1'b1;
  end

  logic unused_slots;
  assign unused_slots = ^{in_slots_q[1:0], slots_q[1:0]};

`ifdef M3_ASSERT
  SlotsSuffice: assert property (@(posedge clk_i) disable iff (!rst_ni) waiting_q <= 3'd4);
  IdleAtStart:  assert property (@(posedge clk_i) disable iff (!rst_ni) start_i |->
                                 ~work_q & (waiting_q == '0) & (in_q == '0) & (stage_q == '0));
`endif
endmodule
