#pragma once
/// m3vit's runtime: runs one task at a time of a packed model (`.m3v`, made by `m3vit export`).
///
///     auto model   = m3vit::Model::open("rooms.m3v");       // checks the file's header
///     auto session = model.session({.threads = 2});         // plans, allocates once, reads the weights
///     std::vector<float> depth(model.output_size("depth"));
///     session.run("depth", m3vit::RgbView{pixels, height, width}, depth);
///
/// Errors are exceptions derived from std::exception whose what() reads "WHERE: FIELD: want WANTED, found FOUND"; a
/// call that throws has changed nothing. Nothing here prints. A Model may be shared by threads; a Session belongs to
/// one thread at a time, and any number of sessions share one model's weights.
/// Non-goals: training, other precisions than the file's, images of another size than the network's (resize first).
#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace m3vit {

/// How an MoE layer walks its work. All three give the same bits.
enum class MoeSchedule {
  kExpertOrder,  ///< expert by expert over token queues: one expert's weights are touched once (the way to go)
  kTokenOrder,   ///< token by token: the usual order, touches an expert's weights again for every token
  kDense,        ///< every expert for every token, then weighted: what a dense library does
};

/// How a head convolves an upsampled map. All within rounding of each other.
enum class HeadForm {
  kAuto,
  kDirect,    ///< upsample, then convolve: what a library does
  kCommuted,  ///< convolve the small map, then upsample the result: a quarter of the multiplications, the same function
};

/// 8-bit RGB, interleaved. `row_bytes` 0: rows follow each other.
struct RgbView {
  const std::uint8_t* data = nullptr;
  int height = 0;
  int width = 0;
  std::ptrdiff_t row_bytes = 0;
};

struct TaskInfo {
  std::string name;  ///< "semseg", "depth", …
  int channels = 0;  ///< of the raw output [channels, height, width]
};

/// Which experts each token went to in one MoE layer of the last run; tokens in row order, the class token first.
struct RoutingMap {
  int block = 0;
  int tokens = 0;
  int top_k = 0;
  std::vector<std::int32_t> experts;  ///< [tokens, top_k], by descending weight; ties: the lower index first
  std::vector<float> weights;         ///< [tokens, top_k]; 0 where pruned (moe.prune_below)
};

/// How weights come from the file.
enum class WeightIo {
  kAuto,   ///< io_uring where the build and the system have it, else pread
  kUring,  ///< io_uring, or an error that says why not; past the page cache (O_DIRECT) where the file system allows it
  kPread,  ///< a thread with pread, O_DIRECT as above
  kMmap,   ///< nothing is read: weights are the mapped file. Trusts it: to shorten the file during a run ends the
           ///< process
};

struct SessionOptions {
  int threads = 0;  ///< 0: as many as the process may use
  MoeSchedule schedule = MoeSchedule::kExpertOrder;
  std::string isa{};          ///< "": best here; else a name of isas(), or an error
  bool keep_routing = false;  ///< fill Session::routing()
  HeadForm head_form = HeadForm::kAuto;
  /// Keep what does not depend on the task while several tasks run on the same frames: they share it, for tokens ·
  /// embed_dim floats more of each frame in the arena. Without it they run one after another, to the same bits.
  bool share_prefix = false;
  bool keep_times = false;  ///< fill Session::times()
  /// Bytes for weights, activations and buffers together; 0: no limit. What fits of the weights stays in memory, the
  /// rest is read from the file while a frame runs, to the same bits. Too small a budget is an error that names the
  /// smallest. Sessions without a budget share one copy of the weights; one with a budget has its own.
  std::size_t memory_budget = 0;
  WeightIo io = WeightIo::kAuto;
  /// Frames that Session::run_batch may take at once. Each more needs about tokens · (embed_dim + top_k · 4) floats.
  int batch = 1;
};

/// Seconds of the last run by part of the network; their sum is the run but for checks and copies.
struct PhaseTimes {
  double input = 0;      ///< normalising the picture
  double embed = 0;      ///< patches and positions
  double attention = 0;  ///< with its norm and projections
  double dense_mlp = 0;  ///< with its norm
  double router = 0;     ///< norm, gate, softmax, top_k, queues
  double experts = 0;    ///< the chosen experts, gathered and scattered
  double head = 0;
  double total() const { return input + embed + attention + dense_mlp + router + experts + head; }
};

/// Bytes by plan. Everything is allocated by Model::session and never grows.
struct MemoryPlan {
  std::size_t arena = 0;           ///< what a run writes: activations, and buffers for streamed weights among them
  std::size_t weights = 0;         ///< in memory throughout
  std::size_t streamed = 0;        ///< weights that are read from the file when they are used; not in memory
  std::size_t stream_buffers = 0;  ///< the most of the arena that holds them at one time
  std::size_t smallest = 0;        ///< the smallest SessionOptions::memory_budget that works
  std::size_t total() const { return arena + weights; }
};

