#include "data/loader.h"

#include <algorithm>
#include <condition_variable>
#include <exception>
#include <map>
#include <mutex>
#include <numeric>
#include <opencv2/core.hpp>
#include <span>
#include <thread>
#include <utility>
#include <vector>

#include "core/error.h"
#include "core/image_io.h"
#include "core/rng.h"
#include "data/crop_transforms.h"
#include "data/transforms.h"

namespace m3vit {
namespace {

void require(bool ok, const char* field, const char* wanted, std::int64_t found) {
  if (!ok) throw Error{{.where = "loader", .field = field, .wanted = wanted, .found = std::to_string(found)}};
}

/// One annotator's "edge" is enough; "no edge" needs one who looked.
float any_annotator(const float* values, int annotators) {
  float result = kIgnore;
  for (int a = 0; a < annotators; ++a) {
    if (values[a] == 1) return 1;
    if (values[a] == 0) result = 0;
  }
  return result;
}

/// Sample label [H, W, C] → its place in the batch [C, H, W].
void collate_label(const TaskSpec& task, const ImageF32& map, std::span<float> out) {
  const auto channels = static_cast<std::size_t>(task.label_channels);
  const std::size_t pixels = out.size() / channels;
  if (map.empty()) {
    std::fill(out.begin(), out.end(), unknown_value(task.id));
  } else if (task.id == TaskId::kEdge) {
    for (std::size_t i = 0; i < pixels; ++i) {
      out[i] = any_annotator(&map.data[i * static_cast<std::size_t>(map.channels)], map.channels);
    }
  } else {
    for (std::size_t c = 0; c < channels; ++c) {
      for (std::size_t i = 0; i < pixels; ++i) out[c * pixels + i] = map.data[i * channels + c];
    }
  }
}

/// A batch while workers fill it.
struct Slot {
  Batch batch;
  int remaining = 0;
  int failed_at = -1;  ///< position of the first failed sample: the same one whatever the timing
  std::exception_ptr error;
};

}  // namespace

struct Loader::State {
  State(const Dataset& data, const LoaderOptions& wanted) : dataset(data), options(wanted) {
    if (options.augment != nullptr) augmentation = *options.augment;
  }
  ~State() {
    {
      const std::lock_guard lock(mutex);
      stop = true;
    }
    work.notify_all();
    for (std::thread& t : threads) t.join();
  }
  State(const State&) = delete;
  State& operator=(const State&) = delete;

  /// In this share: samples are counted through its own batches.
  std::int64_t batch_begin(std::int64_t batch) const { return batch * options.batch_size; }
  /// In the epoch's order, of a sample of this share.
  std::int64_t epoch_position(std::int64_t position) const {
    const std::int64_t batch = position / options.batch_size;
    return (batch * options.shards + options.shard) * options.batch_size + position % options.batch_size;
  }
  int batch_samples(std::int64_t batch) const {
    const std::int64_t left = static_cast<std::int64_t>(order.size()) - epoch_position(batch_begin(batch));
    return static_cast<int>(std::min<std::int64_t>(options.batch_size, left));
  }

  void make_order() {
    order.resize(static_cast<std::size_t>(dataset.size()));
    std::iota(order.begin(), order.end(), 0);
    if (options.shuffle) {
      Rng rng{options.seed, static_cast<std::uint64_t>(options.epoch)};
      for (std::size_t i = order.size(); i > 1; --i) std::swap(order[i - 1], order[rng.below(i)]);
    }
    if (dataset.infinite() && options.fresh) {
      for (std::int64_t& index : order) index += options.epoch * dataset.size();
    }
  }

  Slot& slot_for(std::int64_t batch) {
    const auto [it, added] = slots.try_emplace(batch);
    Slot& slot = it->second;
    if (added) {
      Batch& b = slot.batch;
      b.size = slot.remaining = batch_samples(batch);
      b.height = options.height;
      b.width = options.width;
      b.ids.resize(static_cast<std::size_t>(b.size));
      if (options.keep_samples) b.samples.resize(static_cast<std::size_t>(b.size));
    }
    return slot;
  }

