#pragma once
/// The whole accelerator in simulation: a host on AXI4-Lite and a DDR on AXI4 with a stated latency and bandwidth.
#include <array>
#include <cstdint>
#include <deque>
#include <span>
#include <stdexcept>
#include <string>
#include <vector>

#include "rtl/rtl_testing.h"

namespace m3vit::rtl {

struct DdrModel {
  int latency = 60;               ///< cycles from a burst's address to its first beat
  double bytes_per_cycle = 51.2;  ///< 19.2 GB/s, four fifths of it, at 300 MHz
  std::uint32_t stalls = 0;       ///< seed of random stalls on every channel; 0: none
};

/// Counters in the order of docs/accelerator.md §7.
enum Counter : std::uint8_t {
  kCycles,
  kLoadBusy,
  kGemmBusy,
  kVecBusy,
  kStoreBusy,
  kArrayCycles,
  kMacs,
  kDdrWeights,
  kDdrExperts,
  kDdrOther,
  kDdrProgram,
  kDdrWritten,
  kWeightRead,
  kActRead,
  kResRead,
  kRowRead,
  kWeightWritten,
  kActWritten,
  kResWritten,
  kRowWritten,
  kTiles,
  kTileHits,
  kClamped,
  kWaitTile,
  kWaitSlot,
  kEntries,
  kNonEmpty,
  kCounters
};
using Counters = std::array<std::uint64_t, kCounters>;

/// A micro-op, d0 … d15.
using Op = std::array<std::uint32_t, 16>;

template <class Dut>
class Machine {
 public:
  Machine(std::size_t ddr_bytes, DdrModel ddr)
      : memory(ddr_bytes), ddr_(ddr), rng_(ddr.stalls), dut_(std::make_unique<Dut>(&context_)) {
    dut_->rst_ni = 0;
    for (int i = 0; i < 4; ++i) step();
    dut_->rst_ni = 1;
    step();
  }
  ~Machine() { dut_->final(); }
  Machine(const Machine&) = delete;
  Machine& operator=(const Machine&) = delete;

  std::vector<std::uint8_t> memory;  ///< DDR, image at 0

  /// Runs the program at `first` (64-byte units) to its END. Throws after `limit` cycles, or if the machine complains.
  Counters run(std::uint32_t first, std::uint64_t limit) {
    write(0x10, 0);
    write(0x14, 0);
    write(0x18, first);
    write(0x08, 2);
    write(0x08, 1);
    const std::uint64_t begin = cycle_;
    while (true) {
      for (int i = 0; i < 200; ++i) step();
      const std::uint32_t status = read(0x0c);
      if ((status & 0xcU) != 0) throw std::runtime_error("status " + std::to_string(status));
      if ((status & 2U) != 0) break;
      if (cycle_ - begin > limit) throw std::runtime_error("no end after " + std::to_string(limit) + " cycles");
    }
    write(0x0c, 2);
    Counters all{};
    for (std::uint32_t i = 0; i < kCounters; ++i)
      all[i] = read(0x100 + 8 * i) | std::uint64_t{read(0x104 + 8 * i)} << 32U;
    return all;
  }
  std::uint32_t read(std::uint32_t address) {
    dut_->s_arvalid_i = 1;
    dut_->s_araddr_i = static_cast<std::uint16_t>(address);
    dut_->s_rready_i = 1;
    step();
    dut_->s_arvalid_i = 0;
    while (!dut_->s_rvalid_o) step();
    const std::uint32_t data = dut_->s_rdata_o;
    step();
    return data;
  }
  void write(std::uint32_t address, std::uint32_t data) {
    dut_->s_awvalid_i = dut_->s_wvalid_i = 1;
    dut_->s_awaddr_i = static_cast<std::uint16_t>(address);
    dut_->s_wdata_i = data;
    dut_->s_bready_i = 1;
    step();
    dut_->s_awvalid_i = dut_->s_wvalid_i = 0;
    while (!dut_->s_bvalid_o) step();
    step();
  }
  std::uint64_t cycle() const { return cycle_; }

 private:
  struct Burst {
    std::uint64_t address, ready_at;
    int beats;
    bool id;
  };
  bool stall() { return ddr_.stalls != 0 && rng_.coin(0.3); }

  void step() {
    Dut& d = *dut_;
    budget_ = std::min(budget_ + ddr_.bytes_per_cycle, 192.0);
    if (!offering_ && !reads_.empty() && reads_.front().ready_at <= cycle_ && budget_ >= 64 && !stall()) {
      const Burst& b = reads_.front();
      if (b.address + 64 > memory.size()) throw std::runtime_error("read beyond DDR");
      std::memcpy(&d.m_rdata_i, memory.data() + b.address, 64);
      d.m_rid_i = b.id;
      offering_ = true;
      budget_ -= 64;
    }
    d.m_rvalid_i = offering_;
    d.m_rresp_i = 0;
    d.m_arready_i = reads_.size() < 16 && !stall();
    d.m_awready_i = writes_.size() < 4 && !stall();
    const bool can_write = !writes_.empty() && budget_ >= 64 && !stall();
    d.m_wready_i = can_write;
    d.m_bvalid_i = answers_ > 0;
    d.m_bresp_i = 0;
    d.clk_i = 0;
    d.eval();
    const bool ar = d.m_arvalid_o && d.m_arready_i;
    const bool r = d.m_rvalid_i && d.m_rready_o;
    const bool aw = d.m_awvalid_o && d.m_awready_i;
    const bool w = d.m_wvalid_o && d.m_wready_i;
    const bool b = d.m_bvalid_i && d.m_bready_o;
    if (ar) reads_.push_back({d.m_araddr_o, cycle_ + ddr_.latency, d.m_arlen_o + 1, d.m_arid_o != 0});
    if (r) {
      offering_ = false;
      Burst& front = reads_.front();
      front.address += 64;
      if (--front.beats == 0) reads_.pop_front();
    }
    if (aw) writes_.push_back({d.m_awaddr_o, 0, d.m_awlen_o + 1, false});
    if (b) --answers_;
    if (w) {
      Burst& front = writes_.front();
      if (front.address + 64 > memory.size()) throw std::runtime_error("write beyond DDR");
      std::memcpy(memory.data() + front.address, &d.m_wdata_o, 64);
      budget_ -= 64;
      front.address += 64;
      if ((--front.beats == 0) != (d.m_wlast_o != 0)) throw std::runtime_error("wlast is not at a burst's end");
      if (front.beats == 0) {
        writes_.pop_front();
        ++answers_;
      }
    }
    d.clk_i = 1;
    d.eval();
    ++cycle_;
  }

  DdrModel ddr_;
  Random rng_;
  VerilatedContext context_;
  std::unique_ptr<Dut> dut_;
  std::deque<Burst> reads_, writes_;
  double budget_ = 0;
  bool offering_ = false;
  int answers_ = 0;
  std::uint64_t cycle_ = 0;
};

}  // namespace m3vit::rtl
