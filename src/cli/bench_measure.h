#pragma once
/// What `m3vit bench` measures, each as one JSON object of its document (docs/formats.md).
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "cli/paired.h"
#include "core/config.h"
#include "m3vit/m3vit.hpp"

namespace m3vit::cli {

/// A session that runs one fixed picture into outputs of its own.
class BenchSession {
 public:
  BenchSession(const Model& model, const SessionOptions& options, const std::vector<std::string>& tasks);
  const std::vector<float>& run(const std::string& task);
  /// Every task in one call.
  void run_all();
  const std::vector<float>& output(const std::string& task) const;
  /// The picture as the network sees it, [3, H, W].
  std::vector<float> planes() const;
  Session& session() { return session_; }

 private:
  const Model& model_;
  Session session_;
  std::vector<std::uint8_t> picture_;
  std::vector<std::string> tasks_;
  std::vector<std::vector<float>> outputs_;
};

/// Throws Error, naming `what` and the task, unless both have the same bits.
void require_same_bits(const std::string& what, const std::string& task, const std::vector<float>& got,
                       const std::vector<float>& want);
/// max|a − b| / max|b|.
double relative_difference(const std::vector<float>& a, const std::vector<float>& b);

/// {"median", "p10", "p90"} of milliseconds.
nlohmann::json spread(const std::vector<double>& milliseconds);

/// Multiply-accumulates of one frame by the names of PhaseTimes, from shapes; the head's as the network is defined,
/// whatever the engine saves.
nlohmann::json part_macs(const Config& config, const std::string& task);
/// Milliseconds by the names of PhaseTimes.
nlohmann::json part_ms(const PhaseTimes& times);

/// First frame after a switch ÷ the next of the same task, round robin: {"first_over_steady", "p90", "rounds"}.
nlohmann::json measure_switch(BenchSession& session, const std::vector<std::string>& tasks, int rounds);
/// All tasks of one frame with what they share computed once, against one after another:
/// {"shared_ms", "separate_ms", "separate_over_shared"}.
nlohmann::json measure_shared(const Model& model, const SessionOptions& options, const std::vector<std::string>& tasks,
                              int rounds);

}  // namespace m3vit::cli
