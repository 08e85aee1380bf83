#pragma once
/// One table of matrix problems, their operands, and the answer from double-precision loops: for the kernel tests and
/// the kernel bench.
#include <algorithm>
#include <array>
#include <cmath>
#include <cstring>
#include <limits>
#include <string>
#include <utility>
#include <vector>

#include "core/rng.h"
#include "runtime/guarded.h"
#include "runtime/kernels/kernels.h"
#include "runtime/kernels/panels.h"

namespace m3vit::testing {

struct GemmProblem {
  Precision precision = Precision::kF32;
  RowSource::Kind kind = RowSource::Kind::kRows;
  std::size_t m = 0;  ///< kPatch, and kTaps with a width: of height and width
  std::size_t n = 0, segment_k = 0;
  int height = 0, width = 0, patch = 0;  ///< kTaps: each pixel's 3×3 neighbours; without a width, any four rows
  Epilogue::Activation activation = Epilogue::Activation::kNone;
  Epilogue::Store store = Epilogue::Store::kSet;
  bool bf16_out = false;

  std::size_t segments() const {
    switch (kind) {
      case RowSource::Kind::kTaps:
        return width > 0 ? 9 : 4;
      case RowSource::Kind::kPatch:
        return 3 * static_cast<std::size_t>(patch);
      case RowSource::Kind::kRows:
      case RowSource::Kind::kIndexed:
      case RowSource::Kind::kPlaces:
        break;
    }
    return 1;
  }
  std::size_t k() const { return segments() * segment_k; }
  std::string to_string() const {
    constexpr const char* kPrecisions[] = {"f32", "bf16", "int8"};
    constexpr const char* kKinds[] = {"rows", "indexed", "places", "taps", "patch"};
    constexpr const char* kActivations[] = {"none", "gelu", "relu"};
    constexpr const char* kStores[] = {"set", "add", "scatter_add"};
    return std::string(kPrecisions[static_cast<int>(precision)]) + " " + kKinds[static_cast<int>(kind)] +
           " m=" + std::to_string(m) + " n=" + std::to_string(n) + " k=" + std::to_string(segments()) + "·" +
           std::to_string(segment_k) + " " + kActivations[static_cast<int>(activation)] + " " +
           kStores[static_cast<int>(store)] + (bf16_out ? " bf16" : "");
  }
};

inline constexpr Precision kPrecisions[] = {Precision::kF32, Precision::kBf16, Precision::kInt8};

/// Every tile edge of every precision and row kind, with the epilogues taken in turn.
inline std::vector<GemmProblem> gemm_problems() {
  using Kind = RowSource::Kind;
  std::vector<GemmProblem> all;
  for (const Precision p : kPrecisions) {
    std::vector<GemmProblem> shapes;
    for (const std::size_t m : {1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 16, 24, 29, 33}) {
      for (const std::size_t n : {1, 31, 32, 33, 67}) shapes.push_back({p, Kind::kRows, m, n, 17});
    }
    for (const std::size_t n : {2, 7, 8, 9, 15, 16, 17, 48, 64, 96}) shapes.push_back({p, Kind::kIndexed, 13, n, 5});
    for (const std::size_t k : {1, 2, 3, 4, 63, 64, 65, 127, 128, 129}) shapes.push_back({p, Kind::kRows, 35, 40, k});
    for (const std::size_t m : {1, 8, 12, 35, 67, 195}) shapes.push_back({p, Kind::kIndexed, m, 65, 66});
    for (const std::size_t m : {1, 11, 29}) shapes.push_back({p, Kind::kPlaces, m, 34, 9});
    shapes.push_back({p, Kind::kTaps, 25, 35, 6});
    shapes.push_back({p, Kind::kTaps, 97, 33, 67});
    for (const auto& [h, w, k] : {std::array{1, 1, 3}, {1, 5, 4}, {5, 1, 2}, {2, 2, 1}, {4, 7, 5}, {6, 40, 68}}) {
      const auto pixels = static_cast<std::size_t>(h) * static_cast<std::size_t>(w);
      shapes.push_back({p, Kind::kTaps, pixels, 40, static_cast<std::size_t>(k), h, w});
    }
    if (p != Precision::kInt8) {
      for (const int patch : {2, 3, 16}) {
        const auto size = static_cast<std::size_t>(patch);
        shapes.push_back({p, Kind::kPatch, 6, 33, size, 2 * patch, 3 * patch, patch});
      }
    }
    constexpr Epilogue::Activation kActivations[] = {Epilogue::Activation::kNone, Epilogue::Activation::kGelu,
                                                     Epilogue::Activation::kRelu};
    constexpr Epilogue::Store kStores[] = {Epilogue::Store::kSet, Epilogue::Store::kAdd, Epilogue::Store::kScatterAdd};
    for (std::size_t i = 0; i < shapes.size(); ++i) {
      for (std::size_t e = 0; e < 2; ++e) {  // two of the twelve epilogues each
        GemmProblem problem = shapes[i];
        const std::size_t at = (2 * i + e) % 12;
        problem.activation = kActivations[at % 3];
        problem.bf16_out = at / 3 == 3;
        problem.store = problem.bf16_out ? Epilogue::Store::kSet : kStores[at / 3];
        all.push_back(problem);
      }
    }
  }
  return all;
}

/// Random operands of a problem. Elements past a row's end are what kernels.h allows at worst.
class GemmCase {
 public:
  GemmCase(const GemmProblem& problem, std::uint64_t seed) : problem_(problem), rng_(seed) {
    make_a();
    make_b();
    make_c();
  }

