// Every loss against loops over pixels written from docs/model.md, and its gradient against finite differences.
#include "train/losses.h"

#include <gtest/gtest.h>

#include <cmath>
#include <limits>

namespace m3vit {
namespace {

constexpr int kB = 2, kH = 3, kW = 4;

int channels(TaskId t) {
  return t == TaskId::kSemseg ? 5 : t == TaskId::kHumanParts ? 7 : t == TaskId::kNormals ? 3 : 1;
}

torch::Tensor random_raw(TaskId t) { return torch::randn({kB, channels(t), kH, kW}, torch::kDouble) * 2; }

/// Labels with some unknown pixels.
torch::Tensor random_label(TaskId t) {
  torch::Tensor label;
  switch (t) {
    case TaskId::kSemseg:
    case TaskId::kHumanParts:
      label = torch::randint(channels(t), {kB, 1, kH, kW}).to(torch::kDouble);
      label.index_put_({0, 0, 0}, 255.0);
      break;
    case TaskId::kDepth:
      label = torch::rand({kB, 1, kH, kW}, torch::kDouble) * 5 + 0.5;
      label.index_put_({0, 0, 0, 0}, 0.0);
      label.index_put_({0, 0, 0, 1}, std::numeric_limits<double>::quiet_NaN());
      label.index_put_({0, 0, 0, 2}, std::numeric_limits<double>::infinity());
      label.index_put_({0, 0, 0, 3}, 255.0);
      break;
    case TaskId::kNormals: {
      label = torch::randn({kB, 3, kH, kW}, torch::kDouble);
      label = label / label.norm(2, {1}, /*keepdim=*/true);
      label.index_put_({1, torch::indexing::Slice(), 2}, 0.0);
      break;
    }
    case TaskId::kEdge:
    case TaskId::kSal:
      label = (torch::rand({kB, 1, kH, kW}) < 0.3).to(torch::kDouble);
      label.index_put_({1, 0, 1}, 255.0);
      break;
  }
  return label;
}

double softplus(double x) { return x > 0 ? x + std::log1p(std::exp(-x)) : std::log1p(std::exp(x)); }

double naive(TaskId t, const torch::Tensor& raw_tensor, const torch::Tensor& label_tensor, double edge_weight) {
  const auto raw = raw_tensor.accessor<double, 4>();
  const auto label = label_tensor.accessor<double, 4>();
  double sum = 0, count = 0, positive = 0;
  for (int b = 0; b < kB; ++b) {
    for (int y = 0; y < kH; ++y) {
      for (int x = 0; x < kW; ++x) positive += label[b][0][y][x] == 1.0 ? 1 : 0;
    }
  }
  const double labelled = static_cast<double>((label_tensor.select(1, 0) != 255).sum().item<std::int64_t>());
  const double w = t == TaskId::kEdge ? edge_weight : (labelled - positive) / labelled;
  for (int b = 0; b < kB; ++b) {
    for (int y = 0; y < kH; ++y) {
      for (int x = 0; x < kW; ++x) {
        const double l = label[b][0][y][x];
        switch (t) {
          case TaskId::kSemseg:
          case TaskId::kHumanParts: {
            if (l == 255) continue;
            double total = 0;
            for (int c = 0; c < channels(t); ++c) total += std::exp(raw[b][c][y][x]);
            sum += std::log(total) - raw[b][static_cast<int>(l)][y][x];
            break;
          }
          case TaskId::kDepth:
            if (!std::isfinite(l) || l <= 0 || l == 255) continue;
            sum += std::abs(raw[b][0][y][x] - l);
            break;
          case TaskId::kNormals: {
            double length = 0;
            for (int c = 0; c < 3; ++c) length += raw[b][c][y][x] * raw[b][c][y][x];
            if (label[b][0][y][x] == 0 && label[b][1][y][x] == 0 && label[b][2][y][x] == 0) continue;
            for (int c = 0; c < 3; ++c) sum += std::abs(raw[b][c][y][x] / std::sqrt(length) - label[b][c][y][x]) / 3;
            break;
          }
          case TaskId::kEdge:
          case TaskId::kSal:
            if (l == 255) continue;
            sum += l == 1 ? w * softplus(-raw[b][0][y][x]) : (1 - w) * softplus(raw[b][0][y][x]);
            break;
        }
        ++count;
      }
    }
  }
  return sum / count;
}

class Losses : public testing::TestWithParam<TaskId> {
 protected:
  void SetUp() override { torch::manual_seed(7); }
};

TEST_P(Losses, EqualsTheLoopOverPixels) {
  for (int trial = 0; trial < 5; ++trial) {
    const torch::Tensor raw = random_raw(GetParam()), label = random_label(GetParam());
    EXPECT_NEAR(task_loss(GetParam(), raw, label, 0.95).item<double>(), naive(GetParam(), raw, label, 0.95), 1e-12);
  }
}

TEST_P(Losses, GradientEqualsFiniteDifferences) {
  torch::Tensor raw = random_raw(GetParam()).requires_grad_(true);
  const torch::Tensor label = random_label(GetParam());
  task_loss(GetParam(), raw, label, 0.95).backward();
  const torch::NoGradGuard no_grad;
  torch::Tensor flat = raw.view({-1});
  const torch::Tensor gradient = raw.grad().view({-1});
  constexpr double kStep = 1e-6;
  for (std::int64_t i = 0; i < flat.numel(); ++i) {
    const double value = flat[i].item<double>();
    flat[i] = value + kStep;
    const double up = task_loss(GetParam(), raw, label, 0.95).item<double>();
    flat[i] = value - kStep;
    const double down = task_loss(GetParam(), raw, label, 0.95).item<double>();
    flat[i] = value;
    EXPECT_NEAR(gradient[i].item<double>(), (up - down) / (2 * kStep), 1e-7) << "value " << i;
  }
}

TEST_P(Losses, NothingLabelledIsZeroWithAZeroGradient) {
  torch::Tensor raw = random_raw(GetParam()).requires_grad_(true);
  const bool zero = GetParam() == TaskId::kDepth || GetParam() == TaskId::kNormals;
  const torch::Tensor label =
      torch::full({kB, GetParam() == TaskId::kNormals ? 3 : 1, kH, kW}, zero ? 0.0 : 255.0, torch::kDouble);
  const torch::Tensor loss = task_loss(GetParam(), raw, label, 0.95);
  EXPECT_EQ(loss.item<double>(), 0);
  loss.backward();
  EXPECT_EQ(raw.grad().abs().max().item<double>(), 0);
}

TEST_P(Losses, AWrongSizeIsRefused) {
  EXPECT_THROW(task_loss(GetParam(), random_raw(GetParam()), torch::zeros({kB, 1, kH, kW + 1}, torch::kDouble), 0.95),
               c10::Error);
}

INSTANTIATE_TEST_SUITE_P(Tasks, Losses,
                         testing::Values(TaskId::kSemseg, TaskId::kDepth, TaskId::kNormals, TaskId::kEdge, TaskId::kSal,
                                         TaskId::kHumanParts),
                         [](const auto& param) { return std::string(task_spec(param.param).name); });

}  // namespace
}  // namespace m3vit
