/// The loop over experts (docs/accelerator.md §4, Experts): turns the lists that ROUTE left into
/// loads of tiles and work items for the array, in one of four orders. Runs ahead of the array as far
/// as slots allow.
module m3_walk #(
  parameter int unsigned Entries = 8192,
  parameter int unsigned Experts = 1024,
  parameter int unsigned K = 8,
  parameter int unsigned MaxSlots = 32,  // that the cached order can use
  localparam int unsigned EntryW = $clog2(Entries),
  localparam int unsigned ExpertW = $clog2(Experts)
) (
  input  logic               clk_i,
  input  logic               rst_ni,
  input  logic               start_i,
  input  logic [1:0]         mode_i,       // 0 expert order, 1 token order, 2 cached, 3 pairs of tokens
  input  logic [7:0]         slots_i,
  output logic               busy_o,
  output logic               wait_slot_o,  // a tile is wanted and no slot is free
  output logic               hit_o,        // a tile was found in a slot
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
  // a tile to load
  output logic               tile_valid_o,
  input  logic               tile_ready_i,
  output logic [ExpertW-1:0] tile_expert_o,
  output logic               tile_half_o,
  output logic [7:0]         tile_slot_o,
  // a work item; the last one is `end` alone
  output logic               item_valid_o,
  input  logic               item_ready_i,
  output logic               item_end_o,
  output logic               item_load_o,   // its tile is being loaded
  output logic               item_half_o,
  output logic [7:0]         item_slot_o,
  output logic [13:0]        item_rows_o,
  output logic               item_linked_o,
  output logic [EntryW-1:0]  item_first_o,
  output logic [EntryW-1:0]  item_second_o,
  // the array is done with an item
  input  logic               return_i,
  input  logic [7:0]         return_slot_i
);
  localparam int unsigned RankW = $clog2(K);
  localparam int unsigned SlotW = $clog2(MaxSlots);
  typedef enum logic [3:0] {
    Idle, Next, Find, ReadEntry, TakeEntry, Gather, TakeGathered, Match, Place, Scan, Load, Item, End
  } state_e;
  state_e state_q;

  // the unit of work at hand: one expert with its rows, fc1 then fc2
  logic [ExpertW-1:0] expert_q;
  logic [13:0]        rows_q;
  logic [EntryW-1:0]  first_q, second_q;
  logic               half_q;

  logic [ExpertW:0]   experts_left_q;
  logic [EntryW:0]    entry_q;       // next entry to look at
  logic [7:0]         slot_q, free_q;
  logic               hit_q;

  // pairs of tokens: entries of the even token, then of the odd one
  logic [ExpertW-1:0] pair_expert_q [2*K];
  logic [2*K-1:0]     pair_held_q;   // {odd, even}: not yet made into a unit
  logic [EntryW-1:0]  pair_base_q [2];
  logic [RankW:0]     pair_count_q [2];
  logic [11:0]        pair_q;
  logic               in_pair, odd;
  logic [RankW:0]     at;

  // slots of the cached order
  logic [MaxSlots-1:0] tag_valid_q;
  logic [ExpertW:0]    tag_q [MaxSlots];
  logic [EntryW+1:0]   stamp_q [MaxSlots];
  logic [3:0]          pending_q [MaxSlots];  // items under way
  logic [EntryW+1:0]   now_q, oldest_q;
  logic [SlotW-1:0]    scan_q, victim_q, use_slot;
  logic                item_go, tile_go, cached;

  assign cached  = mode_i == 2'd2;
  assign in_pair = (entry_q < entries_i) && (pair_held_q == '0 || entry_token_i[12:1] == pair_q);
  assign odd     = entry_token_i[0];

  // first unit left of the pair: an entry of the even token, with the odd one's if both chose it
  logic               match_any, match_both;
  logic [RankW:0]     match_at, match_with;
  always_comb begin
    match_any  = 1'b0;
    match_both = 1'b0;
    match_at   = '0;
    match_with = '0;
    for (int unsigned i = 0; i < 2*K; i++) begin
      if (!match_any && pair_held_q[i]) begin
        match_any = 1'b1;
        match_at  = (RankW + 1)'(i);
      end
    end
    for (int unsigned j = K; j < 2*K; j++) begin
      if (!match_both && match_at < (RankW + 1)'(K) && pair_held_q[j]
          && pair_expert_q[j] == pair_expert_q[match_at]) begin
        match_both = 1'b1;
        match_with = (RankW + 1)'(j);
      end
    end
  end

  assign busy_o        = state_q != Idle;
  assign find_from_o   = (experts_left_q == nonempty_i) ? '0 : expert_q + 1'b1;
  assign find_start_o  = (state_q == Next) && (mode_i == 2'd0) && (experts_left_q != '0);
  assign entry_o       = entry_q[EntryW-1:0];
  assign use_slot      = slot_q[SlotW-1:0];

  assign tile_valid_o  = (state_q == Load) && (cached ? pending_q[use_slot] == '0 : free_q != '0);
  assign tile_expert_o = expert_q;
  assign tile_half_o   = half_q;
  assign tile_slot_o   = slot_q;
  assign tile_go       = tile_valid_o & tile_ready_i;
  assign wait_slot_o   = (state_q == Load) & ~tile_valid_o;
  assign hit_o         = item_go & ~item_end_o & hit_q;

  assign item_valid_o  = (state_q == Item) || (state_q == End);
  assign item_end_o    = state_q == End;
  assign item_load_o   = ~hit_q & ~item_end_o;
  assign item_half_o   = half_q;
  assign item_slot_o   = slot_q;
  assign item_rows_o   = rows_q;
  assign item_linked_o = mode_i == 2'd0;
  assign item_first_o  = first_q;
  assign item_second_o = second_q;
  assign item_go       = item_valid_o & item_ready_i;

  always_ff @(posedge clk_i or negedge rst_ni) begin
    if (!rst_ni) begin
      state_q     <= Idle;
      pair_held_q <= '0;
      tag_valid_q <= '0;
      for (int unsigned i = 0; i < MaxSlots; i++) pending_q[i] <= '0;
    end else begin
      unique case (state_q)
        Idle: if (start_i) begin
          state_q     <= Next;
          tag_valid_q <= '0;
          pair_held_q <= '0;
        end
        Next: begin
          unique case (mode_i)
            2'd0:    state_q <= (experts_left_q == '0) ? End : Find;
            2'd3:    state_q <= (pair_held_q != '0) ? Match : (entry_q == entries_i) ? End : Gather;
            default: state_q <= (entry_q == entries_i) ? End : ReadEntry;
          endcase
        end
        Find:      if (find_valid_i) state_q <= Place;
        ReadEntry: state_q <= TakeEntry;
        TakeEntry: state_q <= Place;
        Gather:    state_q <= TakeGathered;
        TakeGathered: begin
          if (in_pair) pair_held_q[odd ? at + (RankW + 1)'(K) : at] <= 1'b1;
          state_q <= in_pair ? Gather : Match;
        end
        Match: begin
          pair_held_q[match_at] <= 1'b0;
          if (match_both) pair_held_q[match_with] <= 1'b0;
          state_q <= Place;
        end
        Place: state_q <= cached ? Scan : Load;
        Scan: begin
          if (tag_valid_q[scan_q] && tag_q[scan_q] == {expert_q, half_q}) state_q <= Item;
          else if (8'(scan_q) == slots_i - 8'd1) state_q <= Load;
        end
        Load: if (tile_go) begin
          state_q               <= Item;
          tag_valid_q[use_slot] <= 1'b1;
        end
        Item: if (item_go) state_q <= half_q ? Next : Place;
        End:  if (item_go) state_q <= Idle;
        default: state_q <= Idle;
      endcase
      for (int unsigned i = 0; i < MaxSlots; i++) begin
        pending_q[i] <= pending_q[i]
                        + 4'(item_go && !item_end_o && slot_q == 8'(i))
                        - 4'(return_i && return_slot_i == 8'(i));
      end
    end
  end

  always_ff @(posedge clk_i) begin
    free_q <= free_q + 8'(return_i) - 8'(tile_go);
    unique case (state_q)
      Idle: if (start_i) begin
        experts_left_q <= nonempty_i;
        entry_q        <= '0;
        slot_q         <= slots_i - 8'd1;
        free_q         <= slots_i;
        now_q          <= '0;
      end
      Next: begin
        half_q          <= 1'b0;
        pair_count_q[0] <= '0;
        pair_count_q[1] <= '0;
      end
      Find: if (find_valid_i) begin
        expert_q       <= find_expert_i;
        rows_q         <= find_rows_i;
        first_q        <= find_head_i;
        experts_left_q <= experts_left_q - 1'b1;
      end
      TakeEntry: begin
        expert_q <= entry_expert_i;
        rows_q   <= 14'd1;
        first_q  <= entry_q[EntryW-1:0];
        entry_q  <= entry_q + 1'b1;
      end
      TakeGathered: if (in_pair) begin
        pair_q <= entry_token_i[12:1];
        if (at == '0) pair_base_q[odd] <= entry_q[EntryW-1:0];
        pair_count_q[odd] <= at + 1'b1;
        pair_expert_q[odd ? at + (RankW + 1)'(K) : at] <= entry_expert_i;
        entry_q <= entry_q + 1'b1;
      end
      Match: begin
        expert_q <= pair_expert_q[match_at];
        rows_q   <= match_both ? 14'd2 : 14'd1;
        first_q  <= pair_base_q[match_at[RankW]] + EntryW'(match_at[RankW-1:0]);
        second_q <= pair_base_q[1] + EntryW'(match_with[RankW-1:0]);
      end
      Place: begin
        hit_q    <= 1'b0;
        scan_q   <= '0;
        oldest_q <= '1;
        victim_q <= '0;
        if (!cached) slot_q <= (slot_q == slots_i - 8'd1) ? '0 : slot_q + 8'd1;
      end
      Scan: begin
        scan_q <= scan_q + 1'b1;
        slot_q <= 8'(victim_q);
        if (tag_valid_q[scan_q] && tag_q[scan_q] == {expert_q, half_q}) begin
          hit_q  <= 1'b1;
          slot_q <= 8'(scan_q);
        end else if (stamp < oldest_q) begin
          oldest_q <= stamp;
          victim_q <= scan_q;
          slot_q   <= 8'(scan_q);
        end
      end
      Load: if (tile_go) tag_q[use_slot] <= {expert_q, half_q};
      Item: if (item_go) begin
        half_q            <= 1'b1;
        now_q             <= now_q + 1'b1;
        stamp_q[use_slot] <= now_q + 1'b1;
      end
      default: ;
    endcase
  end
  logic [EntryW+1:0] stamp;
  assign stamp = tag_valid_q[scan_q] ? stamp_q[scan_q] : '0;
  assign at    = pair_count_q[odd];

`ifdef FORMAL
  // Lists of any content, tiles and items taken at once, returned in turn and at any time: each entry, one
  // chosen freely, is worked on by exactly one fc1 and one fc2, whose slot holds the right tile, and no
  // tile is loaded over one that the array still needs.
  (* anyconst *) logic [ExpertW*Entries-1:0] of;        // experts of the entries
  (* anyconst *) logic [13*Entries-1:0]      tokens;
  (* anyconst *) logic [EntryW-1:0]          chosen;
  (* anyconst *) logic [1:0]                 mode;
  (* anyconst *) logic [7:0]                 slots;
  (* anyconst *) logic [EntryW:0]            count;
  logic                         past_q = 1'b0;
  logic [EntryW-1:0]            entry_q2;
  logic                         seek_q, started_q = 1'b0;
  logic [ExpertW:0]             distinct;
  logic [EntryW-1:0]            head, chosen_head;
  logic [13:0]                  rows;
  logic [1:0]                   seen_q;                 // by half
  logic [(ExpertW+1)*MaxSlots-1:0] held_q;              // tile of a slot
  logic [4*MaxSlots-1:0]        under_way_q;            // items of a slot
  logic [8*SlotW-1:0]           line_q;                 // slots of items, which the array returns in turn
  logic [3:0]                   items_q, returned_q;
  logic                         covers;
  logic [ExpertW-1:0]           item_expert;

  always_comb begin
    distinct    = '0;
    head        = '0;
    chosen_head = '0;
    rows        = '0;
    for (int unsigned x = 0; x < Experts; x++) begin : each
      logic any;
      any = 1'b0;
      for (int unsigned i = 0; i < Entries; i++) begin
        if ((EntryW + 1)'(i) < count && of[ExpertW*i +: ExpertW] == ExpertW'(x)) any = 1'b1;
      end
      distinct = distinct + (ExpertW + 1)'(any);
    end
    for (int unsigned i = Entries; i > 0; i--) begin
      if ((EntryW + 1)'(i - 1) < count) begin
        if (of[ExpertW*(i-1) +: ExpertW] == find_expert_i) begin
          head = EntryW'(i - 1);
          rows = rows + 14'd1;
        end
        if (of[ExpertW*(i-1) +: ExpertW] == of[ExpertW*chosen +: ExpertW]) chosen_head = EntryW'(i - 1);
      end
    end
  end
  assign item_expert = of[ExpertW*item_first_o +: ExpertW];
  assign covers = (mode == 2'd0) ? item_first_o == chosen_head
                  : item_first_o == chosen || (item_rows_o == 14'd2 && item_second_o == chosen);

  always_ff @(posedge clk_i) begin
    past_q <= 1'b1;
    assume (rst_ni == past_q);
    assume (mode_i == mode && slots_i == slots && entries_i == count && nonempty_i == distinct);
    assume (slots >= 8'd2 && slots <= 8'(MaxSlots) && count <= (EntryW + 1)'(Entries) && {1'b0, chosen} < count);
    for (int unsigned i = 0; i < Entries; i++) assume (tokens[13*i+3 +: 10] == '0);  // eight tokens will do
    for (int unsigned i = 1; i < Entries; i++) begin
      assume (tokens[13*i +: 13] >= tokens[13*(i-1) +: 13]);
      for (int unsigned j = 0; j < i; j++) begin  // a token's experts differ, and are K at most
        if (tokens[13*i +: 13] == tokens[13*j +: 13]) assume (of[ExpertW*i +: ExpertW] != of[ExpertW*j +: ExpertW]);
      end
      if (i >= K) assume (tokens[13*i +: 13] != tokens[13*(i-K) +: 13]);
    end
    if (past_q) assume (start_i == !started_q);
    if (past_q && rst_ni) started_q <= 1'b1;
    assume (tile_ready_i && item_ready_i && find_valid_i == seek_q);
    entry_q2 <= entry_o;
    assume (entry_expert_i == of[ExpertW*entry_q2 +: ExpertW] && entry_token_i == tokens[13*entry_q2 +: 13]);
    if (!rst_ni) seek_q <= 1'b0;
    else seek_q <= find_start_o | (seek_q & ~find_valid_i);
    if (find_valid_i) begin  // the next expert that has entries
      assume (seek_q && rows != '0 && find_head_i == head && find_rows_i == rows && find_expert_i >= find_from_q2);
      for (int unsigned i = 0; i < Entries; i++) begin
        if ((EntryW + 1)'(i) < count && of[ExpertW*i +: ExpertW] >= find_from_q2) begin
          assume (of[ExpertW*i +: ExpertW] >= find_expert_i);
        end
      end
    end
    if (find_start_o) find_from_q2 <= find_from_o;
    for (int unsigned s = 0; s < MaxSlots; s++) begin
      if (!rst_ni) under_way_q[4*s +: 4] <= '0;
      else begin
        under_way_q[4*s +: 4] <= under_way_q[4*s +: 4] + 4'(item_go && !item_end_o && item_slot_o == 8'(s))
                                 - 4'(return_i && return_slot_i == 8'(s));
      end
      if (tile_go && tile_slot_o == 8'(s)) held_q[(ExpertW+1)*s +: ExpertW+1] <= {tile_expert_o, tile_half_o};
    end
    if (return_i) begin
      assume (items_q != returned_q && return_slot_i == 8'(line_q[SlotW*returned_q[2:0] +: SlotW]));
    end
    assume (items_q - returned_q < 4'd8);
    if (!rst_ni) begin
      items_q    <= '0;
      returned_q <= '0;
    end else begin
      if (item_go && !item_end_o) begin
        items_q <= items_q + 4'd1;
        line_q[SlotW*items_q[2:0] +: SlotW] <= item_slot_o[SlotW-1:0];
      end
      if (return_i) returned_q <= returned_q + 4'd1;
    end
    if (!rst_ni) seen_q <= '0;
    else if (item_go && !item_end_o && covers) seen_q[item_half_o] <= 1'b1;

    if (past_q && rst_ni && started_q) begin
      if (tile_go) begin
        SlotIsFree: assert (tile_slot_o < slots && under_way_q[4*tile_slot_o[SlotW-1:0] +: 4] == '0);
      end
      if (item_go && !item_end_o) begin
        if (covers) Once:   assert (!seen_q[item_half_o]);
        if (covers) InTurn: assert (!item_half_o || seen_q[0]);
        RightTile: assert (held_q[(ExpertW+1)*item_slot_o[SlotW-1:0] +: ExpertW+1] == {item_expert, item_half_o});
        if (mode == 2'd3 && item_rows_o == 14'd2) begin
          BothChoseIt: assert (of[ExpertW*item_second_o +: ExpertW] == item_expert);
        end
      end
      if (item_go && item_end_o) NoneLost: assert (seen_q == 2'b11);
      Ends0: cover (item_go && item_end_o && mode == 2'd0 && count > 1);
      Ends1: cover (item_go && item_end_o && mode == 2'd1);
      Ends2: cover (item_go && item_end_o && mode == 2'd2);
      Ends3: cover (item_go && item_end_o && mode == 2'd3 && count > 1);
    end
  end
  logic [ExpertW-1:0] find_from_q2;
`endif
endmodule
