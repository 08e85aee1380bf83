#pragma once
/// The DDR's side of the cost model: bursts answered in order, a latency each, beats at a rate.
#include <algorithm>
#include <cstdint>
#include <deque>

#include "accel/machine/engine_cycles.h"

namespace m3vit::accel {

struct Burst {
  Cycle asked = 0;
  std::int64_t beats = 1;
  double gap = 1;          ///< cycles that whoever takes a beat needs for it
  bool program = false;    ///< a micro-op
  bool ends_burst = true;  ///< micro-ops stand here one by one, several of a burst
  bool ends_transfer = false;
  Cycle tail = 0;  ///< of a transfer's last beat
};

class DdrQueue {
 public:
  static constexpr std::size_t kOutstanding = 16;

  DdrQueue(double bytes_per_cycle, int latency) : per_beat_(64.0 / bytes_per_cycle), latency_(latency) {}

  bool room() const { return outstanding_ < kOutstanding; }
  bool idle() const { return bursts_.empty(); }
  void ask(const Burst& burst) {
    bursts_.push_back(burst);
    outstanding_ += burst.ends_burst ? 1 : 0;
    if (bursts_.size() == 1) serve();
  }
  const Burst& front() const { return bursts_.front(); }
  /// Cycle in which the front burst's last beat is taken.
  Cycle front_end() const { return end_; }
  void pop() {
    free_ = end_ + 1 + (front().ends_transfer ? front().tail : 0);
    outstanding_ -= front().ends_burst ? 1 : 0;
    bursts_.pop_front();
    if (!bursts_.empty()) serve();
  }
  /// A beat that is written uses up what reads could have.
  void write(Cycle now, std::int64_t beats) {
    refill(now);
    spent_ += per_beat_ * static_cast<double>(beats);
  }

 private:
  static constexpr double kBurstiness = 3;  // beats that a rested memory gives at once

  void refill(Cycle now) {
    if (spent_ < static_cast<double>(now) - kBurstiness * per_beat_) {
      spent_ = static_cast<double>(now) - kBurstiness * per_beat_;
    }
  }
  void serve() {
    const Burst& b = bursts_.front();
    const Cycle begin = std::max(free_, b.asked + latency_);
    refill(begin);
    spent_ += per_beat_ * static_cast<double>(b.beats);
    const double taken = static_cast<double>(begin) + b.gap * static_cast<double>(b.beats - 1);
    end_ = static_cast<Cycle>(std::max(taken, spent_ - 1) + 0.999);
  }

  double per_beat_;
  int latency_;
  std::deque<Burst> bursts_;
  std::size_t outstanding_ = 0;
  Cycle free_ = 0, end_ = 0;
  double spent_ = -1e9;  // time up to which the rate is used up
};

}  // namespace m3vit::accel
