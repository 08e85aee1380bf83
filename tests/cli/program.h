#pragma once
/// Black-box access to the built program, and small inputs made on the spot: a model with random weights, pictures,
/// recipes.
#include <filesystem>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "core/config.h"

namespace m3vit::cli_test {

struct Outcome {
  int exit_code = -1;  ///< 128 + signal when killed
  std::string out, err;
  /// stdout as exactly one JSON document; fails the test (and returns null) otherwise.
  nlohmann::json json() const;
};

/// Runs `m3vit ARGUMENTS…` with no stdin, in `folder` when given.
Outcome run(const std::vector<std::string>& arguments, const std::filesystem::path& folder = {});

/// A fresh folder, removed with everything in it.
class Scratch {
 public:
  Scratch();
  ~Scratch();
  Scratch(const Scratch&) = delete;
  Scratch& operator=(const Scratch&) = delete;
  const std::filesystem::path& path() const { return path_; }
  std::string operator/(const std::string& name) const { return (path_ / name).string(); }

 private:
  std::filesystem::path path_;
};

/// Six tasks, 32×48, patch 16, three blocks (one with 4 experts, top 2): milliseconds to run.
Config tiny_config();
/// Random weights of `config` as `.safetensors`.
void write_model(const std::filesystem::path& path, const Config& config, std::uint64_t seed = 1);
void write_text(const std::filesystem::path& path, const std::string& text);
std::string read_text(const std::filesystem::path& path);

}  // namespace m3vit::cli_test
