// Ranks as processes of this program: forked before anything has started a thread, hence a program of its own.
#include "train/world.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cstdlib>
#include <functional>
#include <stdexcept>

#include "core/error.h"
#include "local_ranks.h"

namespace m3vit {
namespace {

/// Exit codes of `work` run by so many ranks at once: 0 true, 1 false, 2 it threw.
std::vector<int> run_ranks(int size, const std::function<bool(World&)>& work) {
  const int port = free_port();
  return wait_for(fork_ranks(size, [&](int rank) {
    try {
      World world({.rank = rank, .size = size, .local_size = size, .address = "127.0.0.1", .port = port});
      return work(world) ? 0 : 1;
    } catch (const std::exception& e) {
      std::fprintf(stderr, "rank %d: %s\n", rank, e.what());
      return 2;
    }
  }));
}

TEST(World, SumsAndCopiesAreTheSameOnEveryRank) {
  if (!has_gloo()) GTEST_SKIP() << "no Gloo in this build";
  const auto codes = run_ranks(3, [](World& world) {
    const double r = world.rank();
    // 40 MiB of one kind and a few doubles: several buckets of two kinds.
    std::vector<torch::Tensor> tensors;
    for (int i = 0; i < 10; ++i) tensors.push_back(torch::full({1 << 20}, r + i));
    tensors.push_back(torch::full({3, 2}, r, torch::kDouble));
    world.sum(tensors);
    bool good = true;
    for (int i = 0; i < 10; ++i) {
      good = good && tensors[static_cast<std::size_t>(i)].eq(3.0 + 3 * i).all().item<bool>();
    }
    good = good && tensors.back().eq(3.0).all().item<bool>();
    std::vector<double> values{r, 1};
    world.sum(values);
    good = good && values == std::vector<double>{3, 3};
    torch::Tensor own = torch::full({2, 2}, r + 5).t();  // not contiguous in general
    world.copy_from_first({own});
    good = good && own.eq(5.0).all().item<bool>();
    return good && world.any(world.rank() == 2) && !world.any(false) && world.size() == 3 &&
           world.first() == (world.rank() == 0);
  });
  EXPECT_THAT(codes, testing::Each(0));
}

TEST(World, GradientsAddUpAndWhatNoRankUsesStaysWithout) {
  if (!has_gloo()) GTEST_SKIP() << "no Gloo in this build";
  const auto codes = run_ranks(2, [](World& world) {
    torch::nn::Linear both(2, 2), one(2, 2), none(2, 2);
    torch::nn::Sequential net(both, one, none);
    both->weight.mutable_grad() = torch::full({2, 2}, 1.0 + world.rank());
    if (world.rank() == 1) one->weight.mutable_grad() = torch::full({2, 2}, 7.0);
    sum_gradients(*net, world);
    return both->weight.grad().eq(3.0).all().item<bool>() && one->weight.grad().eq(7.0).all().item<bool>() &&
           !none->weight.grad().defined() && !both->bias.grad().defined();
  });
  EXPECT_THAT(codes, testing::Each(0));
}

TEST(World, ALostRankEndsTheOthers) {
  if (!has_gloo()) GTEST_SKIP() << "no Gloo in this build";
  const auto codes = run_ranks(2, [](World& world) -> bool {
    if (world.rank() == 1) _exit(0);
    std::vector<double> values{1};
    while (true) world.sum(values);
  });
  EXPECT_EQ(codes[0], 2);
}

TEST(World, OneProcessNeedsNobody) {
  World world(Rank{});
  std::vector<double> values{2};
  world.sum(values);
  EXPECT_EQ(values[0], 2);
  EXPECT_TRUE(world.first() && world.any(true) && !world.any(false));
}

class Environment : public testing::Test {
 protected:
  void SetUp() override {
    for (const char* name :
         {"RANK", "WORLD_SIZE", "LOCAL_WORLD_SIZE", "MASTER_ADDR", "MASTER_PORT", "OMPI_COMM_WORLD_RANK",
          "OMPI_COMM_WORLD_SIZE", "OMPI_COMM_WORLD_LOCAL_SIZE", "PMI_RANK", "PMI_SIZE", "MPI_LOCALNRANKS"}) {
      unsetenv(name);
    }
  }
};

TEST_F(Environment, IsTorchrunsOrMpiruns) {
  EXPECT_EQ(launched_rank().size, 1);
  setenv("OMPI_COMM_WORLD_RANK", "2", 1);
  setenv("OMPI_COMM_WORLD_SIZE", "4", 1);
  setenv("OMPI_COMM_WORLD_LOCAL_SIZE", "2", 1);
  Rank r = launched_rank();
  EXPECT_EQ(r.rank, 2);
  EXPECT_EQ(r.size, 4);
  EXPECT_EQ(r.local_size, 2);
  EXPECT_EQ(r.port, 29500);
  setenv("RANK", "0", 1);
  setenv("WORLD_SIZE", "8", 1);
  setenv("MASTER_ADDR", "node7", 1);
  setenv("MASTER_PORT", "1234", 1);
  r = launched_rank();
  EXPECT_EQ(r.rank, 0);
  EXPECT_EQ(r.size, 8);
  EXPECT_EQ(r.address, "node7");
  EXPECT_EQ(r.port, 1234);
}

TEST_F(Environment, NonsenseNamesTheVariable) {
  const auto complaint = [] {
    try {
      launched_rank();
    } catch (const Error& e) {
      return e.parts().field;
    }
    return std::string("none");
  };
  setenv("WORLD_SIZE", "2x", 1);
  EXPECT_EQ(complaint(), "WORLD_SIZE");
  setenv("WORLD_SIZE", "2", 1);
  EXPECT_EQ(complaint(), "RANK");
  setenv("RANK", "2", 1);
  EXPECT_EQ(complaint(), "RANK");
}

}  // namespace
}  // namespace m3vit
