#pragma once
/// Where `m3vit run` puts its predictions: files beside each other, or one stream of raw frames.
#include <memory>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "cli/frame_source.h"
#include "m3vit/m3vit.hpp"

namespace m3vit::cli {

/// A frame with what its tasks gave, on its way from the thread that runs to the one that writes.
struct Prediction {
  struct Output {
    const TaskInfo* task = nullptr;
    std::vector<float> raw;           ///< [channels, H, W]
    std::vector<RoutingMap> routing;  ///< only where asked for
    double milliseconds = 0;
  };
  Frame frame;
  std::vector<Output> outputs;  ///< the first `used`; the others keep their memory for later frames
  std::size_t used = 0;
};

class FrameSink {
 public:
  virtual ~FrameSink() = default;
  /// Throws Error when it cannot be written. Whole or not at all.
  virtual void write(const Prediction& prediction) = 0;
  /// One object a frame and task, {"input", "task"?, "ms", "outputs"}; empty unless it was asked to keep them.
  virtual nlohmann::json frames() { return nlohmann::json::array(); }
};

struct FileSinkOptions {
  std::string out, raw, routing;  ///< folder, FILE.npy, FILE.json; empty: none
  bool routing_png = false;
  bool network_size = false;  ///< pictures of the network's size instead of the input's
  bool keep_frames = false;   ///< for frames(); else paths are printed on stdout as they come to be
  bool many_inputs = false, many_tasks = false;
  bool durable = true;  ///< fsync each file
};
/// `palette`: colours of semseg classes; empty: the default ones.
std::unique_ptr<FrameSink> file_sink(const FileSinkOptions& options, const Model& model,
                                     std::vector<std::array<std::uint8_t, 3>> palette);

enum class StreamFormat { kRgb24, kClasses, kF32 };
/// Frames back to back on `descriptor`: coloured pictures or class indices (one byte a pixel; of a two-sided task 0 or
/// 1) at the input's or the network's size, or the head's floats [C, H, W]. Throws Error when a task of `tasks` has no
/// classes and they are asked for.
std::unique_ptr<FrameSink> stream_sink(int descriptor, StreamFormat format, bool network_size, const Model& model,
                                       const std::vector<TaskInfo>& tasks,
                                       std::vector<std::array<std::uint8_t, 3>> palette);

}  // namespace m3vit::cli