  /// The big arrays: by the worker that takes a batch's first sample, under the lock.
  void allocate(Batch& batch) const {
    const std::size_t pixels = static_cast<std::size_t>(options.height) * static_cast<std::size_t>(options.width);
    const auto count = static_cast<std::size_t>(batch.size);
    batch.images.resize(count * 3 * pixels);
    if (options.native_labels) return;
    for (const TaskId t : dataset.info().tasks) {
      batch.labels[static_cast<std::size_t>(t)].resize(count * static_cast<std::size_t>(task_spec(t).label_channels) *
                                                       pixels);
    }
  }

  /// To [height, width] by the protocol's transforms.
  void fit(Sample& sample, std::int64_t position) const {
    const DatasetInfo& info = dataset.info();
    if (augmentation) {
      Rng rng{options.seed, static_cast<std::uint64_t>(options.epoch), static_cast<std::uint64_t>(position)};
      if (options.protocol == Protocol::kAtrc) {
        augment_atrc(sample, *augmentation, options.height, options.width, rng);
      } else if (options.protocol == Protocol::kMtan) {
        augment_mtan(sample, *augmentation, rng);
      } else {
        augment(sample, *augmentation, rng, info.normals_y_down);
      }
    }
    if (options.protocol == Protocol::kAtrc) {
      if (sample.image.height > options.height || sample.image.width > options.width) {
        throw Error{{.where = sample.id,
                     .field = "size",
                     .wanted = "at most model.image_size " + std::to_string(options.width) + "x" +
                               std::to_string(options.height) + ", as protocol A pads and does not resize",
                     .found = std::to_string(sample.image.width) + "x" + std::to_string(sample.image.height)}};
      }
      pad_centred(sample, options.height, options.width);
    } else {
      // The survey's resize is cubic without antialias; elsewhere the network's input contract holds.
      resize(sample, options.height, options.width, /*antialias=*/!info.archive);
    }
    if (info.archive && augmentation) ignore_empty_parts(sample, options.protocol);
  }

  void make_sample(Batch& batch, std::int64_t position, std::size_t place) const {
    Sample sample = dataset.get(order[static_cast<std::size_t>(position)]);
    std::array<ImageF32, kNumTaskIds> native;
    if (options.native_labels) std::swap(native, sample.labels);
    fit(sample, position);
    const std::size_t pixels = static_cast<std::size_t>(options.height) * static_cast<std::size_t>(options.width);
    normalise_rgb(sample.image, std::span(batch.images).subspan(place * 3 * pixels, 3 * pixels));
    for (const TaskId t : dataset.info().tasks) {
      if (options.native_labels) break;
      const std::size_t values = static_cast<std::size_t>(task_spec(t).label_channels) * pixels;
      collate_label(task_spec(t), sample.label(t),
                    std::span(batch.labels[static_cast<std::size_t>(t)]).subspan(place * values, values));
    }
    batch.ids[place] = sample.id;
    if (options.native_labels) std::swap(native, sample.labels);
    if (options.keep_samples) batch.samples[place] = std::move(sample);
  }

  void run() {
    std::unique_lock lock(mutex);
    while (true) {
      work.wait(lock, [this] {
        return stop || next_position == end_position ||
               next_position / options.batch_size < delivered + options.prefetch;
      });
      if (stop || next_position == end_position) return;
      const std::int64_t position = next_position++;
      const std::int64_t number = position / options.batch_size;
      Slot& slot = slot_for(number);  // map nodes do not move
      const auto place = static_cast<int>(position - batch_begin(number));
      std::exception_ptr error;
      try {
        if (slot.batch.images.empty()) allocate(slot.batch);
        lock.unlock();
        make_sample(slot.batch, epoch_position(position), static_cast<std::size_t>(place));
      } catch (...) {
        error = std::current_exception();
      }
      if (!lock.owns_lock()) lock.lock();
      if (error && (slot.failed_at < 0 || place < slot.failed_at)) {
        slot.failed_at = place;
        slot.error = error;
      }
      if (--slot.remaining == 0) ready.notify_one();
    }
  }

