#include "train/weighting/weighting.h"

#include <gtest/gtest.h>

#include <Eigen/Dense>
#include <cmath>
#include <nlohmann/json.hpp>

#include "core/error.h"
#include "core/rng.h"

namespace m3vit {
namespace {

using Eigen::Index;
using Eigen::MatrixXd;
using Eigen::VectorXd;

constexpr Weighting kAll[] = {Weighting::kFixed,   Weighting::kUncertainty, Weighting::kDwa,    Weighting::kGradnorm,
                              Weighting::kMgda,    Weighting::kPcgrad,      Weighting::kCagrad, Weighting::kFamo,
                              Weighting::kNashMtl, Weighting::kAlignedMtl};

std::unique_ptr<TaskWeighting> make(Weighting method, int tasks, WeightingConfig config = {}) {
  config.method = method;
  return make_weighting(config, tasks, 7);
}
VectorXd vec(std::initializer_list<double> values) {
  VectorXd v(static_cast<Index>(values.size()));
  Index i = 0;
  for (const double x : values) v[i++] = x;
  return v;
}
MatrixXd gram_of(const MatrixXd& g) { return g.transpose() * g; }
MatrixXd random_gradients(Rng& rng, Index dim, Index tasks) {
  MatrixXd g(dim, tasks);
  for (double& v : g.reshaped()) v = rng.normal();
  return g;
}
void expect_near(const VectorXd& a, const VectorXd& b, double tolerance = 1e-9) {
  EXPECT_LT((a - b).norm(), tolerance) << a.transpose() << " | " << b.transpose();
}

TEST(Weighting, TasksThatDoNotDifferWeighOneEachWhateverTheUnit) {
  for (const Weighting method : kAll) {
    for (const double length : {1e-4, 1.0, 1e4}) {
      const auto w = make(method, 3);
      const VectorXd losses = vec({0.7, 0.7, 0.7});
      const VectorXd first = w->weights(losses, length * length * MatrixXd::Identity(3, 3));
      // CAGrad adds its radius to a mean gradient that is already fair: 1 + c.
      expect_near(first, VectorXd::Constant(3, method == Weighting::kCagrad ? 1.4 : 1.0), 1e-6);
    }
  }
}

TEST(Weighting, NoGradientAtAllLeavesWeightsOfOne) {
  for (const Weighting method : kAll) {
    expect_near(make(method, 2)->weights(vec({1, 1}), MatrixXd::Zero(2, 2)), vec({1, 1}));
  }
}

TEST(Weighting, UncertaintyMovesLogVarianceAlongItsObjective) {
  WeightingConfig config;
  config.lr = 0.1;
  const auto w = make(Weighting::kUncertainty, 2, config);
  expect_near(w->weights(vec({4, 0.5}), {}), vec({1, 1}));
  // ds = 1 − L: s = 0.3 and −0.05 after one step.
  expect_near(w->weights(vec({4, 0.5}), {}), vec({std::exp(-0.3), std::exp(0.05)}));
  for (int i = 0; i < 5000; ++i) w->weights(vec({4, 0.5}), {});
  expect_near(w->weights(vec({4, 0.5}), {}), vec({0.25, 2.0}), 1e-6);  // the optimum, exp(−s) = 1/L
}

TEST(Weighting, DwaFollowsTheRatioOfTheLastTwoEpochs) {
  const auto w = make(Weighting::kDwa, 2);
  expect_near(w->weights(vec({9, 9}), {}), vec({1, 1}));
  w->epoch_ended(vec({2.0, 4.0}));
  expect_near(w->weights(vec({9, 9}), {}), vec({1, 1}));
  w->epoch_ended(vec({1.0, 3.0}));
  const double a = std::exp(0.5 / 2), b = std::exp(0.75 / 2);
  expect_near(w->weights(vec({9, 9}), {}), vec({2 * a / (a + b), 2 * b / (a + b)}));
}

TEST(Weighting, FamoStepByHand) {
  WeightingConfig config;
  config.lr = 0.1;
  config.decay = 0;
  const auto w = make(Weighting::kFamo, 2, config);
  ASSERT_TRUE(w->needs_losses_after());
  // z = ½: weights in the ratio of 1/L, summing to 2.
  expect_near(w->weights(vec({1, 3}), {}), vec({1.5, 0.5}), 1e-6);
  // Task 0 improved by log 2, task 1 not: Jᵀδ = ¼·(δ0 − δ1)·(1, −1), and Adam's first step is lr·sign.
  w->stepped(vec({0.5, 3}));
  const double z0 = 1 / (1 + std::exp(0.2));  // ξ = (−0.1, 0.1)
  const double a = z0 / 1, b = (1 - z0) / 1;
  expect_near(w->weights(vec({1, 1}), {}), vec({2 * a / (a + b), 2 * b / (a + b)}), 1e-6);
}

TEST(Weighting, GradnormRaisesTheTaskThatLearnsSlowly) {
  WeightingConfig config;
  config.lr = 0.1;
  config.alpha = 1;
  const auto w = make(Weighting::kGradnorm, 2, config);
  const MatrixXd gram = MatrixXd::Identity(2, 2);
  w->weights(vec({1, 1}), gram);  // the first losses: r = 1, lengths equal, nothing to move
  w->weights(vec({0.5, 1.0}), gram);
  // r = (2/3, 4/3), Ḡ = 1: w0 falls and w1 rises by lr.
  expect_near(w->weights(vec({0.5, 1.0}), gram), vec({0.9, 1.1}));
  config.lr = 1e-3;
  const auto slow = make(Weighting::kGradnorm, 2, config);
  slow->weights(vec({1, 1}), gram);
  for (int i = 0; i < 2000; ++i) slow->weights(vec({0.5, 1.0}), gram);
  const VectorXd settled = slow->weights(vec({0.5, 1.0}), gram);
  EXPECT_NEAR(settled[1] / settled[0], 2, 0.01);  // weighted lengths in the ratio of r
}

TEST(Weighting, MgdaNeverGoesAgainstATask) {
  Rng rng{11};
  for (int i = 0; i < 100; ++i) {
    const MatrixXd g = random_gradients(rng, 5, 4);
    const VectorXd d = g * make(Weighting::kMgda, 4)->weights(VectorXd::Ones(4), gram_of(g));
    EXPECT_GE((g.transpose() * d).minCoeff(), d.squaredNorm() / 4 - 1e-6);
  }
}

/// PCGrad on the vectors themselves, in the order (0, 1, …): for two tasks the order does not matter.
MatrixXd projected(const MatrixXd& g) {
  MatrixXd p = g;
  for (Index i = 0; i < g.cols(); ++i) {
    for (Index j = 0; j < g.cols(); ++j) {
      const double along = p.col(i).dot(g.col(j));
      if (i != j && along < 0) p.col(i) -= along / g.col(j).squaredNorm() * g.col(j);
    }
  }
  return p;
}

TEST(Weighting, PcgradOfTwoTasksIsTheProjectionOfTheVectors) {
  Rng rng{12};
  for (int i = 0; i < 100; ++i) {
    const MatrixXd g = random_gradients(rng, 4, 2);
    const VectorXd w = make(Weighting::kPcgrad, 2)->weights(VectorXd::Ones(2), gram_of(g));
    expect_near(g * w, projected(g).rowwise().sum(), 1e-8);
  }
}

TEST(Weighting, PcgradLeavesTasksThatAgreeAlone) {
  MatrixXd gram(3, 3);
  gram << 1, 0.5, 0, 0.5, 2, 0.1, 0, 0.1, 3;
  expect_near(make(Weighting::kPcgrad, 3)->weights(VectorXd::Ones(3), gram), VectorXd::Ones(3));
}

TEST(Weighting, CagradServesTheWorstTaskBestWithinItsRadius) {
  Rng rng{13};
  for (int i = 0; i < 20; ++i) {
    const MatrixXd g = random_gradients(rng, 2, 3);  // in the plane, where every direction can be tried
    const VectorXd mean = g.rowwise().mean();
    const VectorXd d = g * make(Weighting::kCagrad, 3)->weights(VectorXd::Ones(3), gram_of(g)) / 3;
    EXPECT_LE((d - mean).norm(), 0.4 * mean.norm() + 1e-6);
    const double worst = (g.transpose() * d).minCoeff();
    for (int k = 0; k < 720; ++k) {
      for (const double share : {0.25, 0.5, 0.75, 1.0}) {
        const double angle = k * 3.14159265358979 / 360;
        const VectorXd other = mean + share * 0.4 * mean.norm() * vec({std::cos(angle), std::sin(angle)});
        EXPECT_LE((g.transpose() * other).minCoeff(), worst + 1e-4 * g.norm());
      }
    }
  }
}

TEST(Weighting, NashSolvesItsBargain) {
  Rng rng{14};
  for (int i = 0; i < 100; ++i) {
    const MatrixXd g = random_gradients(rng, 6, 4);
    const MatrixXd gram = gram_of(g);
    const VectorXd a = make(Weighting::kNashMtl, 4)->weights(VectorXd::Ones(4), gram);
    EXPECT_GT(a.minCoeff(), 0);
    // G·α ∝ 1/α: every task gains equally, α_t·⟨g_t, d⟩ is one number.
    const VectorXd gain = a.cwiseProduct(gram * a);
    EXPECT_LT((gain.array() - gain.mean()).abs().maxCoeff(), 1e-5 * gain.mean());
  }
}

TEST(Weighting, NashStaysFiniteWhenTasksAreOpposed) {
  MatrixXd gram(2, 2);
  gram << 1, -1, -1, 1;
  EXPECT_TRUE(make(Weighting::kNashMtl, 2)->weights(vec({1, 1}), gram).allFinite());
}

TEST(Weighting, AlignedMtlAddsTheGradientsOfAnOrthogonalFrame) {
  Rng rng{15};
  for (int i = 0; i < 50; ++i) {
    const MatrixXd g = random_gradients(rng, 6, 3);
    const VectorXd d = g * make(Weighting::kAlignedMtl, 3)->weights(VectorXd::Ones(3), gram_of(g));
    // Independently, from the singular vectors of the gradient matrix: σ_min·U·Vᵀ·1.
    const Eigen::JacobiSVD<MatrixXd> svd(g, Eigen::ComputeThinU | Eigen::ComputeThinV);
    const VectorXd want =
        svd.singularValues().minCoeff() * svd.matrixU() * svd.matrixV().transpose() * VectorXd::Ones(3);
    expect_near(d, want, 1e-6 * g.norm());
  }
}

TEST(Weighting, AlignedMtlIgnoresDirectionsThatAreNotThere) {
  MatrixXd gram(2, 2);
  gram << 1, 1, 1, 1;  // one and the same gradient twice
  const VectorXd w = make(Weighting::kAlignedMtl, 2)->weights(vec({1, 1}), gram);
  expect_near(w, vec({1, 1}), 1e-6);
}

TEST(Weighting, AnyTwoMethodsThatShouldDifferDo) {
  MatrixXd g(3, 3);
  g << 1, -0.8, 0.2, 0, 1.5, 0.3, 0.1, 0.2, 0.4;
  std::vector<VectorXd> results;
  for (const Weighting method : kAll) {
    const auto w = make(method, 3);
    w->epoch_ended(vec({1.0, 2.0, 4.0}));
    w->epoch_ended(vec({0.9, 1.0, 3.9}));
    VectorXd last;
    for (int i = 0; i < 5; ++i) {
      last = w->weights(vec({1.0 - 0.1 * i, 2.0, 4.0}), w->needs_gradients() ? gram_of(g) : MatrixXd());
      if (w->needs_losses_after()) w->stepped(vec({0.95 - 0.1 * i, 1.99, 4.1}));
    }
    results.push_back(last);
  }
  for (std::size_t a = 0; a < results.size(); ++a) {
    for (std::size_t b = a + 1; b < results.size(); ++b) {
      EXPECT_GT((results[a] - results[b]).norm(), 1e-3) << a << " and " << b << ": " << results[a].transpose();
    }
  }
}

TEST(Weighting, ARestoredMethodGoesOnBitForBit) {
  Rng rng{16};
  for (const Weighting method : kAll) {
    const auto first = make(method, 3);
    const auto go = [&](TaskWeighting& w, std::uint64_t i) {
      Rng step{99, i};
      const MatrixXd gram = gram_of(random_gradients(step, 4, 3));
      const VectorXd losses = random_gradients(step, 3, 1).cwiseAbs();
      VectorXd result = w.weights(losses, gram);
      w.stepped(losses * 0.9);
      if (i % 3 == 2) w.epoch_ended(losses);
      return result;
    };
    for (std::uint64_t i = 0; i < 8; ++i) go(*first, i);
    const auto second = make(method, 3);
    second->restore(nlohmann::json::parse(first->state().dump()), "test");
    for (std::uint64_t i = 8; i < 16; ++i) EXPECT_EQ(go(*first, i), go(*second, i)) << static_cast<int>(method);
  }
}

TEST(Weighting, AStateOfAnotherShapeIsRefusedByName) {
  const auto w = make(Weighting::kDwa, 3);
  try {
    w->restore({{"last", {1, 2}}, {"before", {1, 2, 3}}}, "run/last.optim");
    FAIL();
  } catch (const Error& e) {
    EXPECT_NE(std::string(e.what()).find("weighting.last"), std::string::npos) << e.what();
  }
}

}  // namespace
}  // namespace m3vit
