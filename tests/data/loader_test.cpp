#include "data/loader.h"

#include <gmock/gmock.h>

#include <atomic>
#include <chrono>
#include <functional>
#include <mutex>
#include <numeric>
#include <set>
#include <thread>

#include "core/error.h"
#include "core/image_io.h"
#include "data/random_sample.h"
#include "data/transforms.h"

namespace m3vit {
namespace {

using std::chrono::milliseconds;
using testing::ElementsAre;
using testing::HasSubstr;

constexpr int kHeight = 8;
constexpr int kWidth = 10;

/// Frames from their index; `before` runs first in each `get`, to delay, count or fail.
class Frames final : public Dataset {
 public:
  explicit Frames(std::int64_t size, bool infinite = false) : size_(size), infinite_(infinite) {
    info_.name = "frames";
    for (const TaskSpec& t : kTasks) info_.tasks.push_back(t.id);
  }
  const DatasetInfo& info() const override { return info_; }
  std::int64_t size() const override { return size_; }
  bool infinite() const override { return infinite_; }
  Sample get(std::int64_t index) const override {
    {
      const std::lock_guard lock(mutex_);
      asked_.push_back(index);
    }
    if (before) before(index);
    Sample s = random_sample(static_cast<std::uint64_t>(index), kHeight, kWidth, 2);
    s.id = std::to_string(index);
    return s;
  }
  std::vector<std::int64_t> asked() const {
    const std::lock_guard lock(mutex_);
    return asked_;
  }

  std::function<void(std::int64_t)> before;