  GemmCase(const GemmCase&) = delete;
  GemmCase& operator=(const GemmCase&) = delete;

  const GemmProblem& problem() const { return problem_; }
  const Gemm& gemm() const { return gemm_; }
  /// C of the case; reset() restores what it held before the GEMM.
  Guarded<std::uint8_t>& c() { return c_; }
  void reset() { std::copy(before_.begin(), before_.end(), c_.data()); }

  /// The first wrong element of C in words, or "". `step`: looks at the sums of every step-th row of A only.
  std::string check(std::size_t step = 1) const {
    std::vector<double> want(rows_of_c_ * problem_.n);
    std::vector<double> bound(want.size(), 0.0);
    for (std::size_t i = 0; i < want.size(); ++i) want[i] = element(before_.data(), i / problem_.n, i % problem_.n);
    for (std::size_t r = 0; r < problem_.m; ++r) {
      const bool look = r % step == 0;
      for (std::size_t j = 0; j < problem_.n; ++j) {
        if (look) add(r, j, want, bound);
        if (!look) bound[row_of_c(r) * problem_.n + j] = std::numeric_limits<double>::infinity();
      }
    }
    for (std::size_t i = 0; i < want.size(); ++i) {
      if (std::isinf(bound[i])) continue;
      const double got = element(c_.data(), i / problem_.n, i % problem_.n);
      if (!(std::abs(got - want[i]) <= bound[i])) {
        return problem_.to_string() + ": c[" + std::to_string(i / problem_.n) + "][" + std::to_string(i % problem_.n) +
               "] is " + std::to_string(got) + ", want " + std::to_string(want[i]) + " ± " + std::to_string(bound[i]);
      }
    }
    if (!c_.intact()) return problem_.to_string() + ": wrote beside C";
    return other_bytes();
  }

 private:
  /// γ_k of Higham for sums of k terms, with a few more for scales and bias.
  static double gamma(std::size_t k) {
    const double ku = static_cast<double>(k + 4) * 0x1p-24;
    return ku / (1 - ku);
  }

