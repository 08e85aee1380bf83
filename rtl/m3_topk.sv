/// The largest K of a stream of values, one a cycle, largest first; the earlier wins ties.
module m3_topk #(
  parameter int unsigned K = 8,
  parameter int unsigned IndexW = 10
) (
  input  logic                clk_i,
  input  logic                valid_i,
  input  logic                first_i,  // of a row: what came before is forgotten
  input  logic [31:0]         value_i,  // signed
  input  logic [IndexW-1:0]   index_i,
  output logic [31:0]         max_o,    // of what came so far, a cycle later
  output logic [K*IndexW-1:0] index_o   // place 0 first; places beyond the row's length are not defined
);
  logic [31:0]       value_q [K];
  logic [IndexW-1:0] index_q [K];
  logic [K-1:0]      held_q, above;  // above[i]: place i keeps its value

  always_comb begin
    for (int unsigned i = 0; i < K; i++) begin
      above[i] = held_q[i] && !first_i && ($signed(value_q[i]) >= $signed(value_i));
      index_o[IndexW*i +: IndexW] = index_q[i];
    end
  end
  assign max_o = value_q[0];

  always_ff @(posedge clk_i) begin
    if (valid_i) begin
      held_q <= first_i ? K'(1) : {held_q[K-2:0], 1'b1};
      for (int unsigned i = 0; i < K; i++) begin
        if (!above[i]) begin
          // the new value comes to the first place that is not above it; the others move down
          if (i == 0 || above[i == 0 ? 0 : i-1]) begin
            value_q[i] <= value_i;
            index_q[i] <= index_i;
          end else begin
            value_q[i] <= value_q[i == 0 ? 0 : i-1];
            index_q[i] <= index_q[i == 0 ? 0 : i-1];
          end
        end
      end
    end
  end
endmodule
