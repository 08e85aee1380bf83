/// Values of attention for one lane: a lane's weight word holds one channel of W tokens, but tokens
/// come one at a time. Collects their bytes, for `Slots` words at once, and shows the word that the
/// last byte went into.
module m3_vgather #(
  parameter int unsigned W = 32,
  parameter int unsigned Slots = 8   // words of a head: head_dim / W, at most
) (
  input  logic                     clk_i,
  input  logic                     valid_i,
  input  logic [$clog2(Slots)-1:0] slot_i,
  input  logic [$clog2(W)-1:0]     index_i,  // token mod W
  input  logic [7:0]               byte_i,
  output logic [8*W-1:0]           word_o    // one cycle later
);
  (* ram_style = "distributed" *) logic [8*W-1:0] words [Slots];

  always_ff @(posedge clk_i) begin : collect
    logic [8*W-1:0] word;
    if (valid_i) begin
      word = words[slot_i];
      for (int unsigned n = 0; n < W; n++) begin
        if (index_i == ($clog2(W))'(n)) word[8*n +: 8] = byte_i;
      end
      words[slot_i] <= word;
      word_o        <= word;
    end
  end
endmodule
