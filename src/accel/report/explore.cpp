#include "accel/report/explore.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <cmath>
#include <limits>

#include "accel/report/shape_model.h"
#include "core/error.h"

namespace m3vit::accel {
namespace {

constexpr double kCeiling = 0.85;

/// The shipped array at another width with so many KiB of weights, activations and residual.
Array sized(int width, int weight_kib, int act_kib) {
  Array a = at_width(kZcu104, width);
  a.weight_words = weight_kib * 1024 / (width * width);
  a.act_words = act_kib * 1024 / width;
  a.res_words = act_kib * 1024 / (2 * width);
  return a;
}

/// What is to be small: seconds, DSPs, block RAMs, UltraRAMs, joules.
std::array<double, 5> costs(const ExploreResult& r) {
  return {r.frame.time.cycles / r.point.clock_hz, double(r.device.dsp), double(r.device.bram36), double(r.device.uram),
          r.energy.total()};
}
bool beats(const ExploreResult& a, const ExploreResult& b) {
  const std::array<double, 5> x = costs(a);
  const std::array<double, 5> y = costs(b);
  bool better = false;
  for (std::size_t i = 0; i < x.size(); ++i) {
    if (x[i] > y[i]) return false;
    better = better || x[i] < y[i];
  }
  return better;
}

}  // namespace

std::vector<ExplorePoint> explore_points(const ExploreOptions& o) {
  std::vector<ExplorePoint> points;
  for (const int width : o.widths) {
    for (const int weights : o.weight_kib) {
      for (const int act : o.act_kib) {
        for (const int slots : o.slots) {
          for (const double clock : o.clocks) points.push_back({sized(width, weights, act), slots, clock});
        }
      }
    }
  }
  return points;
}

std::vector<ExploreResult> explore(const ExploreOptions& options, const std::function<void()>& progress) {
  const QuantModel shapes = shape_model(options.config);
  std::vector<ExploreResult> results;
  for (const ExplorePoint& point : explore_points(options)) {
    ExploreResult& r = results.emplace_back();
    r.point = point;
    r.device = device_share(point.array);
    r.fits = r.device.dsp <= kCeiling * kXczu7ev.dsp && r.device.bram36 <= kCeiling * kXczu7ev.bram36 &&
             r.device.uram <= kCeiling * kXczu7ev.uram;
    try {
      r.frame = encoder_cost(shapes, {.array = point.array, .expert_slots = point.slots},
                             cost_at(point.clock_hz, options.bytes_per_second));
      r.energy = frame_energy(r.frame.time, options.energy, point.clock_hz);
    } catch (const Error& e) {
      r.refused = e.parts().field + ": " + e.parts().wanted + ", needs " + e.parts().found;
      r.fits = false;
    }
    if (progress) progress();
  }
  for (std::size_t i = 0; i < results.size(); ++i) {
    const auto in_its_way = [&](std::size_t j) {
      return results[j].fits && (beats(results[j], results[i]) || (j < i && costs(results[j]) == costs(results[i])));
    };
    ExploreResult& r = results[i];
    r.pareto = r.fits;
    for (std::size_t j = 0; j < results.size() && r.pareto; ++j) r.pareto = !in_its_way(j);
  }
  return results;
}

Report explore_report(const std::string& title, const std::vector<ExploreResult>& results) {
  Report report;
  report.title = title;
  const auto fits = std::count_if(results.begin(), results.end(), [](const ExploreResult& r) { return r.fits; });
  const auto refused =
      std::count_if(results.begin(), results.end(), [](const ExploreResult& r) { return !r.refused.empty(); });
  report.preface = {
      fmt::format("{} arrays: the model fits {}, of these {} take at most {:.0f} % of an XCZU7EV's DSPs, "
                  "block RAMs and UltraRAMs.",
                  results.size(), static_cast<long>(results.size()) - refused, fits, 100 * kCeiling),
      "Resources are estimated from sizes; scripts/rtl_resources.py has Yosys count them. Nothing is placed "
      "or routed, so a clock is an assumption."};
  Table t{"front",
          "arrays that no other beats in time, DSPs, memories and energy at once",
          {{"width", "W"},
           {"weight_words", "WeightWords"},
           {"act_words", "ActWords"},
           {"res_words", "ResWords"},
           {"slots", "slots"},
           {"mhz", "MHz"},
           {"cycles", "cycles"},
           {"ms", "ms"},
           {"utilisation", "MACs used"},
           {"dsp", "DSP"},
           {"bram36", "BRAM36"},
           {"uram", "URAM"},
           {"energy_mj", "mJ"}},
          {},
          {}};
  std::vector<const ExploreResult*> front;
  for (const ExploreResult& r : results) {
    if (r.pareto) front.push_back(&r);
  }
  std::stable_sort(front.begin(), front.end(), [](const ExploreResult* a, const ExploreResult* b) {
    return a->frame.time.cycles / a->point.clock_hz < b->frame.time.cycles / b->point.clock_hz;
  });
  for (const ExploreResult* r : front) {
    const Array& a = r->point.array;
    const Timeline& f = r->frame.time;
    t.rows.push_back({number(a.width, How::kCounted), number(a.weight_words, How::kCounted),
                      number(a.act_words, How::kCounted), number(a.res_words, How::kCounted),
                      number(r->frame.experts ? r->frame.experts->slots : 0, How::kCounted),
                      number(r->point.clock_hz * 1e-6, How::kModelled), number(f.cycles, How::kModelled),
                      number(1e3 * f.cycles / r->point.clock_hz, How::kModelled, 2),
                      number(100 * f.utilisation(a), How::kModelled, 1, " %"), number(r->device.dsp, How::kModelled),
                      number(r->device.bram36, How::kModelled), number(r->device.uram, How::kModelled),
                      number(1e3 * r->energy.total(), How::kModelled, 1)});
  }
  report.tables.push_back(std::move(t));

  Figure figure{"pareto", "Time and energy of a frame's encoder", "ms", "mJ", false, {}};
  for (const bool best : {true, false}) {
    Line line{best ? "front" : "others that fit", {}, {}};
    for (const ExploreResult& r : results) {
      if (!r.fits || r.pareto != best) continue;
      line.x.push_back(1e3 * r.frame.time.cycles / r.point.clock_hz);
      line.y.push_back(1e3 * r.energy.total());
      line.x.push_back(std::numeric_limits<double>::quiet_NaN());  // points, not a line
      line.y.push_back(std::numeric_limits<double>::quiet_NaN());
    }
    if (!line.x.empty()) figure.lines.push_back(std::move(line));
  }
  report.figures.push_back(std::move(figure));
  return report;
}

}  // namespace m3vit::accel
