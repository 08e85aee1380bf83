#include "train/weighting/weighting.h"

#include <nlohmann/json.hpp>

#include "core/error.h"
#include "train/weighting/methods.h"

namespace m3vit {

nlohmann::json TaskWeighting::state() const { return nlohmann::json::object(); }
void TaskWeighting::restore(const nlohmann::json&, const std::string&) {}

nlohmann::json saved(const Eigen::VectorXd& v) { return std::vector<double>(v.data(), v.data() + v.size()); }

Eigen::VectorXd restored(const nlohmann::json& state, const char* key, Eigen::Index size, const std::string& where) {
  const auto it = state.is_object() ? state.find(key) : state.end();
  const bool fits = state.is_object() && it != state.end() && it->is_array() &&
                    static_cast<Eigen::Index>(it->size()) == size &&
                    std::all_of(it->begin(), it->end(), [](const nlohmann::json& v) { return v.is_number(); });
  if (!fits) {
    throw Error{{.where = where,
                 .field = std::string("weighting.") + key,
                 .wanted = std::to_string(size) + " numbers",
                 .found = state.is_object() && it != state.end() ? it->dump() : "nothing"}};
  }
  const auto values = it->get<std::vector<double>>();
  return Eigen::Map<const Eigen::VectorXd>(values.data(), size);
}

std::unique_ptr<TaskWeighting> make_weighting(const WeightingConfig& config, int num_tasks, std::uint64_t seed) {
  switch (config.method) {
    case Weighting::kFixed:
    case Weighting::kUncertainty:
    case Weighting::kDwa:
    case Weighting::kFamo:
      return make_loss_based(config, num_tasks);
    case Weighting::kGradnorm:
    case Weighting::kMgda:
    case Weighting::kPcgrad:
    case Weighting::kCagrad:
    case Weighting::kNashMtl:
    case Weighting::kAlignedMtl:
      break;
  }
  return make_gradient_based(config, num_tasks, seed);
}

}  // namespace m3vit
