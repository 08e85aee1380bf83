/// Report and exploration: that tables say what was counted, that ratios follow from them, that the page stands alone.
#include "accel/report/report.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <nlohmann/json.hpp>

#include "accel/report/explore.h"
#include "accel/report/published.h"
#include "accel/report/shape_model.h"

namespace m3vit::accel {
namespace {

using testing::HasSubstr;
using testing::Not;

/// A model whose every table is made in a moment.
Config little() {
  Config config = published_tiny();
  config.model.image_size = {64, 64};
  config.model.depth = 2;
  return config;
}

TEST(Energy, IsTheSumOfItsTerms) {
  Timeline t;
  t.cycles = 250e6;
  t.macs = 2e9;
  t.expert_bytes = 3'000'000;
  t.act_read = 5'000'000;
  EnergyModel m = central_energy();
  m = m.with(EnergyModel::kDdr, 100)
          .with(EnergyModel::kChip, 2)
          .with(EnergyModel::kMac, 4)
          .with(EnergyModel::kStatic, 3);
  const Energy e = frame_energy(t, m, 250e6);
  EXPECT_DOUBLE_EQ(e.ddr, 3e6 * 100e-12);
  EXPECT_DOUBLE_EQ(e.chip, 5e6 * 2e-12);
  EXPECT_DOUBLE_EQ(e.mac, 2e9 * 4e-12);
  EXPECT_DOUBLE_EQ(e.rest, 3);
  EXPECT_DOUBLE_EQ(e.total(), e.ddr + e.chip + e.mac + 3);
}

TEST(Energy, CentralConstantsLieInTheirRangesAndNameASource) {
  for (const EnergyConstant& c : central_energy().constants) {
    EXPECT_LT(c.low, c.value) << c.name;
    EXPECT_LT(c.value, c.high) << c.name;
    EXPECT_FALSE(c.source.empty()) << c.name;
  }
}

TEST(Chip, TheShippedArrayIsWhatTheContractSays) {
  const ChipBytes b = chip_bytes(kZcu104);
  EXPECT_EQ(b.weights, 512 * 1024);
  EXPECT_EQ(b.act, 1024 * 1024);
  EXPECT_EQ(b.res, 1024 * 1024);
  EXPECT_EQ(b.params, 32 * 1024);
  EXPECT_EQ(b.lists, 8192 * 50 / 8 + 1024 * 5);
  const DeviceShare d = device_share(kZcu104);
  EXPECT_EQ(d.uram, 64);
  EXPECT_GE(d.dsp, 1024);
  EXPECT_LE(d.dsp, 0.85 * kXczu7ev.dsp);
  EXPECT_GE(d.bram36, 128);
  EXPECT_LE(d.bram36, 0.85 * kXczu7ev.bram36);
}

TEST(Chip, ExpertOrderNeedsLessThanALayersExpertsByThePublishedRatio) {
  for (const Config& config : {published_tiny(), published_small()}) {
    const QuantModel shapes = shape_model(config);
    const Array least = least_array(shapes, kZcu104, {}, 1.05);
    EXPECT_LE(encoder_cost(shapes, {.array = least}, {}).time.cycles, 1.05 * encoder_cost(shapes, {}, {}).time.cycles);
    const FrameCost f = encoder_cost(shapes, {.array = least}, {});
    const ChipBytes all = all_on_chip(f.chip, *f.experts, 16, least);
    EXPECT_GE(layer_bytes(*f.experts, 16, kZcu104), 16LL * 2 * config.model.embed_dim * config.model.embed_dim);
    EXPECT_GE(static_cast<double>(all.total()) / static_cast<double>(f.chip.total()), kPublishedMemory);
  }
}

TEST(Report, RatiosFollowFromTheTablesNumbers) {
  int frames = 0;
  ReportOptions options{.models = {{"little", little()}}};
  const nlohmann::json report = report_json(make_report(options, [&] { ++frames; }));
  EXPECT_EQ(frames, report_stages(options));
  const nlohmann::json& rows = report["tables"]["little_orders"]["rows"];
  ASSERT_EQ(rows.size(), 5U);
  EXPECT_EQ(rows[0]["order"], "expert order");
  EXPECT_EQ(rows[0]["time_ratio"]["value"], 1.0);
  for (const nlohmann::json& row : rows) {
    EXPECT_EQ(row["cycles"]["how"], "modelled");
    EXPECT_EQ(row["ddr_mb"]["how"], "counted");
    EXPECT_NEAR(row["time_ratio"]["value"].get<double>(),
                row["cycles"]["value"].get<double>() / rows[0]["cycles"]["value"].get<double>(), 1e-12);
    EXPECT_NEAR(row["energy_ratio"]["value"].get<double>(),
                row["energy_mj"]["value"].get<double>() / rows[0]["energy_mj"]["value"].get<double>(), 1e-12);
  }
  EXPECT_LT(rows[0]["ddr_mb"]["value"], rows[1]["ddr_mb"]["value"]);
  EXPECT_EQ(rows[4]["tiles"]["value"], 0.0);  // all experts on chip
  // bytes on chip do not grow with the experts but for where the rings of tiles happen to wrap
  const nlohmann::json& experts = report["tables"]["little_experts"]["rows"];
  ASSERT_EQ(experts.size(), 9U);
  EXPECT_EQ(experts[8]["part"]["value"], experts[1]["part"]["value"]);  // the same choices among 16 and 1024
  for (const nlohmann::json& row : experts) {
    EXPECT_LE(row["chip_kib"]["value"].get<double>(), 1.005 * experts[0]["chip_kib"]["value"].get<double>());
  }
  EXPECT_EQ(report["tables"]["published"]["rows"][1]["value"]["value"], kPublishedEnergy);
}

TEST(Report, ADenseModelHasNoTablesOfExperts) {
  Config config = little();
  config.model.moe.reset();
  const nlohmann::json report = report_json(make_report({.models = {{"dense", config}}}));
  EXPECT_EQ(report["tables"]["dense_orders"]["rows"].size(), 1U);
  EXPECT_FALSE(report["tables"].contains("dense_experts"));
}

TEST(Report, ThePageStandsAlone) {
  Report report;
  report.title = "a <b> & c";
  report.tables = {
      {"t", "rows", {{"k", "key"}, {"v", "value"}}, {{words("<x>"), number(1.5, How::kModelled, 1)}}, {"note"}}};
  const std::string page = report_html(report, {"<svg></svg>"});
  EXPECT_THAT(page, HasSubstr("a &lt;b&gt; &amp; c"));
  EXPECT_THAT(page, HasSubstr("<td class=\"w\">&lt;x&gt;</td><td>1.5<sup>m</sup></td>"));
  EXPECT_THAT(page, HasSubstr("<svg></svg>"));
  EXPECT_THAT(page, Not(HasSubstr("<script")));
  EXPECT_THAT(page, Not(HasSubstr("http")));
  EXPECT_THAT(report_text(report), HasSubstr("<x>  1.5 m\n  note\n"));
}

TEST(Explore, NoPointOfTheFrontIsBeatenAndEveryOtherThatFitsIs) {
  ExploreOptions options;
  options.config = little();
  options.bytes_per_second = kDdrPeak * kDdrEfficiency;
  options.weight_kib = {128, 512};
  options.act_kib = {64, 1024};
  int told = 0;
  const std::vector<ExploreResult> results = explore(options, [&] { ++told; });
  EXPECT_EQ(told, static_cast<int>(explore_points(options).size()));
  const auto costs = [](const ExploreResult& r) {
    return std::vector<double>{r.frame.time.cycles / r.point.clock_hz, double(r.device.dsp), double(r.device.bram36),
                               double(r.device.uram), r.energy.total()};
  };
  int front = 0;
  for (std::size_t i = 0; i < results.size(); ++i) {
    if (!results[i].fits) continue;
    bool beaten = false;
    for (std::size_t j = 0; j < results.size(); ++j) {
      if (!results[j].fits || i == j) continue;
      bool worse = false;
      for (std::size_t k = 0; k < 5; ++k) worse = worse || costs(results[j])[k] > costs(results[i])[k];
      beaten = beaten || (!worse && (costs(results[j]) != costs(results[i]) || j < i));
    }
    EXPECT_EQ(results[i].pareto, !beaten);
    front += results[i].pareto ? 1 : 0;
  }
  EXPECT_GT(front, 1);
  const Report report = explore_report("arrays", results);
  EXPECT_EQ(report.tables[0].rows.size(), static_cast<std::size_t>(front));
}

}  // namespace
}  // namespace m3vit::accel