class Session {
 public:
  Session(Session&&) noexcept;
  Session& operator=(Session&&) noexcept;
  ~Session();

  /// Any task, any order. `image` must have the network's size; it is divided by 255 and normalised by the ImageNet
  /// mean and deviation. `out` receives the head's raw output [channels, height, width]: logits, metres, unnormalised
  /// normals; its size must be Model::output_size(task). Allocates nothing.
  void run(std::string_view task, const RgbView& image, std::span<float> out);
  /// The same from normalised planes [3, height, width].
  void run(std::string_view task, std::span<const float> planes, std::span<float> out);
  /// The class of every pixel, [height, width]: the channel of `run`'s output with the largest value, the first of
  /// equals. For tasks of 2 … 256 channels. The output itself is held nowhere.
  void run_classes(std::string_view task, const RgbView& image, std::span<std::uint8_t> classes);
  void run_classes(std::string_view task, std::span<const float> planes, std::span<std::uint8_t> classes);

  /// Several tasks of one frame, in this order: outs[i] receives tasks[i]'s raw output, the same bits as alone. With
  /// SessionOptions::share_prefix everything before the first router is computed once.
  void run(std::span<const std::string_view> tasks, const RgbView& image, std::span<const std::span<float>> outs);
  void run(std::span<const std::string_view> tasks, std::span<const float> planes,
           std::span<const std::span<float>> outs);

  /// 1 … SessionOptions::batch frames of one task: outs[i] receives images[i]'s raw output, the same bits as alone.
  /// They go through each layer together, so that its weights are read once for all of them, and an expert serves the
  /// tokens of all. Every frame ends when the last one does.
  void run_batch(std::string_view task, std::span<const RgbView> images, std::span<const std::span<float>> outs);
  /// The same from normalised planes.
  void run_batch(std::string_view task, std::span<const std::span<const float>> planes,
                 std::span<const std::span<float>> outs);
  /// Several tasks of the same frames: outs[t · frames + i] receives tasks[t]'s raw output of frame i, the same bits as
  /// alone; with SessionOptions::share_prefix everything before the first router is computed once.
  void run_batch(std::span<const std::string_view> tasks, std::span<const RgbView> images,
                 std::span<const std::span<float>> outs);
  void run_batch(std::span<const std::string_view> tasks, std::span<const std::span<const float>> planes,
                 std::span<const std::span<float>> outs);
  /// As run_classes.
  void run_batch_classes(std::string_view task, std::span<const RgbView> images,
                         std::span<const std::span<std::uint8_t>> classes);

  /// Of the last run (its last task, a batch's last frame), one map a MoE layer; empty without
  /// SessionOptions::keep_routing.
  const std::vector<RoutingMap>& routing() const;
  /// Of the last run, all its tasks or frames together; zeros without SessionOptions::keep_times.
  const PhaseTimes& times() const;
  /// Seconds of each task of the last run, in its order; the first one's include what all share. Empty without
  /// SessionOptions::keep_times; entries beyond the last run's tasks mean nothing.
  std::span<const double> task_times() const;
  MemoryPlan memory() const;
  /// "memory", "mmap", or the way that streamed weights are read: "io_uring, O_DIRECT", "pread" …
  std::string_view io() const;
  /// Bytes of weights read by runs since the session began.
  std::uint64_t bytes_read() const;
  std::string_view isa() const;
  int threads() const;

 private:
  friend class Model;
  struct Impl;
  explicit Session(std::unique_ptr<Impl> impl);
  std::unique_ptr<Impl> impl_;
};

class Model {
 public:
  /// Checks magic, header and section table (every offset and size) against the file.
  static Model open(const std::filesystem::path& path);
  /// The same for a file in memory; `name` stands for the path in errors.
  static Model from_bytes(std::vector<std::byte> bytes, const std::string& name);

  int height() const;
  int width() const;
  int patch_size() const;
  const std::vector<TaskInfo>& tasks() const;
  /// channels · height · width of the task's raw output.
  std::size_t output_size(std::string_view task) const;
  std::string_view dtype() const;   ///< "f32", "bf16" or "int8"; single layers may differ
  std::string_view config() const;  ///< the resolved configuration, JSON

  /// Plans, allocates, and reads the weights that stay in memory, comparing them with their checksums. Streamed ones
  /// are compared at every read: an altered or shortened file is an error of the run that meets it, and the session
  /// stays usable.
  Session session(const SessionOptions& options = {}) const;

 private:
  friend class Session;
  struct Impl;
  explicit Model(std::shared_ptr<const Impl> impl);
  std::shared_ptr<const Impl> impl_;
};

/// Names of the instruction sets this build has kernels for and this CPU can run, best first; "scalar" is the last.
std::vector<std::string_view> isas();

}  // namespace m3vit
