/// Lists of tokens, one for each expert, in one memory of entries: linked, in ascending order of
/// entry. ROUTE pushes entries; LOAD.EXPERTS looks for experts that have any and reads entries in
/// order; GEMM.EXPERTS has a list read out as a stream. Pushing and looking do not overlap.
module m3_elist #(
  parameter int unsigned Entries = 8192,
  parameter int unsigned Experts = 1024,
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

  // ---- find: 32 experts a cycle
  localparam int unsigned Scan = (Experts < 32) ? Experts : 32;
  localparam int unsigned ScanW = $clog2(Scan);
  logic [ExpertW-1:0] at_q, hit, record_at;
  logic [Scan-1:0]    scan;
  logic               finding_q, found, found_q;

  always_comb begin
    scan  = some_q[{at_q[ExpertW-1:ScanW], {ScanW{1'b0}}} +: Scan];
    found = 1'b0;
    hit   = '0;
    for (int unsigned i = 0; i < Scan; i++) begin
      if (!found && scan[i] && ScanW'(i) >= at_q[ScanW-1:0]) begin
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
endmodule
