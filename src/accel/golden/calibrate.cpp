#include "accel/golden/calibrate.h"

#include <algorithm>
#include <cassert>
#include <cmath>

namespace m3vit::accel {
namespace {

// Of each pass: rows evenly spaced, and those with the largest values beside what their channels hold, so that what is
// rare in a picture (a person's hand) weighs when ranges are cut.
constexpr std::size_t kEvenRows = 48;
constexpr std::size_t kPeakRows = 24;

bool of_head(Probe p) { return p == Probe::kHeadNorm || p == Probe::kConv || p == Probe::kOutput; }

}  // namespace

void Samples::add(std::span<const float> values, int row_channels) {
  assert(channels == 0 || channels == row_channels);
  channels = row_channels;
  const auto c = static_cast<std::size_t>(channels);
  absmax.resize(c);
  const std::size_t n = values.size() / c;
  for (std::size_t r = 0; r < n; ++r) {
    for (std::size_t i = 0; i < c; ++i) absmax[i] = std::max(absmax[i], std::abs(values[r * c + i]));
  }
  const auto keep = [&](std::size_t r) {
    rows.insert(rows.end(), values.begin() + static_cast<std::ptrdiff_t>(r * c),
                values.begin() + static_cast<std::ptrdiff_t>((r + 1) * c));
  };
  for (std::size_t r = 0; r < n; r += std::max<std::size_t>(1, n / kEvenRows)) keep(r);
  std::vector<std::pair<float, std::size_t>> peaks(n);
  for (std::size_t r = 0; r < n; ++r) {
    peaks[r].second = r;
    for (std::size_t i = 0; i < c; ++i) {
      if (absmax[i] > 0.0F) peaks[r].first = std::max(peaks[r].first, std::abs(values[r * c + i]) / absmax[i]);
    }
  }
  const auto most = peaks.begin() + static_cast<std::ptrdiff_t>(std::min(n, kPeakRows));
  std::partial_sort(peaks.begin(), most, peaks.end(), std::greater<>());
  for (auto p = peaks.begin(); p != most; ++p) keep(p->second);
}

const Samples& Ranges::at(Probe probe, int index) const { return samples.at({probe, index}); }

Ranges calibrate(const FloatModel& model, std::span<const std::vector<float>> frames,
                 const std::function<void()>& done) {
  Ranges ranges;
  for (const std::vector<float>& frame : frames) {
    for (const int task : model.tasks) {
      float_forward(model, task, frame, [&](Probe probe, int index, std::span<const float> values, int channels) {
        ranges.samples[{probe, of_head(probe) ? Ranges::head_index(task, index) : index}].add(values, channels);
      });
      if (done) done();
    }
  }
  return ranges;
}

}  // namespace m3vit::accel
