#pragma once
/// Private to this room: one maker a family.
#include "train/weighting/weighting.h"

namespace m3vit {

/// fixed, uncertainty, dwa, famo.
std::unique_ptr<TaskWeighting> make_loss_based(const WeightingConfig& config, int num_tasks);
/// gradnorm, mgda, pcgrad, cagrad, nash_mtl, aligned_mtl.
std::unique_ptr<TaskWeighting> make_gradient_based(const WeightingConfig& config, int num_tasks, std::uint64_t seed);

/// A vector of T numbers to and from a state; throws Error naming `where` and the key.
nlohmann::json saved(const Eigen::VectorXd& v);
Eigen::VectorXd restored(const nlohmann::json& state, const char* key, Eigen::Index size, const std::string& where);

}  // namespace m3vit
