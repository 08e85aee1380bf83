/// LOAD engine: TILE, COPY_IN and EXPERTS. Requests run ahead of data: a transfer's bursts are asked
/// for while those before it still arrive. Beats come in the order of the requests and are spread
/// over the lanes' memories, or cut into words of the other memories.
module m3_load #(
  parameter int unsigned W = 32,
  parameter int unsigned WeightWords = 512,
  parameter int unsigned ParamWords = 128,
  parameter int unsigned ActAddrW = 15,
  parameter int unsigned ResAddrW = 14,
  parameter int unsigned Entries = 8192,
  parameter int unsigned Experts = 1024,
  parameter int unsigned K = 8,
  localparam int unsigned WAddrW = $clog2(WeightWords),
  localparam int unsigned PAddrW = $clog2(ParamWords),
  localparam int unsigned EntryW = $clog2(Entries),
  localparam int unsigned ExpertW = $clog2(Experts)
) (
  input  logic               clk_i,
  input  logic               rst_ni,
  input  logic               op_valid_i,
  output logic               op_ready_o,
  input  logic [511:0]       op_i,
  output logic               done_o,
  // requests and beats, in order
  output logic               rq_valid_o,
  input  logic               rq_ready_i,
  output logic [31:0]        rq_addr_o,   // in beats
  output logic [7:0]         rq_len_o,
  input  logic               r_valid_i,
  output logic               r_ready_o,
  input  logic [511:0]       r_data_i,
  // lanes
  input  logic               hold_i,      // no weight beat in the next cycle
  output logic               w_valid_o,
  output logic               p_valid_o,
  output logic [WAddrW-1:0]  w_addr_o,
  output logic [PAddrW-1:0]  p_addr_o,
  output logic [4:0]         part_o,
  output logic [511:0]       data_o,
  output logic               t_valid_o,   // activation tables
  output logic               g_valid_o,   // gate table
  output logic [8:0]         t_addr_o,
  output logic [15:0]        t_data_o,
  output logic               n_valid_o,   // norm parameters
  output logic [15:0]        n_addr_o,    // in beats
  // memories
  output logic               a_valid_o,
  input  logic               a_ready_i,
  output logic [ActAddrW-1:0] a_addr_o,
  output logic [8*W-1:0]     a_data_o,
  output logic               x_valid_o,
  input  logic               x_ready_i,
  output logic [ResAddrW-1:0] x_addr_o,
  output logic [16*W-1:0]    x_data_o,
  // lists
  input  logic [EntryW:0]    entries_i,
  input  logic [ExpertW:0]   nonempty_i,
  output logic               find_start_o,
  output logic [ExpertW-1:0] find_from_o,
  input  logic               find_valid_i,
  input  logic [ExpertW-1:0] find_expert_i,
  input  logic [EntryW-1:0]  find_head_i,
  input  logic [13:0]        find_rows_i,
  output logic [EntryW-1:0]  entry_o,
  input  logic [ExpertW-1:0] entry_expert_i,
  input  logic [12:0]        entry_token_i,
  // work items for the array, whose tile has come
  output logic               item_valid_o,
  input  logic               item_ready_i,
  output logic               item_end_o,
  output logic               item_half_o,
  output logic [WAddrW-1:0]  item_w_base_o,
  output logic [PAddrW-1:0]  item_p_base_o,
  output logic [7:0]         item_slot_o,
  output logic [13:0]        item_rows_o,
  output logic               item_linked_o,
  output logic [EntryW-1:0]  item_first_o,
  output logic [EntryW-1:0]  item_second_o,
  input  logic               return_i,
  input  logic [7:0]         return_slot_i,
  // counters
  output logic               weight_beat_o,
  output logic               expert_beat_o,
  output logic               other_beat_o,
  output logic               tile_o,       // an expert's tile was asked for
  output logic               hit_o,
  output logic               wait_slot_o
);
  localparam int unsigned PartsP = W / 8;        // beats of a block's parameters
  localparam int unsigned PartsW = W * W / 64;   // beats of a word of all lanes
  localparam int unsigned PiecesA = 64 / W;      // words of amem in a beat
  localparam int unsigned PiecesX = 32 / W;      // words of xmem in a beat

  typedef enum logic [2:0] { ToTile, ToAct, ToRes, ToTable0, ToTable1, ToGate, ToNorm, ToExpert } kind_e;

  // ---- the op
  logic [511:0] op_q;
  logic         busy_q, experts_op, one_sent_q;
  logic [31:0]  d3, d4, d5, d6, d7, d8, d9;
  assign d3 = op_q[32*3 +: 32];
  assign d4 = op_q[32*4 +: 32];
  assign d5 = op_q[32*5 +: 32];
  assign d6 = op_q[32*6 +: 32];
  assign d7 = op_q[32*7 +: 32];
  assign d8 = op_q[32*8 +: 32];
  assign d9 = op_q[32*9 +: 32];
  assign experts_op = op_q[7:0] == m3_pkg::OpLoadExperts;
  assign op_ready_o = ~busy_q;

  // ---- walk over the experts
  logic               walk_busy, tile_valid, tile_ready, tile_half;
  logic [ExpertW-1:0] tile_expert;
  logic [7:0]         tile_slot, item_slot;
  logic               item_valid, item_ready, item_end, item_load, item_half, item_linked;
  logic [13:0]        item_rows;
  logic [EntryW-1:0]  item_first, item_second;
  logic               op_go, walk_start_q;

  m3_walk #(.Entries(Entries), .Experts(Experts), .K(K)) u_walk (
    .clk_i, .rst_ni,
    .start_i(walk_start_q), .mode_i(op_q[9:8]), .slots_i(op_q[32*10 +: 8]),
    .busy_o(walk_busy), .wait_slot_o, .hit_o,
    .entries_i, .nonempty_i,
    .find_start_o, .find_from_o, .find_valid_i, .find_expert_i, .find_head_i, .find_rows_i,
    .entry_o, .entry_expert_i, .entry_token_i,
    .tile_valid_o(tile_valid), .tile_ready_i(tile_ready), .tile_expert_o(tile_expert),
    .tile_half_o(tile_half), .tile_slot_o(tile_slot),
    .item_valid_o(item_valid), .item_ready_i(item_ready), .item_end_o(item_end),
    .item_load_o(item_load), .item_half_o(item_half), .item_slot_o(item_slot),
    .item_rows_o(item_rows), .item_linked_o(item_linked), .item_first_o(item_first),
    .item_second_o(item_second),
    .return_i, .return_slot_i
  );

  // items wait here for their tile
  localparam int unsigned ItemW = 2*EntryW + 14 + 8 + 4;
  logic       fifo_valid, fifo_pop, fifo_load;
  logic [3:0] landed_q, unused_items;  // tiles that have come and whose item has not left
  m3_fifo #(.Width(ItemW), .Depth(8)) u_items (
    .clk_i, .rst_ni,
    .valid_i(item_valid), .ready_o(item_ready),
    .data_i({item_end, item_load, item_half, item_linked, item_slot, item_rows, item_first,
             item_second}),
    .valid_o(fifo_valid), .ready_i(fifo_pop),
    .data_o({item_end_o, fifo_load, item_half_o, item_linked_o, item_slot_o, item_rows_o,
             item_first_o, item_second_o}),
    .count_o(unused_items)
  );
  assign item_valid_o  = fifo_valid & (~fifo_load | landed_q != '0);
  assign fifo_pop      = item_valid_o & item_ready_i;
  // items outlive their op: the next LOAD op may run while the array still works on them
  logic [31:0] slots_w_q, slots_p_q;
  always_ff @(posedge clk_i) begin
    if (walk_start_q) begin
      slots_w_q <= d8;
      slots_p_q <= d9;
    end
  end
  assign item_w_base_o = WAddrW'(slots_w_q[15:0] + 16'(item_slot_o) * slots_w_q[31:16]);
  assign item_p_base_o = PAddrW'(slots_p_q[15:0] + 16'(item_slot_o) * slots_p_q[31:16]);

  // ---- transfers: a request and, in a queue, what its beats are
  localparam int unsigned TransferW = 3 + 16 + 16 + 16 + 16;
  logic                 tr_valid, tr_ready, burst_ready, desc_ready;
  logic [2:0]           tr_kind;
  logic [31:0]          tr_addr;
  logic [23:0]          tr_beats;
  logic [15:0]          tr_dst, tr_p_dst, tr_words, tr_blocks;
  logic [23:0]          copy_beats;

  always_comb begin
    unique case (op_q[10:8])
      3'd0:    copy_beats = (24'(d5) + 24'(PiecesA - 1)) / 24'(PiecesA);
      3'd1:    copy_beats = (24'(d5) + 24'(PiecesX - 1)) / 24'(PiecesX);
      3'd4:    copy_beats = 24'd8;
      3'd5:    copy_beats = 24'(d5) * 24'(PartsP);
      default: copy_beats = 24'd4;
    endcase
    tr_kind   = ToExpert;
    tr_addr   = d3 + 32'(tile_expert) * d4 + (tile_half ? d5 : 32'd0);
    tr_words  = tile_half ? d6[31:16] : d6[15:0];
    tr_blocks = tile_half ? d7[31:16] : d7[15:0];
    tr_dst    = d8[15:0] + 16'(tile_slot) * d8[31:16];
    tr_p_dst  = d9[15:0] + 16'(tile_slot) * d9[31:16];
    if (!experts_op) begin
      tr_kind   = ToTile;
      tr_addr   = d3;
      tr_words  = d4[15:0];
      tr_blocks = d4[31:16];
      tr_dst    = d5[15:0];
      tr_p_dst  = d5[31:16];
      if (op_q[7:0] == m3_pkg::OpCopyIn) begin
        tr_kind  = op_q[10:8] + 3'd1;
        tr_words = d5[15:0];
        tr_dst   = d4[15:0];
      end
    end
    tr_beats = (op_q[7:0] == m3_pkg::OpCopyIn)
               ? copy_beats : 24'(tr_blocks) * 24'(PartsP) + 24'(tr_words) * 24'(PartsW);
  end
  assign tr_valid   = experts_op ? tile_valid : (busy_q & ~one_sent_q);
  assign tr_ready   = burst_ready & desc_ready;
  assign tile_ready = experts_op & busy_q & tr_ready;
  assign tile_o     = tile_valid & tile_ready;

  m3_burst u_burst (
    .clk_i, .rst_ni,
    .valid_i(tr_valid & desc_ready), .ready_o(burst_ready), .addr_i(tr_addr), .beats_i(tr_beats),
    .valid_o(rq_valid_o), .ready_i(rq_ready_i), .addr_o(rq_addr_o), .len_o(rq_len_o)
  );

  logic                 desc_valid, desc_end;
  logic [2:0]           unused_descs;
  logic [2:0]           kind;
  logic [15:0]          dst, p_dst, words, blocks;
  m3_fifo #(.Width(TransferW), .Depth(4)) u_desc (
    .clk_i, .rst_ni,
    .valid_i(tr_valid & burst_ready), .ready_o(desc_ready),
    .data_i({tr_kind, tr_dst, tr_p_dst, tr_words, tr_blocks}),
    .valid_o(desc_valid), .ready_i(desc_end), .data_o({kind, dst, p_dst, words, blocks}),
    .count_o(unused_descs)
  );

  // ---- beats into the lanes
  logic        to_lanes, to_norm, norm_end, beat, params_q, in_params, part_end, tile_end;
  logic [4:0]  part_q;
  logic [15:0] at_q, at_next;   // word or block within the tile; words done of a copy

  assign to_norm   = kind == ToNorm;
  assign to_lanes  = (kind == ToTile) || (kind == ToExpert);
  assign beat      = r_valid_i & r_ready_o;
  assign in_params = ~params_q;
  assign part_end  = part_q == (in_params ? 5'(PartsP - 1) : 5'(PartsW - 1));
  assign at_next   = at_q + 16'd1;
  assign norm_end  = to_norm & beat & (at_next == words * 16'(PartsP));
  assign tile_end  = to_lanes & beat & part_end & ~in_params & (at_next == words);

  // ---- beats cut into words
  logic [511:0] cut_q;
  logic         cut_valid_q, cut_go, cut_end, copy_end;
  logic [6:0]   cut_left_q;   // pieces of the beat that are left
  logic [6:0]   pieces;
  always_comb begin
    unique case (kind)
      ToAct:              pieces = 7'(PiecesA);
      ToRes:              pieces = 7'(PiecesX);
      ToGate:             pieces = 7'd32;
      default:            pieces = 7'd64;
    endcase
  end
  logic [15:0] copy_words;
  always_comb begin
    unique case (kind)
      ToTable0, ToTable1, ToGate: copy_words = 16'd256;
      default:                    copy_words = words;
    endcase
  end
  assign a_valid_o = cut_valid_q & (kind == ToAct);
  assign x_valid_o = cut_valid_q & (kind == ToRes);
  assign t_valid_o = cut_valid_q & (kind == ToTable0 || kind == ToTable1);
  assign g_valid_o = cut_valid_q & (kind == ToGate);
  assign a_addr_o  = ActAddrW'(dst + at_q);
  assign x_addr_o  = ResAddrW'(dst + at_q);
  assign t_addr_o  = {kind == ToTable1, at_q[7:0]};
  assign a_data_o  = cut_q[8*W-1:0];
  assign x_data_o  = cut_q[16*W-1:0];
  assign t_data_o  = cut_q[15:0];
  assign cut_go    = cut_valid_q & ((kind == ToAct) ? a_ready_i : (kind != ToRes) | x_ready_i);
  assign copy_end  = cut_go & (at_next == copy_words);
  assign cut_end   = cut_go & ((cut_left_q == 7'd1) | copy_end);
  assign desc_end  = tile_end | norm_end | copy_end;
  assign r_ready_o = desc_valid & (to_lanes ? ~hold_i : to_norm | (~cut_valid_q | (cut_end & ~copy_end)));

  assign weight_beat_o = beat & (kind == ToTile);
  assign expert_beat_o = beat & (kind == ToExpert);
  assign other_beat_o  = beat & ~to_lanes;

  logic expert_end_q;
  always_ff @(posedge clk_i or negedge rst_ni) begin
    if (!rst_ni) begin
      part_q       <= '0;
      at_q         <= '0;
      params_q     <= 1'b0;
      w_valid_o    <= 1'b0;
      p_valid_o    <= 1'b0;
      n_valid_o    <= 1'b0;
      cut_valid_q  <= 1'b0;
      landed_q     <= '0;
      expert_end_q <= 1'b0;
    end else begin
      w_valid_o    <= to_lanes & beat & ~in_params;
      p_valid_o    <= to_lanes & beat & in_params;
      n_valid_o    <= beat & to_norm;
      expert_end_q <= tile_end & (kind == ToExpert);
      landed_q     <= landed_q + 4'(expert_end_q) - {3'd0, fifo_pop & fifo_load};
      if (to_lanes) begin
        if (beat) begin
          part_q <= part_end ? '0 : part_q + 5'd1;
          if (part_end) begin
            at_q <= at_next;
            if (in_params && at_next == blocks) begin
              params_q <= 1'b1;
              at_q     <= '0;
            end
            if (tile_end) begin
              params_q <= 1'b0;
              at_q     <= '0;
            end
          end
        end
      end else if (to_norm) begin
        if (beat) at_q <= norm_end ? '0 : at_next;
      end else begin
        if (cut_go) at_q <= copy_end ? '0 : at_next;
        if (beat) cut_valid_q <= 1'b1;
        else if (cut_end) cut_valid_q <= 1'b0;
      end
    end
  end
  always_ff @(posedge clk_i) begin
    if (beat) data_o <= r_data_i;
    w_addr_o <= WAddrW'(dst + at_q);
    p_addr_o <= PAddrW'(p_dst + at_q);
    n_addr_o <= dst * 16'(PartsP) + at_q;
    part_o   <= part_q;
    if (beat && !to_lanes && !to_norm) begin
      cut_q      <= r_data_i;
      cut_left_q <= pieces;
    end else if (cut_go) begin
      unique case (kind)
        ToAct:   cut_q <= cut_q >> (8*W);
        ToRes:   cut_q <= cut_q >> (16*W);
        ToGate:  cut_q <= cut_q >> 16;
        default: cut_q <= cut_q >> 8;
      endcase
      cut_left_q <= cut_left_q - 7'd1;
    end
  end

  // ---- life of the op: done when its last word has been written
  assign op_go = op_valid_i & op_ready_o;
  logic ended;
  assign ended = experts_op ? ~walk_start_q & ~walk_busy & ~desc_valid & burst_ready & one_sent_q
                            : one_sent_q & ~desc_valid;
  always_ff @(posedge clk_i or negedge rst_ni) begin
    if (!rst_ni) begin
      busy_q       <= 1'b0;
      one_sent_q   <= 1'b0;
      walk_start_q <= 1'b0;
      done_o       <= 1'b0;
    end else begin
      walk_start_q <= op_go && (op_i[7:0] == m3_pkg::OpLoadExperts);
      done_o       <= busy_q & ended;
      if (op_go) begin
        busy_q     <= 1'b1;
        one_sent_q <= 1'b0;
      end else if (busy_q) begin
        if (experts_op ? walk_start_q : tr_valid & tr_ready) one_sent_q <= 1'b1;
        if (ended) busy_q <= 1'b0;
      end
    end
  end
  always_ff @(posedge clk_i) begin
    if (op_go) op_q <= op_i;
  end
endmodule