  void make_a() {
    const Precision p = problem_.precision;
    const bool planes = problem_.kind == RowSource::Kind::kPatch;
    const bool map = problem_.kind == RowSource::Kind::kTaps && problem_.width > 0;
    const std::size_t row = problem_.segment_k;
    pool_ = map ? problem_.m : problem_.m + 4;
    const std::size_t stride = row_bytes(row, p) + (p == Precision::kF32 ? 12 : 4);
    const std::size_t elements =
        planes ? 3 * static_cast<std::size_t>(problem_.height) * static_cast<std::size_t>(problem_.width) : 0;
    a_.assign(planes ? elements * element_bytes(p) + 4 : pool_ * stride, std::byte{0x33});  // 0x3333 is finite
    zeros_.assign(row_bytes(row, p), p == Precision::kInt8 ? std::byte{128} : std::byte{0});
    for (std::size_t r = 0; r < (planes ? 1 : pool_); ++r) {
      for (std::size_t i = 0; i < (planes ? elements : row); ++i) {
        std::byte* at = a_.data() + r * stride + i * element_bytes(p);
        store(at, p == Precision::kInt8 ? static_cast<float>(rng_.below(256)) : static_cast<float>(rng_.normal()), p);
      }
      a_scale_.push_back(static_cast<float>(std::exp(rng_.normal())) / 128.0F);
    }
    const std::size_t entries = problem_.m * problem_.segments();
    for (std::size_t i = 0; i < entries; ++i) {
      index_.push_back(map ? neighbour(i / 9, i % 9) : static_cast<std::int32_t>(rng_.below(pool_)));
    }
    if (problem_.kind == RowSource::Kind::kTaps && !map) index_[rng_.below(entries)] = -1;

    RowSource& a = gemm_.a;
    a.kind = problem_.kind;
    a.base = a_.data();
    a.stride = stride;
    a.segments = problem_.segments();
    a.segment_k = row;
    a.index = index_.data();
    a.height = problem_.height;
    a.width = problem_.width;
    a.patch = problem_.patch;
    a.zeros = zeros_.data();
    a.scale = a_scale_.data();
    if (problem_.kind != RowSource::Kind::kPlaces) return;
    for (const std::int32_t r : index_) {
      places_.push_back(a_.data() + static_cast<std::size_t>(r) * stride);
      place_scale_.push_back(a_scale_[static_cast<std::size_t>(r)]);
    }
    a.places = places_.data();
    a.scale = place_scale_.data();
  }

  /// Of a pixel of the map, or −1 outside it.
  std::int32_t neighbour(std::size_t pixel, std::size_t tap) const {
    const int y = static_cast<int>(pixel) / problem_.width + static_cast<int>(tap) / 3 - 1;
    const int x = static_cast<int>(pixel) % problem_.width + static_cast<int>(tap) % 3 - 1;
    return y < 0 || y >= problem_.height || x < 0 || x >= problem_.width ? -1 : y * problem_.width + x;
  }

  void make_b() {
    const Precision p = problem_.precision;
    w_.resize(problem_.n * problem_.k());
    for (float& v : w_) v = static_cast<float>(rng_.normal());
    // Off a cache line, as in a file held in memory.
    panels_ = Guarded<std::uint8_t>(packed_bytes(problem_.segment_k, problem_.n, p, problem_.segments()), 16);
    w_scale_.resize(padded_columns(problem_.n));
    sums_.resize(padded_columns(problem_.n) * problem_.segments());
    pack_panels(p, problem_.segments(), problem_.segment_k, problem_.n,
                [&](std::size_t i, std::size_t j) { return w_[j * problem_.k() + i]; },
                {.panels = panels_.data(), .scale = w_scale_.data(), .sums = sums_.data()});
    gemm_.b = {panels_.data(), w_scale_.data(), sums_.data()};
  }

