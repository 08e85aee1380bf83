/// Any text is a configuration or an Error: nothing crashes, hangs, overflows or changes on its way out and back in.
#include <cstdint>
#include <cstdlib>
#include <nlohmann/json.hpp>
#include <string>
#include <string_view>
#include <vector>

#include "core/config_yaml.h"
#include "core/error.h"
#include "core/model_cost.h"

namespace {

using namespace m3vit;

void require(bool holds) {
  if (!holds) std::abort();
}

void check(Config config) {
  const nlohmann::json json = to_json(config);
  require(to_json(config_from_json(json, {})) == json);
  require(to_json(config_from_text(json.dump(), "round trip")) == json);
  require(to_json(parse_config(to_yaml(config), "round trip")) == json);
  for (TaskConfig& task : config.tasks) {
    if (task.outputs == 0) task.outputs = task_spec(task.id()).default_outputs > 0 ? 0 : 21;
  }
  const ModelCost cost = model_cost(config);
  require(cost.params > 0);
  for (const TaskCost& task : cost.tasks) require(task.total > 0 && task.active_params <= cost.params);
}

}  // namespace

/// The input is YAML; after a NUL each further piece, up to the next NUL, is a `--set`. With a first byte 'J' it is
/// a metadata's JSON.
extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  std::string_view text(reinterpret_cast<const char*>(data), size);
  try {
    if (text.starts_with('J')) {
      check(config_from_text(text.substr(1), "fuzz.json"));
      return 0;
    }
    const std::string_view yaml = text.substr(0, text.find('\0'));
    text.remove_prefix(yaml.size());
    std::vector<std::string> overrides;
    while (!text.empty()) {
      text.remove_prefix(1);
      overrides.emplace_back(text.substr(0, text.find('\0')));
      text.remove_prefix(overrides.back().size());
    }
    check(parse_config(yaml, "fuzz.yaml", overrides));
  } catch (const Error&) {
  }
  return 0;
}
