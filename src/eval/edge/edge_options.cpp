#include "eval/edge/edge_options.h"

#include <nlohmann/json.hpp>

#include "core/error.h"

namespace m3vit {
namespace {

/// k/(n+1), k = 1 … n.
std::vector<float> uniform_thresholds(int n) {
  std::vector<float> t;
  for (int k = 1; k <= n; ++k) t.push_back(static_cast<float>(k) / static_cast<float>(n + 1));
  return t;
}

/// HED.txt of the edge toolboxes: .001, .01, .02 … .99, .999.
std::vector<float> hed_thresholds() {
  std::vector<float> t{0.001F};
  for (int k = 1; k <= 99; ++k) t.push_back(static_cast<float>(k) / 100.0F);
  t.push_back(0.999F);
  return t;
}

EdgeOptions custom(const EvalConfig& config) {
  if (!(config.edge_max_dist >= 0 && config.edge_max_dist <= 1)) {
    throw Error({.where = "eval",
                 .field = "edge_max_dist",
                 .wanted = "0 … 1 (share of the image diagonal)",
                 .found = std::to_string(config.edge_max_dist)});
  }
  if (config.edge_thresholds < 1 || config.edge_thresholds > 9999) {
    throw Error({.where = "eval",
                 .field = "edge_thresholds",
                 .wanted = "1 … 9999",
                 .found = std::to_string(config.edge_thresholds)});
  }
  return {.nms = config.edge_nms,
          .thresholds = uniform_thresholds(config.edge_thresholds),
          .threshold_rule = "k/(n+1)",
          .max_dist = config.edge_max_dist,
          .image_set = ""};
}

constexpr std::string_view kHedRule = ".001, .01 … .99, .999";

}  // namespace

EdgeOptions edge_options(const EvalConfig& config) {
  switch (config.edge_setting) {
    case EdgeSetting::kCustom:
      return custom(config);
    case EdgeSetting::kSurvey:
      return {.thresholds = uniform_thresholds(99), .threshold_rule = "k/(n+1)", .image_set = "test_new"};
    case EdgeSetting::kAstmt:
      return {.nms = true, .thresholds = hed_thresholds(), .threshold_rule = kHedRule, .image_set = "val"};
    case EdgeSetting::kBdetPascal:
      return {.nms = true, .thresholds = hed_thresholds(), .threshold_rule = kHedRule, .image_set = "test_new"};
    case EdgeSetting::kBdetNyud:
      return {.nms = true,
              .outline = true,
              .thresholds = hed_thresholds(),
              .threshold_rule = kHedRule,
              .max_dist = 0.011,
              .image_set = "val"};
  }
  throw Error({.where = "eval", .field = "edge_setting", .wanted = "a known setting"});
}

nlohmann::json edge_options_json(const EvalConfig& config) {
  constexpr const char* kNames[] = {"custom", "survey", "astmt", "bdet_pascal", "bdet_nyud"};
  const EdgeOptions o = edge_options(config);
  return {{"setting", kNames[static_cast<std::size_t>(config.edge_setting)]},
          {"reader", o.nms ? "nms" : "plain"},
          {"thresholds", o.threshold_rule},
          {"count", o.thresholds.size()},
          {"max_dist", o.max_dist},
          {"truth", o.outline ? "outline" : "lines"},
          {"image_set", o.image_set}};
}

}  // namespace m3vit
