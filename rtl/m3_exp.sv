/// Numerator of attention's softmax: rshift(B[below mod 32], below / 32), B[f] = round(127 * 2^(-f/32)),
/// for a score `below_i`/32 octaves under its row's largest. Combinational.
module m3_exp (
  input  logic [7:0] below_i,
  output logic [6:0] p_o
);
  logic [6:0] base;
  logic [7:0] half;  // floor(base / 2^(octaves - 1)): one more bit, for rounding

  always_comb begin
    unique case (below_i[4:0])
      5'd0:  base = 7'd127;  5'd1:  base = 7'd124;  5'd2:  base = 7'd122;  5'd3:  base = 7'd119;
      5'd4:  base = 7'd116;  5'd5:  base = 7'd114;  5'd6:  base = 7'd112;  5'd7:  base = 7'd109;
      5'd8:  base = 7'd107;  5'd9:  base = 7'd105;  5'd10: base = 7'd102;  5'd11: base = 7'd100;
      5'd12: base = 7'd98;   5'd13: base = 7'd96;   5'd14: base = 7'd94;   5'd15: base = 7'd92;
      5'd16: base = 7'd90;   5'd17: base = 7'd88;   5'd18: base = 7'd86;   5'd19: base = 7'd84;
      5'd20: base = 7'd82;   5'd21: base = 7'd81;   5'd22: base = 7'd79;   5'd23: base = 7'd77;
      5'd24: base = 7'd76;   5'd25: base = 7'd74;   5'd26: base = 7'd72;   5'd27: base = 7'd71;
      5'd28: base = 7'd69;   5'd29: base = 7'd68;   5'd30: base = 7'd66;   default: base = 7'd65;
    endcase
    half = {base, 1'b0} >> below_i[7:5];
    p_o  = 7'((half + 8'd1) >> 1);
  end
endmodule
