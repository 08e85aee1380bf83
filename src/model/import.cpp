#include "model/import.h"

#include <fmt/format.h>

#include <map>
#include <nlohmann/json.hpp>

#include "core/error.h"
#include "core/rng.h"
#include "model/moe.h"
#include "model/weights.h"

namespace m3vit {
namespace {

using torch::Tensor;

std::string shape_text(const Tensor& t) { return fmt::format("[{}]", fmt::join(t.sizes().vec(), ", ")); }

struct Source {
  Tensor tensor;
  std::string name;  ///< in the file
  bool used = false;
};

/// The file's tensors under our names: DataParallel's "module." removed, "backbone." put before a bare ViT's names.
std::map<std::string, Source> by_our_names(const StateDict& file) {
  std::vector<std::string> names;
  bool bare = true;
  for (const auto& [name, tensor] : file.tensors) {
    std::string_view n = name;
    while (n.starts_with("module.")) n.remove_prefix(7);
    bare = bare && !n.starts_with("backbone.") && !n.starts_with("decoders.");
    names.emplace_back(n);
  }
  std::map<std::string, Source> result;
  for (std::size_t i = 0; i < names.size(); ++i) {
    const auto [it, fresh] = result.emplace(bare ? "backbone." + names[i] : names[i],
                                            Source{.tensor = file.tensors[i].second, .name = file.tensors[i].first});
    if (!fresh) {
      throw Error{{.where = file.where,
                   .field = it->first,
                   .wanted = "one tensor of that name",
                   .found = it->second.name + " and " + file.tensors[i].first}};
    }
  }
  return result;
}

/// Why a tensor of the file has no place in any network of ours; nullptr: it should have one.
const char* reason_to_ignore(std::string_view name) {
  struct Rule {
    std::string_view prefix;
    const char* why;
  };
  static constexpr Rule kRules[] = {
      {"backbone.head.", "classifier"},
      {"backbone.head_dist.", "distillation classifier"},
      {"backbone.dist_token", "distillation token"},
      {"backbone.norm.", "final LayerNorm: every head has its own"},
      {"backbone.fc_norm.", "final LayerNorm: every head has its own"},
      {"backbone.pre_logits.", "classifier"},
      {"tam_model", "training-only task-affinity module"},
      {"tam.", "training-only task-affinity module"},
  };
  if (name.ends_with("num_batches_tracked")) return "BN step counter";
  for (const Rule& r : kRules) {
    if (name.starts_with(r.prefix)) return r.why;
  }
  return nullptr;
}

/// "backbone.blocks.3.mlp." of a tensor inside that MLP, else empty.
std::string mlp_prefix(const std::string& name) {
  const std::size_t at = name.find(".mlp.");
  return name.starts_with("backbone.blocks.") && at != std::string::npos ? name.substr(0, at + 5) : std::string();
}

class Importer {
 public:
  Importer(NetworkImpl& network, const Config& config, const StateDict& file, const ImportOptions& options)
      : config_(config),
        file_(file),
        options_(options),
        targets_(named_tensors(network)),
        sources_(by_our_names(file)) {}

  ImportReport run() {
    for (const auto& [name, target] : targets_) place(name, target);
    for (const auto& [name, source] : sources_) {
      if (source.used) continue;
      if (const char* why = reason_to_ignore(name)) {
        row(ImportStatus::kIgnored, source.name, why);
      } else if (options_.allow_unexpected) {
        row(ImportStatus::kIgnored, source.name, "no place in this network");
      } else {
        problems_.push_back("unexpected " + source.name + " " + shape_text(source.tensor));
      }
    }
    if (!problems_.empty()) {
      throw Error{{.where = file_.where,
                   .field = "tensors",
                   .wanted = "those of the configured network",
                   .found = fmt::format("{} differences:\n  {}", problems_.size(), fmt::join(problems_, "\n  ")),
                   .hint = "--allow-missing keeps initial values, --allow-unexpected ignores what has no place"}};
    }
    const torch::NoGradGuard no_grad;
    for (auto& [name, value] : values_) targets_.at(name).copy_(value);
    if (!upcycled_.empty()) report_.upcycling = upcycling_metadata();
    return std::move(report_);
  }

 private:
  void row(ImportStatus status, std::string name, std::string note = {}) {
    report_.rows.push_back({.status = status, .name = std::move(name), .note = std::move(note)});
  }

  void place(const std::string& name, const Tensor& target) {
    const auto it = sources_.find(name);
    if (it != sources_.end()) {
      it->second.used = true;
      fit(name, target, it->second);
      return;
    }
    const std::string mlp = mlp_prefix(name);
    if (!mlp.empty() && name.starts_with(mlp + "experts.") && upcycle(mlp)) {
      row(ImportStatus::kUpcycled, name, "from " + mlp + (name.find("htoh4") != std::string::npos ? "fc1" : "fc2"));
      return;
    }
    if ((!mlp.empty() && name.starts_with(mlp + "gate.")) || name.starts_with("backbone.gate_task_represent.")) {
      const bool fresh_experts = !mlp.empty() && !sources_.contains(mlp + "experts.htoh4.weight");
      if (fresh_experts) values_[name] = torch::zeros_like(target);
      row(ImportStatus::kInitialised, name, fresh_experts ? "router of upcycled experts: zero" : "router");
      return;
    }
    if (name.starts_with("decoders.")) {
      const std::string decoder = name.substr(0, name.find('.', 9) + 1);
      const auto any = sources_.lower_bound(decoder);
      if (any == sources_.end() || !any->first.starts_with(decoder)) {
        row(ImportStatus::kInitialised, name, "the file has no such head");
        return;
      }
    }
    lack(name, "missing " + name + " " + shape_text(target));
  }

