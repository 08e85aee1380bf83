#pragma once
/// What every testbench needs: a clock, random numbers whose seed is printed, signals as bytes, and the report of the
/// first difference.
#include <gtest/gtest.h>
#include <verilated.h>

#include <cerrno>
#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <memory>
#include <random>
#include <string>
#include <vector>

namespace m3vit::rtl {

/// Seeds of a test's rounds: 1 … n, or the one of M3VIT_SEED.
inline std::vector<std::uint32_t> seeds(std::uint32_t n) {
  if (const char* only = std::getenv("M3VIT_SEED")) return {static_cast<std::uint32_t>(std::stoul(only))};
  std::vector<std::uint32_t> all(n);
  for (std::uint32_t i = 0; i < n; ++i) all[i] = i + 1;
  return all;
}

class Random {
 public:
  explicit Random(std::uint32_t seed) : seed_(seed), engine_(seed) {}
  std::uint32_t seed() const { return seed_; }
  bool coin(double p) { return static_cast<double>(engine_()) < p * 4294967296.0; }
  /// Uniform in [low, high].
  std::int64_t in(std::int64_t low, std::int64_t high) {
    return low + static_cast<std::int64_t>(wide() % static_cast<std::uint64_t>(high - low + 1));
  }
  /// Uniform, but one in eight is an end of the range.
  std::int64_t edgy(std::int64_t low, std::int64_t high) {
    if (engine_() % 8 == 0) return engine_() % 2 == 0 ? low : high;
    return in(low, high);
  }

 private:
  std::uint64_t wide() { return std::uint64_t{engine_()} << 32U | engine_(); }
  std::uint32_t seed_;
  std::mt19937 engine_;
};

/// Bytes of a signal of any width: Verilator keeps them little-endian, without gaps.
template <class Signal>
void put_bytes(Signal& signal, std::size_t offset, const void* from, std::size_t bytes) {
  ASSERT_LE(offset + bytes, sizeof signal);
  std::memcpy(reinterpret_cast<char*>(&signal) + offset, from, bytes);
}
template <class Value, class Signal>
Value get(const Signal& signal, std::size_t index) {
  Value v{};
  std::memcpy(&v, reinterpret_cast<const char*>(&signal) + index * sizeof(Value), sizeof v);
  return v;
}

/// A verilated module with its clock. `Dut` has clk_i; after `tick` the outputs are those of the new cycle.
template <class Dut>
class Bench {
 public:
  Bench() : dut_(std::make_unique<Dut>(&context_)) {}
  ~Bench() { dut_->final(); }
  Bench(const Bench&) = delete;
  Bench& operator=(const Bench&) = delete;
  Dut* operator->() { return dut_.get(); }
  Dut& operator*() { return *dut_; }
  std::uint64_t cycle() const { return cycle_; }
  /// Outputs that follow inputs within a cycle.
  void settle() { dut_->eval(); }
  void tick() {
    dut_->clk_i = 1;
    dut_->eval();
    dut_->clk_i = 0;
    dut_->eval();
    ++cycle_;
  }
  void reset() {
    dut_->clk_i = 0;
    dut_->rst_ni = 0;
    tick();
    tick();
    dut_->rst_ni = 1;
    settle();
  }

 private:
  VerilatedContext context_;
  std::unique_ptr<Dut> dut_;
  std::uint64_t cycle_ = 0;
};

/// The first difference of a lock-step comparison, with the command that repeats it.
template <class Got, class Want>
testing::AssertionResult same(const Got& got, const Want& want, std::uint64_t cycle, const std::string& unit,
                              std::int64_t index, std::uint32_t seed) {
  if (got == want) return testing::AssertionSuccess();
  const auto* test = testing::UnitTest::GetInstance()->current_test_info();
  return testing::AssertionFailure() << "cycle " << cycle << ", " << unit << "[" << index << "]: got " << +got
                                     << ", want " << +want << "\nrepeat: M3VIT_SEED=" << seed << " bin/"
                                     << program_invocation_short_name << " --gtest_filter=" << test->test_suite_name()
                                     << "." << test->name();
}

}  // namespace m3vit::rtl
