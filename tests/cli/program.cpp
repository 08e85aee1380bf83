#include "cli/program.h"

#include <gtest/gtest.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cstdlib>
#include <fstream>
#include <random>
#include <sstream>

#include "core/safetensors.h"
#include "data/rooms.h"
#include "reference/random_model.h"

namespace m3vit::cli_test {

namespace fs = std::filesystem;

namespace {

std::string quoted(const std::string& text) {
  std::string out = "'";
  for (const char c : text) out += c == '\'' ? "'\\''" : std::string(1, c);
  return out + "'";
}

}  // namespace

nlohmann::json Outcome::json() const {
  nlohmann::json document = nlohmann::json::parse(out, nullptr, false);
  if (document.is_discarded()) {
    ADD_FAILURE() << "stdout is not one JSON document:\n" << out << "\nstderr:\n" << err;
    return nullptr;
  }
  return document;
}

Outcome run(const std::vector<std::string>& arguments, const fs::path& folder) {
  const Scratch scratch;
  std::string command = folder.empty() ? "" : "cd " + quoted(folder.string()) + " && ";
  command += quoted(M3VIT_PROGRAM);
  for (const std::string& a : arguments) command += " " + quoted(a);
  command += " </dev/null >" + quoted(scratch / "out") + " 2>" + quoted(scratch / "err");
  const int status = std::system(command.c_str());
  Outcome outcome;
  outcome.exit_code = WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
  outcome.out = read_text(scratch / "out");
  outcome.err = read_text(scratch / "err");
  return outcome;
}

Scratch::Scratch() {
  std::random_device random;
  do {
    path_ = fs::temp_directory_path() / ("m3vit-cli-" + std::to_string(getpid()) + "-" + std::to_string(random()));
  } while (!fs::create_directory(path_));
}

Scratch::~Scratch() {
  std::error_code ignored;
  fs::remove_all(path_, ignored);
}

Config tiny_config() {
  Config c;
  c.model.image_size = {32, 48};
  c.model.embed_dim = 12;
  c.model.depth = 3;
  c.model.num_heads = 2;
  c.model.mlp_ratio = 2;
  c.model.moe->num_experts = 4;
  c.model.moe->top_k = 2;
  c.model.head.channels = 8;
  const auto classes = Rooms({}).info().classes[static_cast<std::size_t>(TaskId::kSemseg)].size();
  c.tasks = {{"semseg", static_cast<int>(classes), 1},
             {"depth", 1, 1},
             {"normals", 3, 1},
             {"edge", 1, 1},
             {"sal", 1, 1},
             {"human_parts", 7, 1}};
  c.data.test.frames = 2;
  return c;
}

void write_model(const fs::path& path, const Config& config, std::uint64_t seed) {
  const naive::Weights weights = naive::random_weights(config, seed);
  std::map<std::string, std::vector<float>> values;
  std::vector<TensorView> views;
  for (const auto& [name, tensor] : weights.tensors) {
    std::vector<float>& data = values[name];
    data.assign(tensor.data.begin(), tensor.data.end());
    TensorView view;
    view.name = name;
    view.shape = tensor.shape;
    view.bytes = std::as_bytes(std::span<const float>(data));
    views.push_back(view);
  }
  write_safetensors(path, views, {{"format", "pt"}, {"config", to_json(config).dump()}});
}

void write_text(const fs::path& path, const std::string& text) { std::ofstream(path, std::ios::binary) << text; }

std::string read_text(const fs::path& path) {
  std::ostringstream text;
  text << std::ifstream(path, std::ios::binary).rdbuf();
  return text.str();
}

}  // namespace m3vit::cli_test
