/// Lists of tokens, one for each expert, in one memory of entries: linked, in ascending order of
/// entry. ROUTE pushes entries; LOAD.EXPERTS looks for experts that have any and reads entries in
/// order; GEMM.EXPERTS has a list read out as a stream. Pushing and looking do not overlap.
module m3_elist #(
  parameter int unsigned Entries = 8192,
  parameter int unsigned Experts = 1024,
  parameter int unsigned Scan = 32,      // experts looked at in a cycle, fewer than Experts
  localparam int unsigned EntryW = $clog2(Entries),
  localparam int unsigned ExpertW = $clog2(Experts)
) (
  input  logic               clk_i,
  input  logic               rst_ni,
  input  logic               clear_i,
  // push
  input  logic               push_valid_i,
  output logic               push_ready_o,
  input  logic [ExpertW-1:0] push_expert_i,
  input  logic [12:0]        push_token_i,
  input  logic [15:0]        push_gate_i,
  output logic [EntryW:0]    entries_o,     // pushed since the last clear
  output logic [ExpertW:0]   nonempty_o,    // experts that have an entry
  // the first expert >= from that has entries; there must be one
  input  logic               find_start_i,  // one cycle
  input  logic [ExpertW-1:0] find_from_i,
  output logic               find_valid_o,  // one cycle
  output logic [ExpertW-1:0] find_expert_o,
  output logic [EntryW-1:0]  find_head_o,   // its first entry
  output logic [13:0]        find_rows_o,   // how many it has
  // an entry's expert and token, one cycle later
  input  logic [EntryW-1:0]  entry_i,
  output logic [ExpertW-1:0] entry_expert_o,
  output logic [12:0]        entry_token_o,
  // stream of a list: `first`, then what follows it (linked) or `second`
  input  logic               list_start_i,  // one cycle, while no list is under way
  input  logic [EntryW-1:0]  list_first_i,
  input  logic [EntryW-1:0]  list_second_i,
  input  logic               list_linked_i,
  input  logic [13:0]        list_rows_i,
  output logic               tok_valid_o,
  input  logic               tok_ready_i,
  output logic [12:0]        tok_o,
  output logic [15:0]        tok_gate_o
);
  localparam int unsigned RecordW = 2*EntryW + 14;

  logic [28:0]                token_mem [Entries];   // {token, gate}
  logic [ExpertW+12:0]        order_mem [Entries];   // {expert, token}, for the walk in order
  logic [EntryW-1:0]          next_mem [Entries];
  logic [RecordW-1:0]         record_mem [Experts];  // {rows, tail, head}; holds if `some_q` is set
  logic [Experts-1:0]         some_q;
  logic [EntryW:0]            count_q;
  logic [ExpertW:0]           nonempty_q;

  // ---- push: cycle 0 reads the expert's record, cycle 1 writes
  logic               push_q;
  logic [RecordW-1:0] record_q, record_d;
  logic [EntryW-1:0]  head, tail;
  logic [13:0]        rows;
  logic               had;

  assign {rows, tail, head} = record_q;
  assign had          = some_q[push_expert_i];
  assign record_d     = had ? {rows + 14'd1, count_q[EntryW-1:0], head}
                            : {14'd1, count_q[EntryW-1:0], count_q[EntryW-1:0]};
  assign push_ready_o = push_q;
  assign entries_o    = count_q;
  assign nonempty_o   = nonempty_q;

  // ---- find: Scan experts a cycle
  localparam int unsigned ScanW = $clog2(Scan);
  logic [ExpertW-1:0] at_q, hit, record_at;
  logic [Scan-1:0]    some;
  logic               finding_q, found, found_q;

  always_comb begin
    some  = some_q[{at_q[ExpertW-1:ScanW], {ScanW{1'b0}}} +: Scan];
    found = 1'b0;
    hit   = '0;
    for (int unsigned i = 0; i < Scan; i++) begin
      if (!found && some[i] && ScanW'(i) >= at_q[ScanW-1:0]) begin
        found = 1'b1;
        hit   = {at_q[ExpertW-1:ScanW], ScanW'(i)};
      end
    end
  end
  assign record_at    = finding_q ? hit : push_expert_i;
  assign find_valid_o = found_q;
  assign find_head_o  = head;
  assign find_rows_o  = rows;

  always_ff @(posedge clk_i or negedge rst_ni) begin
    if (!rst_ni) begin
      push_q     <= 1'b0;
      some_q     <= '0;
      count_q    <= '0;
      nonempty_q <= '0;
      finding_q  <= 1'b0;
      found_q    <= 1'b0;
    end else begin
      push_q  <= push_valid_i & ~push_q;
      found_q <= finding_q & found;
      if (find_start_i) finding_q <= 1'b1;
      else if (found) finding_q <= 1'b0;
      if (clear_i) begin
        some_q     <= '0;
        count_q    <= '0;
        nonempty_q <= '0;
      end else if (push_q) begin
        count_q <= count_q + 1'b1;
        if (!had) begin
          some_q[push_expert_i] <= 1'b1;
          nonempty_q            <= nonempty_q + 1'b1;
        end
      end
    end
  end
  always_ff @(posedge clk_i) begin
    if (find_start_i) at_q <= find_from_i;
    else if (finding_q && !found) at_q <= {at_q[ExpertW-1:ScanW] + 1'b1, {ScanW{1'b0}}};
    if (finding_q) find_expert_o <= hit;
  end

  // ---- list stream
  logic              list_q, read_q, linked_q;
  logic [EntryW-1:0] cur_q, next_q, second_q;
  logic [13:0]       left_q;
  logic [28:0]       token_q;
  logic              sreg_ready;

  // two cycles a row: read, hand over
  always_ff @(posedge clk_i or negedge rst_ni) begin
    if (!rst_ni) begin
      list_q <= 1'b0;
      read_q <= 1'b0;
    end else if (list_start_i) begin
      list_q <= 1'b1;
      read_q <= 1'b0;
    end else if (list_q) begin
      read_q <= ~read_q | ~sreg_ready;
      if (read_q && sreg_ready && left_q == 14'd1) list_q <= 1'b0;
    end
  end
  always_ff @(posedge clk_i) begin
    if (list_start_i) begin
      cur_q    <= list_first_i;
      second_q <= list_second_i;
      linked_q <= list_linked_i;
      left_q   <= list_rows_i;
    end else if (list_q && read_q && sreg_ready) begin
      cur_q  <= linked_q ? next_q : second_q;
      left_q <= left_q - 14'd1;
    end
  end
  m3_sreg #(.Width(29)) u_out (
    .clk_i, .rst_ni,
    .valid_i(list_q & read_q), .ready_o(sreg_ready), .data_i(token_q),
    .valid_o(tok_valid_o), .ready_i(tok_ready_i), .data_o({tok_o, tok_gate_o})
  );

  // ---- memories: one write and one read port each
  always_ff @(posedge clk_i) begin
    if (push_q) token_mem[count_q[EntryW-1:0]] <= {push_token_i, push_gate_i};
    token_q <= token_mem[cur_q];
  end
  always_ff @(posedge clk_i) begin
    if (push_q) order_mem[count_q[EntryW-1:0]] <= {push_expert_i, push_token_i};
    {entry_expert_o, entry_token_o} <= order_mem[entry_i];
  end
  always_ff @(posedge clk_i) begin
    if (push_q && had) next_mem[tail] <= count_q[EntryW-1:0];
    next_q <= next_mem[cur_q];
  end
  always_ff @(posedge clk_i) begin
    if (push_q) record_mem[push_expert_i] <= record_d;
    record_q <= record_mem[record_at];
  end

`ifdef FORMAL
  // One expert is watched, chosen freely, and with it all that is pushed for it: its list holds just
  // that, in order; the stream of a list gives its entries once each and in order; looking finds the
  // next expert that has any. Callers: no push while a list is read or looked for, no more entries
  // than there is room for, none lost by `clear_i`.
  (* anyconst *) logic [ExpertW-1:0] watched;
  logic                      past_q = 1'b0;
  logic [EntryW:0]           pushed_q;               // for the watched expert
  logic [EntryW*Entries-1:0] place_q;                // where
  logic [29*Entries-1:0]     want_q;                 // what
  logic                      watch_q;                // the stream is of the watched list
  logic [EntryW:0]           out_q;                  // tokens that left it
  logic [EntryW:0]           at;                     // the one being read
  logic [ExpertW-1:0]        from_q;
  logic                      seek_q, busy, waits_q;
  logic [ExpertW+28:0]       offer_q;
  logic [RecordW-1:0]        list;
  assign busy = list_q | tok_valid_o;
  assign at   = pushed_q - left_q[EntryW:0];
  assign list = record_mem[watched];

  always_ff @(posedge clk_i) begin
    past_q <= 1'b1;
    assume (rst_ni == past_q);
    waits_q <= push_valid_i & ~push_ready_o;
    offer_q <= {push_expert_i, push_token_i, push_gate_i};
    if (past_q && waits_q) assume (push_valid_i && offer_q == {push_expert_i, push_token_i, push_gate_i});
    if (push_valid_i) assume (!busy && !finding_q && !found_q && !find_start_i && !list_start_i);
    if (push_valid_i) assume (count_q != (EntryW + 1)'(Entries));
    if (clear_i) assume (!push_valid_i && !busy && !finding_q && !found_q && !find_start_i && !list_start_i);
    if (list_start_i) begin
      assume (!busy);
      if (list_linked_i) begin  // `find` gave it
        assume (some_q[watched] && list_first_i == list[EntryW-1:0] && list_rows_i == list[RecordW-1 -: 14]);
      end else begin
        assume (list_rows_i == 14'd1 || list_rows_i == 14'd2);
        assume ({1'b0, list_first_i} < count_q && {1'b0, list_second_i} < count_q);
      end
    end
    if (find_start_i) assume (!finding_q && !found_q && (some_q >> find_from_i) != '0);

    if (!rst_ni || clear_i) pushed_q <= '0;
    else if (push_q && push_expert_i == watched) begin
      pushed_q <= pushed_q + 1'b1;
      place_q[EntryW*pushed_q[EntryW-1:0] +: EntryW] <= count_q[EntryW-1:0];
      want_q[29*pushed_q[EntryW-1:0] +: 29]          <= {push_token_i, push_gate_i};
    end
    if (!rst_ni || push_q || clear_i) watch_q <= 1'b0;
    else if (list_start_i) begin
      watch_q <= list_linked_i;
      out_q   <= '0;
    end else if (tok_valid_o && tok_ready_i) out_q <= out_q + 1'b1;
    if (!rst_ni) seek_q <= 1'b0;
    else if (find_start_i) begin
      seek_q <= 1'b1;
      from_q <= find_from_i;
    end else if (found_q) seek_q <= 1'b0;

    if (past_q && rst_ni) begin
      CountsInRange: assert (count_q <= (EntryW + 1)'(Entries) && pushed_q <= count_q);
      HasEntries:    assert (some_q[watched] == (pushed_q != '0));
      if (pushed_q != '0) begin
        Record: assert (list == {14'(pushed_q), place_q[EntryW*(pushed_q - 1'b1) +: EntryW], place_q[0 +: EntryW]});
      end
      for (int unsigned i = 0; i < Entries; i++) begin
        if ((EntryW + 1)'(i) < pushed_q) begin
          assert ({1'b0, place_q[EntryW*i +: EntryW]} < count_q);
          assert (token_mem[place_q[EntryW*i +: EntryW]] == want_q[29*i +: 29]);
          assert (order_mem[place_q[EntryW*i +: EntryW]] == {watched, want_q[29*i+16 +: 13]});
          if ((EntryW + 1)'(i + 1) < pushed_q) begin
            assert (next_mem[place_q[EntryW*i +: EntryW]] == place_q[EntryW*((i+1) % Entries) +: EntryW]);
            assert (place_q[EntryW*i +: EntryW] < place_q[EntryW*((i+1) % Entries) +: EntryW]);
          end
        end
      end
      for (int unsigned x = 0; x < Experts; x++) begin  // a list ends in an entry of its own
        if (some_q[x]) begin
          assert ({1'b0, record_mem[x][2*EntryW-1:EntryW]} < count_q);
          assert (order_mem[record_mem[x][2*EntryW-1:EntryW]][ExpertW+12:13] == ExpertW'(x));
        end
      end
      if (push_q) PushKnowsRecord: assert (waits_q && push_valid_i && (!had || record_q == record_mem[push_expert_i]));

      // the stream
      if (watch_q) begin
        InOrder: assert (out_q <= pushed_q && (!tok_valid_o ||
                         (out_q < pushed_q && {tok_o, tok_gate_o} == want_q[29*out_q[EntryW-1:0] +: 29])));
        if (list_q) begin
          assert (linked_q && left_q != '0 && left_q <= 14'(pushed_q));
          assert (cur_q == place_q[EntryW*at[EntryW-1:0] +: EntryW] && at == out_q + (EntryW + 1)'(tok_valid_o));
          if (read_q) assert (token_q == token_mem[cur_q]);
          if (read_q) assert (left_q == 14'd1 || next_q == next_mem[cur_q]);
        end else Whole: assert (out_q + (EntryW + 1)'(tok_valid_o) == pushed_q);
      end

      // looking
      if (finding_q || found_q) assert (seek_q);
      if (finding_q) assert (at_q >= from_q && (some_q >> at_q) != '0);
      if (finding_q) assert (((some_q >> from_q) << from_q) == ((some_q >> at_q) << at_q));
      if (find_valid_o) begin
        FindsNext:     assert (some_q[find_expert_o] && find_expert_o >= from_q);
        SkipsNone:     assert ((((some_q >> from_q) << from_q) & ((Experts'(1) << find_expert_o) - 1'b1)) == '0);
        if (find_expert_o == watched) FindsList: assert ({find_rows_o, find_head_o} == {list[RecordW-1 -: 14], list[EntryW-1:0]});
      end
    end
  end
`endif
endmodule
