/// Constants and enumerations that more than one module needs; docs/accelerator.md has the reasons.
package m3_pkg;
  /// Opcodes (d0 7:0); the upper four bits name the engine.
  typedef enum logic [7:0] {
    OpEnd = 8'h00, OpTile = 8'h10, OpCopyIn = 8'h11, OpLoadExperts = 8'h12, OpGemm = 8'h20,
    OpAttend = 8'h21, OpRoute = 8'h22, OpExperts = 8'h23, OpNorm = 8'h30, OpUpsample = 8'h31,
    OpCopyOut = 8'h40
  } opcode_e;

  /// Where a pass of the array sends its results.
  typedef enum logic [1:0] { DstAct = 2'd0, DstResAdd = 2'd1, DstResSet = 2'd2, DstRouter = 2'd3 } dst_e;

  typedef enum logic [1:0] { ActNone = 2'd0, ActRelu = 2'd1, ActTable = 2'd2 } act_e;

  /// Cycles from a step of the array (its operands at the lanes) to what comes of it.
  localparam int unsigned LatRaw  = 4;  // last step of a block -> first raw sum (acc + bias)
  localparam int unsigned LatPost = 8;  // last step of a block -> first beat of int8 and int16

  /// (x + half) >> s, arithmetic: the only rounding there is.
  function automatic logic signed [49:0] rshift(input logic signed [49:0] x, input logic [5:0] s);
    logic signed [50:0] sum;
    sum = 51'(x) + ((s == 6'd0) ? 51'sd0 : (51'sd1 <<< (s - 6'd1)));
    sum = sum >>> s;
    rshift = sum[49:0];
  endfunction

  function automatic logic signed [7:0] sat8(input logic signed [49:0] x);
    sat8 = (x > 50'sd127) ? 8'sd127 : (x < -50'sd127) ? -8'sd127 : x[7:0];
  endfunction

  function automatic logic signed [15:0] sat16(input logic signed [49:0] x);
    sat16 = (x > 50'sd32767) ? 16'sd32767 : (x < -50'sd32767) ? -16'sd32767 : x[15:0];
  endfunction
endpackage