  void lack(const std::string& name, std::string problem) {
    if (options_.allow_missing) {
      row(ImportStatus::kInitialised, name, std::move(problem));
    } else {
      problems_.push_back(std::move(problem));
    }
  }

  void fit(const std::string& name, const Tensor& target, const Source& source) {
    const Tensor& s = source.tensor;
    const std::string from = source.name != name ? "from " + source.name : std::string();
    if (name == "backbone.pos_embed" && s.dim() == 3 && s.size(0) == 1 && s.size(2) == target.size(2) &&
        (s.size(1) != target.size(1) || sources_.contains("backbone.dist_token"))) {
      values_[name] =
          resize_pos_embed(s, config_.model.grid_h(), config_.model.grid_w(), sources_.contains("backbone.dist_token"));
      row(ImportStatus::kResized, name, shape_text(s) + " → " + shape_text(target));
    } else if (s.sizes() == target.sizes()) {
      values_[name] = s;
      row(ImportStatus::kLoaded, name, from);
    } else if (name == "backbone.patch_embed.proj.weight" && s.dim() == 2 && s.numel() == target.numel() &&
               s.size(0) == target.size(0)) {
      values_[name] = s.view(target.sizes());  // older ViTs embed flattened patches with a linear layer
      row(ImportStatus::kLoaded, name, "from a linear " + shape_text(s));
    } else {
      lack(name, fmt::format("{} has shape {}, want {}", source.name, shape_text(s), shape_text(target)));
    }
  }

  /// All four expert tensors of a block from its dense MLP; false when the file has none that fits.
  bool upcycle(const std::string& mlp) {
    if (values_.contains(mlp + "experts.htoh4.weight")) return true;
    std::vector<Source*> dense;
    for (const char* part : {"fc1.weight", "fc1.bias", "fc2.weight", "fc2.bias"}) {
      const auto it = sources_.find(mlp + part);
      if (it == sources_.end()) return false;
      dense.push_back(&it->second);
    }
    const Tensor& w1 = dense[0]->tensor;
    const int64_t dim = config_.model.embed_dim;
    if (w1.dim() != 2 || w1.size(1) != dim || dense[1]->tensor.sizes() != torch::IntArrayRef({w1.size(0)}) ||
        dense[2]->tensor.sizes() != torch::IntArrayRef({dim, w1.size(0)}) ||
        dense[3]->tensor.sizes() != torch::IntArrayRef({dim})) {
      return false;
    }
    for (Source* s : dense) s->used = true;
    ExpertTensors e = upcycle_mlp(w1, dense[1]->tensor, dense[2]->tensor, dense[3]->tensor, config_.model);
    units_ = w1.size(0);
    values_[mlp + "experts.htoh4.weight"] = with_noise(e.htoh4_weight);
    values_[mlp + "experts.htoh4.bias"] = e.htoh4_bias;
    values_[mlp + "experts.h4toh.weight"] = with_noise(e.h4toh_weight);
    values_[mlp + "experts.h4toh.bias"] = e.h4toh_bias;
    upcycled_.push_back(mlp.substr(0, mlp.size() - 5));
    return true;
  }

  Tensor with_noise(const Tensor& t) {
    if (options_.noise <= 0.0) return t;
    Tensor noise = torch::empty(t.sizes());
    float* values = noise.data_ptr<float>();
    for (int64_t i = 0; i < noise.numel(); ++i) values[i] = static_cast<float>(rng_.normal());
    return t + noise * (options_.noise * t.std().item<double>());
  }

  std::string upcycling_metadata() const {
    const double k = config_.model.moe->top_k, width = static_cast<double>(router_width(*config_.model.moe));
    return nlohmann::json{
        {"source", std::filesystem::path(file_.where).filename().string()},
        {"blocks", upcycled_},
        {"rule", "expert e = hidden units (e mod W)*h ... + h - 1 (mod H) of the dense MLP; router zero"},
        {"fc2_scale", width * static_cast<double>(units_) / (k * config_.model.expert_hidden())},
        {"bias_scale", width / k},
        {"noise", options_.noise},
        {"seed", options_.seed}}
        .dump();
  }

  const Config& config_;
  const StateDict& file_;
  const ImportOptions& options_;
  std::map<std::string, Tensor> targets_;
  std::map<std::string, Source> sources_;
  std::map<std::string, Tensor> values_;  ///< written only when nothing is wrong
  std::vector<std::string> problems_, upcycled_;
  int64_t units_ = 0;
  Rng rng_{options_.seed};
  ImportReport report_;
};

}  // namespace

std::string_view import_status_name(ImportStatus status) {
  switch (status) {
    case ImportStatus::kLoaded:
      return "loaded";
    case ImportStatus::kResized:
      return "resized";
    case ImportStatus::kUpcycled:
      return "upcycled";
    case ImportStatus::kInitialised:
      return "initialised";
    case ImportStatus::kIgnored:
      return "ignored";
  }
  return "";
}

ImportReport import_weights(NetworkImpl& network, const Config& config, const StateDict& file,
                            const ImportOptions& options) {
  return Importer(network, config, file, options).run();
}

}  // namespace m3vit