  void make_c() {
    const bool scatter = problem_.store == Epilogue::Store::kScatterAdd;
    rows_of_c_ = scatter ? problem_.m + 3 : problem_.m;
    c_stride_ = problem_.bf16_out ? row_bytes(problem_.n, Precision::kBf16) + 4 : 4 * problem_.n + 20;
    before_.resize(rows_of_c_ * c_stride_);
    for (std::size_t i = 0; i < before_.size() / sizeof(float); ++i) {
      const auto v = static_cast<float>(rng_.normal());
      std::memcpy(before_.data() + i * sizeof(float), &v, sizeof(v));
    }
    c_ = Guarded<std::uint8_t>(before_.size());
    reset();
    for (std::size_t j = 0; j < problem_.n; ++j) bias_.push_back(static_cast<float>(rng_.normal()));
    for (std::size_t r = 0; r < problem_.m; ++r) {
      to_.push_back(static_cast<std::int32_t>(rng_.below(rows_of_c_)));
      gate_.push_back(static_cast<float>(rng_.normal()));
    }
    gemm_.precision = problem_.precision;
    gemm_.m = problem_.m;
    gemm_.n = problem_.n;
    gemm_.out.bias = bias_.data();
    gemm_.out.activation = problem_.activation;
    gemm_.out.store = problem_.store;
    gemm_.out.c = c_.data();
    gemm_.out.bf16 = problem_.bf16_out;
    gemm_.out.stride = c_stride_;
    gemm_.out.index = scatter ? to_.data() : nullptr;
    gemm_.out.scale = scatter ? gate_.data() : nullptr;
  }

  static void store(std::byte* at, float v, Precision p) {
    if (p == Precision::kF32) {
      std::memcpy(at, &v, sizeof(v));
    } else if (p == Precision::kBf16) {
      const std::uint16_t bits = to_bf16(v);
      std::memcpy(at, &bits, sizeof(bits));
    } else {
      *at = static_cast<std::byte>(v);
    }
  }
  /// An element of A as the number it stands for, without its scale.
  static double load(const std::byte* at, Precision p) {
    if (p == Precision::kInt8) return static_cast<double>(*at) - 128.0;
    float v;
    std::uint16_t bits;
    if (p == Precision::kF32) {
      std::memcpy(&v, at, sizeof(v));
      return v;
    }
    std::memcpy(&bits, at, sizeof(bits));
    return from_bf16(bits);
  }

  /// Element i of segment s of A's row r, and its scale; written without the runtime's own row arithmetic.
  std::pair<double, double> a_element(std::size_t r, std::size_t s, std::size_t i) const {
    const Precision p = problem_.precision;
    std::int64_t row = static_cast<std::int64_t>(r);
    switch (problem_.kind) {
      case RowSource::Kind::kRows:
        break;
      case RowSource::Kind::kIndexed:
      case RowSource::Kind::kPlaces:
        row = index_[r];
        break;
      case RowSource::Kind::kTaps:
        row = index_[r * problem_.segments() + s];
        break;
      case RowSource::Kind::kPatch: {
        const std::int64_t across = problem_.width / problem_.patch;
        const auto plane = static_cast<std::int64_t>(s) / problem_.patch;
        const std::int64_t y = row / across * problem_.patch + static_cast<std::int64_t>(s) % problem_.patch;
        const std::int64_t x = row % across * problem_.patch + static_cast<std::int64_t>(i);
        const std::int64_t at = (plane * problem_.height + y) * problem_.width + x;
        return {load(a_.data() + static_cast<std::size_t>(at) * element_bytes(p), p), 1.0};
      }
    }
    if (row < 0) return {0.0, 0.0};
    const auto at = static_cast<std::size_t>(row);
    return {load(a_.data() + at * gemm_.a.stride + i * element_bytes(p), p),
            p == Precision::kInt8 ? double{a_scale_[at]} : 1.0};
  }

