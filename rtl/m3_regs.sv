/// Registers behind AXI4-Lite (docs/accelerator.md §7) and the 64-bit counters. One transaction at a
/// time in each direction.
module m3_regs #(
  parameter int unsigned W = 32,
  parameter int unsigned WeightWords = 512,
  parameter int unsigned ActWords = 32768,
  parameter int unsigned ResWords = 16384,
  parameter int unsigned Counters = 27
) (
  input  logic        clk_i,
  input  logic        rst_ni,
  input  logic        awvalid_i,
  output logic        awready_o,
  input  logic [11:0] awaddr_i,
  input  logic        wvalid_i,
  output logic        wready_o,
  input  logic [31:0] wdata_i,
  output logic        bvalid_o,
  input  logic        bready_i,
  input  logic        arvalid_i,
  output logic        arready_o,
  input  logic [11:0] araddr_i,
  output logic        rvalid_o,
  input  logic        rready_i,
  output logic [31:0] rdata_o,
  // machine
  output logic        start_o,
  output logic [39:0] image_o,     // byte address
  output logic [31:0] program_o,   // in beats from image
  input  logic        running_i,
  input  logic        finished_i,
  input  logic        illegal_i,
  input  logic        bus_error_i,
  output logic        irq_o,
  input  logic [16*Counters-1:0] add_i   // what each counter grows by in this cycle
);
  logic [39:0] image_q;
  logic [31:0] program_q;
  logic        done_q, error_q, illegal_q, irq_enable_q, write, clear;
  logic [63:0] counter_q [Counters];

  // ---- writes: address and data are taken together
  assign write     = awvalid_i & wvalid_i & ~bvalid_o;
  assign awready_o = write;
  assign wready_o  = write;
  assign start_o   = write && awaddr_i == 12'h008 && wdata_i[0] && !running_i;
  assign clear     = write && awaddr_i == 12'h008 && wdata_i[1];
  assign image_o   = image_q;
  assign program_o = program_q;
  assign irq_o     = done_q & irq_enable_q;

  always_ff @(posedge clk_i or negedge rst_ni) begin
    if (!rst_ni) begin
      bvalid_o     <= 1'b0;
      done_q       <= 1'b0;
      error_q      <= 1'b0;
      illegal_q    <= 1'b0;
      irq_enable_q <= 1'b0;
      image_q      <= '0;
      program_q    <= '0;
    end else begin
      bvalid_o <= write | (bvalid_o & ~bready_i);
      if (write) begin
        unique case (awaddr_i)
          12'h00c: begin
            if (wdata_i[1]) done_q <= 1'b0;
            if (wdata_i[2]) error_q <= 1'b0;
            if (wdata_i[3]) illegal_q <= 1'b0;
          end
          12'h010: image_q[31:0] <= {wdata_i[31:12], 12'd0};
          12'h014: image_q[39:32] <= wdata_i[7:0];
          12'h018: program_q <= wdata_i;
          12'h01c: irq_enable_q <= wdata_i[0];
          default: ;
        endcase
      end
      if (finished_i || illegal_i) done_q <= 1'b1;
      if (illegal_i) illegal_q <= 1'b1;
      if (bus_error_i) error_q <= 1'b1;
    end
  end

  always_ff @(posedge clk_i or negedge rst_ni) begin
    if (!rst_ni) begin
      for (int unsigned i = 0; i < Counters; i++) counter_q[i] <= '0;
    end else begin
      for (int unsigned i = 0; i < Counters; i++) begin
        counter_q[i] <= clear ? '0 : counter_q[i] + 64'(add_i[16*i +: 16]);
      end
    end
  end

  // ---- reads
  localparam int unsigned CounterW = $clog2(Counters);
  logic                read;
  logic [CounterW-1:0] which;
  assign arready_o = ~rvalid_o;
  assign read      = arvalid_i & arready_o;
  assign which     = araddr_i[3 +: CounterW];
  always_ff @(posedge clk_i or negedge rst_ni) begin
    if (!rst_ni) rvalid_o <= 1'b0;
    else rvalid_o <= read | (rvalid_o & ~rready_i);
  end
  always_ff @(posedge clk_i) begin
    if (read) begin
      unique case (araddr_i)
        12'h000: rdata_o <= 32'h4d33_5641;
        12'h004: rdata_o <= {16'd1, 8'd0, 8'(W)};
        12'h00c: rdata_o <= {28'd0, illegal_q, error_q, done_q, running_i};
        12'h010: rdata_o <= image_q[31:0];
        12'h014: rdata_o <= {24'd0, image_q[39:32]};
        12'h018: rdata_o <= program_q;
        12'h01c: rdata_o <= {31'd0, irq_enable_q};
        12'h020: rdata_o <= WeightWords;
        12'h024: rdata_o <= ActWords;
        12'h028: rdata_o <= ResWords;
        default: begin
          if (araddr_i[11:8] == 4'd1 && 32'(which) < Counters) begin
            rdata_o <= araddr_i[2] ? counter_q[which][63:32] : counter_q[which][31:0];
          end else rdata_o <= '0;
        end
      endcase
    end
  end
endmodule
