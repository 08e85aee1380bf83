/// Memory with one read and one write port, shared by fixed precedence: requester 0 first. A read's
/// data come one cycle after its grant.
module m3_spad #(
  parameter int unsigned Width = 256,   // bits of a word
  parameter int unsigned Words = 4096,
  parameter int unsigned Readers = 2,
  parameter int unsigned Writers = 2,
  localparam int unsigned AddrW = $clog2(Words)
) (
  input  logic                      clk_i,
  input  logic [Readers-1:0]        r_req_i,
  output logic [Readers-1:0]        r_gnt_o,
  input  logic [Readers*AddrW-1:0]  r_addr_i,
  output logic [Width-1:0]          r_data_o,
  input  logic [Writers-1:0]        w_valid_i,
  output logic [Writers-1:0]        w_ready_o,
  input  logic [Writers*AddrW-1:0]  w_addr_i,
  input  logic [Writers*Width-1:0]  w_data_i
);
  (* ram_style = "ultra" *) logic [Width-1:0] mem [Words];

  logic             r_any, w_any;
  logic [AddrW-1:0] r_addr, w_addr;
  logic [Width-1:0] w_data;

  always_comb begin
    r_any   = 1'b0;
    r_addr  = '0;
    r_gnt_o = '0;
    for (int unsigned i = 0; i < Readers; i++) begin
      if (r_req_i[i] && !r_any) begin
        r_any      = 1'b1;
        r_gnt_o[i] = 1'b1;
        r_addr     = r_addr_i[AddrW*i +: AddrW];
      end
    end
  end
  always_comb begin
    w_any     = 1'b0;
    w_addr    = '0;
    w_data    = '0;
    w_ready_o = '0;
    for (int unsigned i = 0; i < Writers; i++) begin
      w_ready_o[i] = !w_any;
      if (w_valid_i[i] && !w_any) begin
        w_any  = 1'b1;
        w_addr = w_addr_i[AddrW*i +: AddrW];
        w_data = w_data_i[Width*i +: Width];
      end
    end
  end

  always_ff @(posedge clk_i) begin
    if (w_any) mem[w_addr] <= w_data;
    if (r_any) r_data_o <= mem[r_addr];
  end
endmodule