  void add(std::size_t r, std::size_t j, std::vector<double>& want, std::vector<double>& bound) const {
    const Precision p = problem_.precision;
    const double w_scale = p == Precision::kInt8 ? double{w_scale_[j]} : 1.0;
    double v = bias_[j];
    double magnitude = std::abs(v);
    for (std::size_t s = 0; s < problem_.segments(); ++s) {
      for (std::size_t i = 0; i < problem_.segment_k; ++i) {
        const double w = weight(j, s * problem_.segment_k + i);
        const auto [a, a_scale] = a_element(r, s, i);
        const double term = a * a_scale * w * w_scale;
        v += term;
        magnitude += std::abs(term);
      }
    }
    // int8 sums are exact within a segment; bf16 products of a pair may be rounded once more.
    double error = gamma(p == Precision::kInt8 ? problem_.segments() : problem_.k()) * 1.5 * magnitude + 1e-30;
    if (problem_.activation == Epilogue::Activation::kGelu) {
      v = 0.5 * v * (1.0 + std::erf(v / std::sqrt(2.0)));
      error = 1.13 * error + (problem_.bf16_out ? 1e-4 : 1e-6) * (std::abs(v) + 1.0);  // GELU is 1.13-Lipschitz
    }
    if (problem_.activation == Epilogue::Activation::kRelu) v = std::max(v, 0.0);
    const bool scatter = problem_.store == Epilogue::Store::kScatterAdd;
    const std::size_t at = row_of_c(r) * problem_.n + j;
    const double gate = scatter ? double{gate_[r]} : 1.0;
    if (problem_.bf16_out) error += 0x1p-8 * (std::abs(v) + error);
    const double before = problem_.store == Epilogue::Store::kSet ? 0.0 : want[at];
    error = error * std::abs(gate) + 4 * 0x1p-24 * (std::abs(before) + std::abs(gate * v));
    want[at] = before + gate * v;
    bound[at] += error;
  }

  std::size_t row_of_c(std::size_t r) const {
    return problem_.store == Epilogue::Store::kScatterAdd ? static_cast<std::size_t>(to_[r]) : r;
  }

  /// The weight that the kernel is to use: rounded as kernels.h says.
  double weight(std::size_t j, std::size_t i) const {
    const float v = w_[j * problem_.k() + i];
    if (problem_.precision == Precision::kF32) return v;
    if (problem_.precision == Precision::kBf16) return from_bf16(to_bf16(v));
    return std::nearbyint(v / w_scale_[j]);
  }

  double element(const std::uint8_t* c, std::size_t row, std::size_t column) const {
    const std::size_t at = row * c_stride_ + column * (problem_.bf16_out ? 2 : 4);
    float v;
    std::uint16_t bits;
    if (problem_.bf16_out) {
      std::memcpy(&bits, c + at, sizeof(bits));
      return from_bf16(bits);
    }
    std::memcpy(&v, c + at, sizeof(v));
    return v;
  }
  /// Between the rows of C nothing may change, but for the zero that fills a bf16 group.
  std::string other_bytes() const {
    for (std::size_t r = 0; r < rows_of_c_; ++r) {
      for (std::size_t i = problem_.n * (problem_.bf16_out ? 2 : 4); i < c_stride_; ++i) {
        const bool pad = problem_.bf16_out && i < row_bytes(problem_.n, Precision::kBf16);
        if (c_[r * c_stride_ + i] != (pad ? 0 : before_[r * c_stride_ + i])) {
          return problem_.to_string() + ": byte " + std::to_string(i) + " past row " + std::to_string(r) + " changed";
        }
      }
    }
    return {};
  }

  GemmProblem problem_;
  Rng rng_;
  Gemm gemm_;
  std::size_t pool_ = 0, rows_of_c_ = 0, c_stride_ = 0;
  std::vector<std::byte> a_, zeros_;
  std::vector<float> a_scale_, w_, w_scale_, bias_, gate_;
  std::vector<std::int32_t> index_, to_, sums_;
  std::vector<const std::byte*> places_;
  std::vector<float> place_scale_;
  Guarded<std::uint8_t> panels_{0}, c_{0};
  std::vector<std::uint8_t> before_;
};

}  // namespace m3vit::testing
