#include "train/run_folder.h"

#include <system_error>

#include "core/error.h"

namespace m3vit {
namespace {

namespace fs = std::filesystem;

/// Every file a run writes: what --overwrite may delete.
constexpr const char* kRunFiles[] = {"config.yaml",      "log.jsonl",    "epochs.csv",       "curves.svg",
                                     "metrics.svg",      "routing.json", "metrics.json",     "contact.png",
                                     "last.safetensors", "last.optim",   "best.safetensors", "conflict.json",
                                     "conflict.svg"};

}  // namespace

void prepare_run_folder(const TrainOptions& options) {
  std::error_code error;
  fs::create_directories(options.run, error);
  if (error) {
    throw Error{{.where = options.run.string(), .wanted = "a folder that can be made", .found = error.message()}};
  }
  if (options.overwrite) {
    for (const char* name : kRunFiles) fs::remove(options.run / name);
  } else if (!options.resume) {
    for (const char* name : {"last.optim", "last.safetensors", "log.jsonl"}) {
      if (fs::exists(options.run / name)) {
        throw Error{{.where = options.run.string(),
                     .wanted = "an unused run folder",
                     .found = "a run's " + std::string(name),
                     .hint = "go on with --resume, start again with --overwrite, or choose another --out"}};
      }
    }
  }
}

}  // namespace m3vit