  const Dataset& dataset;
  LoaderOptions options;
  std::optional<AugmentConfig> augmentation;
  std::vector<std::int64_t> order;  ///< dataset index at each position of the epoch
  std::int64_t batches = 0;

  std::mutex mutex;  ///< guards all below; a slot's arrays belong to the workers until `remaining` is 0
  std::condition_variable work, ready;
  std::map<std::int64_t, Slot> slots;
  std::int64_t next_position = 0, end_position = 0;
  std::int64_t delivered = 0;  ///< batches handed out or skipped
  std::exception_ptr failure;
  bool stop = false;
  std::vector<std::thread> threads;
};

Loader::Loader(const Dataset& dataset, const LoaderOptions& options) {
  require(options.height > 0 && options.width > 0, "height, width", "> 0", std::min(options.height, options.width));
  require(options.batch_size > 0, "batch_size", "> 0", options.batch_size);
  require(options.workers > 0, "workers", "> 0", options.workers);
  require(options.prefetch > 0, "prefetch", "> 0", options.prefetch);
  require(options.epoch >= 0, "epoch", ">= 0", options.epoch);
  require(!options.native_labels || options.augment == nullptr, "native_labels", "no augmentation beside it", 1);
  require(options.skip_batches >= 0, "skip_batches", ">= 0", options.skip_batches);
  require(options.shards > 0, "shards", "> 0", options.shards);
  require(options.shard >= 0 && options.shard < options.shards, "shard", "0 … shards − 1", options.shard);
  require(options.drop_last || options.shards == 1, "drop_last", "true, with shards", 0);
  const std::int64_t size = dataset.size();
  if (size < (options.drop_last ? options.batch_size : 1)) {
    throw Error{
        {.where = "loader",
         .field = "batch_size",
         .wanted = "at most the frames of data set '" + dataset.info().name + "' (" + std::to_string(size) + ")",
         .found = std::to_string(options.batch_size)}};
  }
  // The workers are the parallelism: OpenCV's own threads inside each of them would only fight for the same cores.
  static std::once_flag once;
  std::call_once(once, [] { cv::setNumThreads(1); });

  state_ = std::make_unique<State>(dataset, options);
  State& s = *state_;
  s.make_order();
  s.batches = options.drop_last ? size / options.batch_size : (size + options.batch_size - 1) / options.batch_size;
  if (options.shards > 1) s.batches = (s.batches - options.shard + options.shards - 1) / options.shards;
  s.delivered = std::min(options.skip_batches, s.batches);
  s.next_position = s.batch_begin(s.delivered);
  s.end_position = options.drop_last ? s.batch_begin(s.batches) : size;
  s.next_position = std::min(s.next_position, s.end_position);
  for (int i = 0; i < options.workers; ++i) s.threads.emplace_back([&s] { s.run(); });
}

Loader::~Loader() = default;

std::int64_t Loader::batches() const { return state_->batches; }

std::optional<Batch> Loader::next() {
  State& s = *state_;
  std::unique_lock lock(s.mutex);
  if (s.failure) std::rethrow_exception(s.failure);
  if (s.delivered == s.batches) return std::nullopt;
  const std::int64_t number = s.delivered;
  s.ready.wait(lock, [&] {
    const auto it = s.slots.find(number);
    return it != s.slots.end() && it->second.remaining == 0;
  });
  Slot slot = std::move(s.slots.extract(number).mapped());
  if (slot.error) {
    s.failure = slot.error;
    s.stop = true;  // nothing after it will be asked for
    s.work.notify_all();
    std::rethrow_exception(s.failure);
  }
  ++s.delivered;
  s.work.notify_all();
  return std::move(slot.batch);
}

}  // namespace m3vit