 private:
  DatasetInfo info_;
  std::int64_t size_;
  bool infinite_;
  mutable std::mutex mutex_;
  mutable std::vector<std::int64_t> asked_;
};

LoaderOptions plain(int batch_size = 4) {
  LoaderOptions o;
  o.height = kHeight;
  o.width = kWidth;
  o.batch_size = batch_size;
  o.shuffle = false;
  return o;
}

std::vector<Batch> all_batches(const Dataset& data, const LoaderOptions& options) {
  Loader loader(data, options);
  std::vector<Batch> batches;
  while (auto batch = loader.next()) batches.push_back(std::move(*batch));
  return batches;
}

std::vector<std::string> all_ids(const Dataset& data, const LoaderOptions& options) {
  std::vector<std::string> ids;
  for (const Batch& b : all_batches(data, options)) ids.insert(ids.end(), b.ids.begin(), b.ids.end());
  return ids;
}

void expect_same(const std::vector<Batch>& a, const std::vector<Batch>& b) {
  ASSERT_EQ(a.size(), b.size());
  for (std::size_t i = 0; i < a.size(); ++i) {
    EXPECT_EQ(a[i].ids, b[i].ids);
    EXPECT_TRUE(a[i].images == b[i].images) << "batch " << i;
    EXPECT_TRUE(a[i].labels == b[i].labels) << "batch " << i;
  }
}

template <class Condition>
bool eventually(Condition&& condition) {
  for (int i = 0; i < 2000 && !condition(); ++i) std::this_thread::sleep_for(milliseconds(1));
  return condition();
}

TEST(Loader, SameBatchesWhateverTheWorkersAndPrefetch) {
  Frames data(37);
  data.before = [](std::int64_t i) { std::this_thread::sleep_for(std::chrono::microseconds(i * 37 % 11 * 100)); };
  const AugmentConfig augmentation{.flip = 0.5, .rotate = 20, .scale = {0.75, 1.25}, .brightness = 0.2};
  LoaderOptions options = plain();
  options.shuffle = true;
  options.seed = 5;
  options.epoch = 3;
  options.augment = &augmentation;
  options.height = 16;
  options.workers = 1;
  options.prefetch = 1;
  const std::vector<Batch> want = all_batches(data, options);
  EXPECT_EQ(want.size(), 9U);
  for (int workers = 1; workers <= 4; ++workers) {
    for (const int prefetch : {1, 3, 20}) {
      options.workers = workers;
      options.prefetch = prefetch;
      expect_same(all_batches(data, options), want);
    }
  }
}

TEST(Loader, EpochHasEachFrameOnceInAnOrderOfItsOwn) {
  const Frames data(50);
  LoaderOptions options = plain();
  options.drop_last = false;
  std::vector<std::string> in_order(50);
  for (std::size_t i = 0; i < 50; ++i) in_order[i] = std::to_string(i);
  EXPECT_EQ(all_ids(data, options), in_order);

  options.shuffle = true;
  std::set<std::vector<std::string>> orders;
  for (const std::uint64_t seed : {1, 2}) {
    for (const std::int64_t epoch : {0, 1, 2}) {
      options.seed = seed;
      options.epoch = epoch;
      std::vector<std::string> ids = all_ids(data, options);
      EXPECT_EQ(ids, all_ids(data, options));
      orders.insert(ids);
      EXPECT_THAT(ids, testing::UnorderedElementsAreArray(in_order));
    }
  }
  EXPECT_EQ(orders.size(), 6U);
}

TEST(Loader, AugmentationDependsOnSeedEpochAndPositionAlone) {
  const Frames data(4);
  const AugmentConfig augmentation{.flip = 0.5, .rotate = 20};
  LoaderOptions options = plain(1);
  options.augment = &augmentation;
  options.epoch = 2;
  const std::vector<Batch> batches = all_batches(data, options);
  for (std::size_t i = 0; i < 4; ++i) {
    Sample s = data.get(static_cast<std::int64_t>(i));
    Rng rng{options.seed, 2, i};
    augment(s, augmentation, rng);
    EXPECT_EQ(batches[i].labels[static_cast<std::size_t>(TaskId::kDepth)], s.label(TaskId::kDepth).data) << i;
  }
  options.epoch = 3;
  EXPECT_NE(all_batches(data, options)[0].images, batches[0].images);
}

TEST(Loader, InfiniteDataGivesFreshFramesEachEpochWhenAsked) {
  const Frames data(3, /*infinite=*/true);
  LoaderOptions options = plain(1);
  options.epoch = 4;
  EXPECT_THAT(all_ids(data, options), ElementsAre("12", "13", "14"));
  options.fresh = false;
  EXPECT_THAT(all_ids(data, options), ElementsAre("0", "1", "2"));
  options.fresh = true;
  EXPECT_THAT(all_ids(Frames(3), options), ElementsAre("0", "1", "2"));
}

TEST(Loader, ResumedEpochIsTheTailOfTheWholeOneAndSkipsItsWork) {
  const Frames whole(22);
  const AugmentConfig augmentation{.flip = 0.5, .rotate = 10};
  LoaderOptions options = plain();
  options.shuffle = true;
  options.augment = &augmentation;
  std::vector<Batch> want = all_batches(whole, options);
  for (const std::int64_t skip : {1, 4, 5, 9}) {
    const Frames data(22);
    options.skip_batches = skip;
    EXPECT_EQ(Loader(data, options).batches(), 5);
    const std::size_t before = data.asked().size();
    const std::vector<Batch> tail = all_batches(data, options);
    const auto from = std::min<std::int64_t>(skip, 5);
    expect_same(tail, std::vector<Batch>(want.begin() + from, want.end()));
    EXPECT_EQ(data.asked().size() - before, static_cast<std::size_t>(5 - from) * 4);
  }
}

TEST(Loader, SharesDealOutTheBatchesOfTheWholeEpochUnchanged) {
  const Frames data(23);
  const AugmentConfig augmentation{.flip = 0.5, .rotate = 10};
  LoaderOptions options = plain(3);
  options.shuffle = true;
  options.augment = &augmentation;
  const std::vector<Batch> whole = all_batches(data, options);
  ASSERT_EQ(whole.size(), 7U);
  options.shards = 3;
  for (int shard = 0; shard < 3; ++shard) {
    for (std::size_t skip = 0; skip < 2; ++skip) {
      options.shard = shard;
      options.skip_batches = static_cast<std::int64_t>(skip);
      std::vector<Batch> want;
      for (std::size_t b = static_cast<std::size_t>(shard) + 3 * skip; b < whole.size(); b += 3) {
        want.push_back(whole[b]);
      }
      expect_same(all_batches(data, options), want);
    }
  }
}

TEST(Loader, LastBatchIsDroppedOrShort) {
  const Frames data(10);
  LoaderOptions options = plain();
  EXPECT_EQ(all_batches(data, options).size(), 2U);
  options.drop_last = false;
  const std::vector<Batch> batches = all_batches(data, options);
  ASSERT_EQ(batches.size(), 3U);
  EXPECT_EQ(batches[2].size, 2);
  EXPECT_EQ(batches[2].images.size(), 2U * 3 * kHeight * kWidth);
  EXPECT_EQ(batches[2].labels[static_cast<std::size_t>(TaskId::kNormals)].size(), 2U * 3 * kHeight * kWidth);
}

TEST(Loader, MakesNoMoreThanPrefetchBatchesAhead) {
  const Frames data(100);
  LoaderOptions options = plain(2);
  options.workers = 4;
  options.prefetch = 3;
  Loader loader(data, options);
  for (std::size_t taken = 0; taken < 5; ++taken) {
    const std::size_t allowed = (taken + 3) * 2;
    EXPECT_TRUE(eventually([&] { return data.asked().size() == allowed; })) << data.asked().size();
    std::this_thread::sleep_for(milliseconds(20));  // and stays there
    EXPECT_EQ(data.asked().size(), allowed);
    EXPECT_TRUE(loader.next());
  }
}

TEST(Loader, WorkersShareOneBatch) {
  Frames data(8);
  std::atomic<int> inside{0};
  std::atomic<int> most{0};
  data.before = [&](std::int64_t) {
    const int now = ++inside;
    for (int old = most; now > old && !most.compare_exchange_weak(old, now);) {
    }
    std::this_thread::sleep_for(milliseconds(20));
    --inside;
  };
  LoaderOptions options = plain(4);
  options.workers = 4;
  options.prefetch = 1;
  Loader loader(data, options);
  EXPECT_TRUE(loader.next());
  EXPECT_GE(most, 3);
}

TEST(Loader, CanBeDestroyedAtAnyTime) {
  Frames data(40);
  data.before = [](std::int64_t i) { std::this_thread::sleep_for(std::chrono::microseconds(i % 7 * 50)); };
  LoaderOptions options = plain(2);
  options.prefetch = 2;
  for (int round = 0; round < 60; ++round) {
    options.workers = 1 + round % 4;
    Loader loader(data, options);
    for (int i = 0; i < round % 8; ++i) loader.next();
    if (round % 3 == 0) std::this_thread::sleep_for(std::chrono::microseconds(round * 20));
  }
  {
    Loader loader(data, options);  // exhausted
    while (loader.next()) {
    }
    EXPECT_FALSE(loader.next());
  }
}

TEST(Loader, RethrowsAWorkersErrorAtItsPlaceAndFromThenOn) {
  for (int workers = 1; workers <= 4; ++workers) {
    Frames data(40);
    data.before = [](std::int64_t i) {
      if (i == 13) std::this_thread::sleep_for(milliseconds(30));  // later failures come first in time
      if (i == 13 || i == 14 || i > 20) throw Error{{.where = "frame " + std::to_string(i)}};
    };
    LoaderOptions options = plain(4);
    options.workers = workers;
    Loader loader(data, options);
    for (int i = 0; i < 3; ++i) EXPECT_TRUE(loader.next());
    for (int i = 0; i < 2; ++i) {
      try {
        loader.next();
        ADD_FAILURE() << "no error";
      } catch (const Error& e) {
        EXPECT_EQ(std::string(e.what()), "frame 13");
      }
    }
  }
}

TEST(Loader, OtherExceptionsComeThroughAsTheyAre) {
  Frames data(4);
  data.before = [](std::int64_t) { throw std::runtime_error("bug"); };
  Loader loader(data, plain());
  EXPECT_THROW(loader.next(), std::runtime_error);
}

TEST(Loader, CollatesToPlanes) {
  Frames data(2);
  LoaderOptions options = plain(2);
  options.keep_samples = true;
  const std::vector<Batch> batches = all_batches(data, options);
  ASSERT_EQ(batches.size(), 1U);
  const Batch& b = batches[0];
  EXPECT_THAT(b.ids, ElementsAre("0", "1"));
  constexpr std::size_t kPixels = std::size_t{kHeight} * kWidth;
  for (std::size_t n = 0; n < 2; ++n) {
    const Sample s = data.get(static_cast<std::int64_t>(n));
    EXPECT_EQ(b.samples[n].image, s.image);
    EXPECT_EQ(b.samples[n].labels, s.labels);
    std::vector<float> image(3 * kPixels);
    normalise_rgb(s.image, image);
    EXPECT_TRUE(std::equal(image.begin(), image.end(), b.images.begin() + static_cast<long>(n * image.size())));
    for (std::size_t i = 0; i < kPixels; ++i) {
      for (std::size_t c = 0; c < 3; ++c) {
        ASSERT_EQ(b.labels[static_cast<std::size_t>(TaskId::kNormals)][(n * 3 + c) * kPixels + i],
                  s.label(TaskId::kNormals).data[i * 3 + c]);
      }
      ASSERT_EQ(b.labels[static_cast<std::size_t>(TaskId::kSemseg)][n * kPixels + i], s.label(TaskId::kSemseg).data[i]);
    }
  }
}

/// One frame whose labels the test chooses.
class OneFrame final : public Dataset {
 public:
  const DatasetInfo& info() const override { return info_; }
  std::int64_t size() const override { return 1; }
  Sample get(std::int64_t) const override { return sample; }
  Sample sample;
  DatasetInfo info_;
};

TEST(Loader, EdgeIsAnyAnnotatorAndUnknownOnlyWhenNoneLooked) {
  OneFrame data;
  data.info_.tasks = {TaskId::kEdge};
  data.sample.image = ImageU8(1, 4, 3);
  ImageF32& edge = data.sample.label(TaskId::kEdge);
  edge = ImageF32(1, 4, 3);
  edge.data = {0, 0, 1, 0, 0, 0, 255, 255, 255, 255, 0, 255};
  LoaderOptions options = plain(1);
  options.height = 1;
  options.width = 4;
  const std::vector<Batch> batches = all_batches(data, options);
  EXPECT_THAT(batches.at(0).labels[static_cast<std::size_t>(TaskId::kEdge)], ElementsAre(1, 0, 255, 0));
}

TEST(Loader, MissingLabelsAreUnknownAndMissingTasksEmpty) {
  OneFrame data;
  data.info_.tasks = {TaskId::kSemseg, TaskId::kDepth, TaskId::kNormals, TaskId::kEdge};
  data.sample.image = ImageU8(1, 1, 3);
  LoaderOptions options = plain(1);
  options.height = options.width = 1;
  const Batch batch = all_batches(data, options).at(0);
  const auto labels = [&](TaskId t) { return batch.labels[static_cast<std::size_t>(t)]; };
  EXPECT_THAT(labels(TaskId::kSemseg), ElementsAre(255));
  EXPECT_THAT(labels(TaskId::kEdge), ElementsAre(255));
  EXPECT_THAT(labels(TaskId::kDepth), ElementsAre(0));
  EXPECT_THAT(labels(TaskId::kNormals), ElementsAre(0, 0, 0));
  EXPECT_THAT(labels(TaskId::kSal), ElementsAre());
}

TEST(Loader, RefusesOptionsThatCannotWork) {
  const Frames data(3);
  const auto refused = [&](auto change, const std::string& field) {
    LoaderOptions options = plain(2);
    change(options);
    try {
      Loader loader(data, options);
      ADD_FAILURE() << "took a wrong " << field;
    } catch (const Error& e) {
      EXPECT_THAT(e.parts().field, HasSubstr(field));
    }
  };
  refused([](LoaderOptions& o) { o.height = 0; }, "height");
  refused([](LoaderOptions& o) { o.batch_size = 0; }, "batch_size");
  refused([](LoaderOptions& o) { o.batch_size = 4; }, "batch_size");  // would be an epoch of no batch
  refused([](LoaderOptions& o) { o.workers = 0; }, "workers");
  refused([](LoaderOptions& o) { o.prefetch = 0; }, "prefetch");
  refused([](LoaderOptions& o) { o.epoch = -1; }, "epoch");
  refused([](LoaderOptions& o) { o.skip_batches = -1; }, "skip_batches");
  refused([](LoaderOptions& o) { o.shards = 0; }, "shards");
  refused([](LoaderOptions& o) { o.shard = 1; }, "shard");
  refused(
      [](LoaderOptions& o) {
        o.shards = 2;
        o.drop_last = false;
      },
      "drop_last");
}

}  // namespace
}  // namespace m3vit
