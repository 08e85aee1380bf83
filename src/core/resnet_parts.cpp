#include "core/resnet_parts.h"

namespace m3vit {
namespace {

class Lister {
 public:
  explicit Lister(const Config& config)
      : resnet_(*config.model.resnet),
        tasks_(static_cast<int>(config.tasks.size())),
        height_(config.model.height()),
        width_(config.model.width()) {}

  std::vector<ResnetPart> list() {
    const bool mixed = resnet_.sharing == Sharing::kCrossStitch || resnet_.sharing == Sharing::kNddrCnn;
    if (mixed) {
      for (int t = 0; t < tasks_; ++t) encoder("backbone.encoders." + std::to_string(t) + ".");
      for (int s = 0; s < kResnetStages; ++s) resnet_.sharing == Sharing::kNddrCnn ? nddr(s) : cross_stitch(s);
    } else {
      encoder("backbone.encoder.");
      if (resnet_.sharing == Sharing::kMtan) branches();
    }
    return std::move(parts_);
  }

 private:
  using Shape = std::vector<std::int64_t>;

  std::int64_t pixels(int stage) const {  // of a stage's output
    const int stride = stage == 0 ? 4 : 8;
    return static_cast<std::int64_t>(height_ / stride) * (width_ / stride);
  }
  static std::vector<TensorSpec> norm(const std::string& name, std::int64_t n) {
    return {{name + ".weight", {n}, false},
            {name + ".bias", {n}, false},
            {name + ".running_mean", {n}, true},
            {name + ".running_var", {n}, true}};
  }
  /// A convolution without bias and the normalisation after it.
  void conv(const std::string& name, const std::string& bn, std::int64_t in, std::int64_t out, int kernel,
            std::int64_t pixels, int owner = -1) {
    ResnetPart part{
        name, {{name + ".weight", {out, in, kernel, kernel}, false}}, pixels * in * out * kernel * kernel, owner};
    for (TensorSpec& t : norm(bn, out)) part.tensors.push_back(std::move(t));
    parts_.push_back(std::move(part));
  }

  void encoder(const std::string& prefix) {
    conv(prefix + "conv1", prefix + "bn1", 3, resnet_.width, 7, pixels(0) * 4);
    std::int64_t in = resnet_.width;
    for (int s = 0; s < kResnetStages; ++s) {
      const std::int64_t width = resnet_.stage_width(s), out = resnet_.stage_channels(s);
      for (int b = 0; b < resnet_.blocks(s); ++b) {
        const std::string block = prefix + "layer" + std::to_string(s + 1) + "." + std::to_string(b) + ".";
        const bool strided = s == 1 && b == 0;
        if (resnet_.depth == 50) {
          conv(block + "conv1", block + "bn1", in, width, 1, strided ? pixels(0) : pixels(s));
          conv(block + "conv2", block + "bn2", width, width, 3, pixels(s));
          conv(block + "conv3", block + "bn3", width, out, 1, pixels(s));
        } else {
          conv(block + "conv1", block + "bn1", in, width, 3, pixels(s));
          conv(block + "conv2", block + "bn2", width, width, 3, pixels(s));
        }
        if (strided || in != out) conv(block + "downsample.0", block + "downsample.1", in, out, 1, pixels(s));
        in = out;
      }
    }
  }

  void cross_stitch(int s) {
    const std::int64_t channels = resnet_.stage_channels(s);
    const bool last = s + 1 == kResnetStages;  // there a task needs its own mixture alone
    const std::string name = "backbone.cross_stitch_" + std::to_string(s);
    parts_.push_back(
        {name, {{name, {tasks_, tasks_, channels}, false}}, pixels(s) * channels * tasks_ * (last ? 1 : tasks_), -1});
  }

  void nddr(int s) {
    const std::int64_t channels = resnet_.stage_channels(s);
    for (int t = 0; t < tasks_; ++t) {
      const std::string end = std::to_string(s) + "." + std::to_string(t);
      conv("backbone.nddr_conv_" + end, "backbone.nddr_bn_" + end, tasks_ * channels, channels, 1, pixels(s),
           s + 1 == kResnetStages ? t : -1);
    }
  }

  void branches() {
    for (int s = 0; s < kResnetStages; ++s) {
      const std::int64_t channels = resnet_.stage_channels(s), middle = resnet_.attention_channels(s);
      for (int t = 0; t < tasks_; ++t) {
        const std::string mask = "backbone.attend_" + std::to_string(s) + "." + std::to_string(t) + ".";
        conv(mask + "0", mask + "1", channels * (s > 0 ? 2 : 1), middle, 1, pixels(s), t);
        conv(mask + "3", mask + "4", middle, channels, 1, pixels(s), t);
        if (s + 1 == kResnetStages) continue;
        const std::string next = "backbone.refine_" + std::to_string(s) + "." + std::to_string(t) + ".";
        conv(next + "0", next + "1", channels, resnet_.stage_channels(s + 1), 3, pixels(s), t);
      }
    }
  }

  const ResnetConfig& resnet_;
  int tasks_, height_, width_;
  std::vector<ResnetPart> parts_;
};

}  // namespace

std::int64_t ResnetPart::params() const {
  std::int64_t sum = 0;
  for (const TensorSpec& t : tensors) {
    if (t.buffer) continue;
    std::int64_t numel = 1;
    for (const std::int64_t d : t.shape) numel *= d;
    sum += numel;
  }
  return sum;
}

std::vector<ResnetPart> resnet_parts(const Config& config) { return Lister(config).list(); }

}  // namespace m3vit
