#include "cli/runtime_model.h"

#include <array>
#include <fstream>
#include <string_view>
#include <utility>

#include "core/error.h"
#include "core/tensor_check.h"
#include "core/version.h"
#include "runtime/m3v.h"

namespace m3vit::cli {

const std::map<std::string, MoeSchedule> kMoeSchedules{{"expert_order", MoeSchedule::kExpertOrder},
                                                       {"token_order", MoeSchedule::kTokenOrder},
                                                       {"dense", MoeSchedule::kDense}};

namespace {

void check_tensors(const SafetensorsFile& file, const Config& config) {
  const std::vector<std::string> problems = tensor_problems(file, config);
  if (problems.empty()) return;
  std::string list = std::to_string(problems.size()) + " differences:";
  for (const std::string& p : problems) list += "\n  " + p;
  throw Error{
      {.where = file.where(), .field = "tensors", .wanted = "exactly those of its config", .found = std::move(list)}};
}

}  // namespace

TensorSource Checkpoint::source() const {
  return [this](const std::string& name) { return to_f32(file.get(name), file.where()); };
}

Checkpoint open_checkpoint(const std::filesystem::path& path) {
  Checkpoint c{SafetensorsFile::open(path), {}, "m3vit " + std::string(kVersion)};
  const auto text = c.file.metadata().find("config");
  if (text == c.file.metadata().end()) {
    throw Error{{.where = c.file.where(),
                 .field = "__metadata__.config",
                 .wanted = "the model's configuration as JSON text",
                 .found = "no such key",
                 .hint = "`m3vit import FILE --config YAML` turns a bare state dict into a model"}};
  }
  c.config = config_from_text(text->second, c.file.where());
  check_tensors(c.file, c.config);
  return c;
}

bool is_m3v(const std::filesystem::path& path) {
  std::array<char, kM3vMagic.size()> magic{};
  std::ifstream(path, std::ios::binary).read(magic.data(), magic.size());
  // A .m3v cut short of its magic is still an .m3v: its own reader says so better.
  return std::string_view(magic.data(), magic.size()) == kM3vMagic || path.extension() == ".m3v";
}

Model open_runtime_model(const std::filesystem::path& path, const std::vector<std::string>& tasks) {
  if (is_m3v(path)) return Model::open(path);
  const Checkpoint checkpoint = open_checkpoint(path);
  return Model::from_bytes(pack_model(checkpoint.config, checkpoint.source(),
                                      {.tasks = tasks, .producer = checkpoint.producer}, path.string()),
                           path.string());
}

}  // namespace m3vit::cli
