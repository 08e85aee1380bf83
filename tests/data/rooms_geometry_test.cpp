// Ray intersections against a reference that knows nothing of roots: marching through the solid's point set in double.
#include "data/rooms_geometry.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <functional>

namespace m3vit::rooms {
namespace {

struct P {
  double x, y, z;
};
double norm(P p) { return std::sqrt(p.x * p.x + p.y * p.y + p.z * p.z); }

/// Is the point inside the solid? In the solid's own axes, metres.
using Inside = std::function<bool(P)>;

struct Case {
  Shape shape;
  Axes axes;
  Inside inside;
};

P local(const Case& c, P p) {
  const P v{p.x - c.shape.center.x, p.y - c.shape.center.y, p.z - c.shape.center.z};
  const auto along = [&](Vec3 a) { return v.x * a.x + v.y * a.y + v.z * a.z; };
  return {along(c.axes.x), along(c.axes.y), along(c.axes.z)};
}

/// First t at which the ray is inside, by fine steps and bisection; −1 when it never is.
double first_inside(const Case& c, const Ray& ray, double t_max, double step) {
  const auto at = [&](double t) {
    return c.inside(local(c, {ray.o.x + t * ray.d.x, ray.o.y + t * ray.d.y, ray.o.z + t * ray.d.z}));
  };
  for (double t = 0; t < t_max; t += step) {
    if (!at(t)) continue;
    double lo = std::max(0.0, t - step);
    double hi = t;
    for (int i = 0; i < 40; ++i) (at((lo + hi) / 2) ? hi : lo) = (lo + hi) / 2;
    return hi;
  }
  return -1;
}

Axes random_axes(Dice& dice) {
  const Vec3 v{dice.uniform(-1, 1), dice.uniform(-1, 1), dice.uniform(-1, 1)};
  const Vec3 w{dice.uniform(-1, 1), dice.uniform(-1, 1), dice.uniform(-1, 1)};
  Axes a;
  a.x = normalize(v);
  a.y = normalize(cross(a.x, w));
  a.z = cross(a.x, a.y);
  return a;
}

Case random_case(Dice& dice, int kind) {
  Case c;
  c.axes = random_axes(dice);
  const Vec3 at{dice.uniform(-1, 1), dice.uniform(-1, 1), dice.uniform(-1, 1)};
  const Vec3 half{dice.uniform(0.1F, 0.8F), dice.uniform(0.1F, 0.8F), dice.uniform(0.1F, 0.8F)};
  switch (kind) {
    case 0:
      c.shape = make_box(at, c.axes, half);
      c.inside = [half](P p) {
        return std::fabs(p.x) <= half.x && std::fabs(p.y) <= half.y && std::fabs(p.z) <= half.z;
      };
      break;
    case 1: {
      const float r = dice.uniform(0.02F, 0.09F);
      c.shape = make_round_box(at, c.axes, half, r);
      c.inside = [half, r](P p) {
        return norm({std::max(std::fabs(p.x) - half.x + r, 0.0), std::max(std::fabs(p.y) - half.y + r, 0.0),
                     std::max(std::fabs(p.z) - half.z + r, 0.0)}) <= r;
      };
      break;
    }
    case 2:
      c.shape = make_ellipsoid(at, c.axes, half);
      c.inside = [half](P p) { return norm({p.x / half.x, p.y / half.y, p.z / half.z}) <= 1; };
      break;
    case 3: {
      const float ra = dice.uniform(0.05F, 0.5F);
      const float rb = dice.uniform(0.05F, 0.5F);
      c.shape = make_cone(at - c.axes.y * half.y, at + c.axes.y * half.y, ra, rb);
      c.inside = [=](P p) {
        if (std::fabs(p.y) > half.y) return false;
        return std::hypot(p.x, p.z) <= ra + (rb - ra) * (p.y + half.y) / (2 * half.y);
      };
      break;
    }
    default: {
      const float r = dice.uniform(0.05F, 0.3F);
      const float flat = dice.uniform(0.5F, 1.0F);
      c.shape = make_capsule(at - c.axes.y * half.y, at + c.axes.y * half.y, r, flat, c.axes.x);
      c.inside = [=](P p) { return norm({p.x, std::max(std::fabs(p.y) - half.y, 0.0), p.z / flat}) <= r; };
      break;
    }
  }
  return c;
}

class Solids : public testing::TestWithParam<int> {};

TEST_P(Solids, IntersectionAgreesWithMarchingThroughThePointSet) {
  Dice dice(Rng{17, static_cast<std::uint64_t>(GetParam())});
  int hits = 0;
  int disagreements = 0;
  int slivers = 0;
  for (int n = 0; n < 400; ++n) {
    const Case c = random_case(dice, GetParam());
    const Vec3 o = normalize(Vec3{dice.uniform(-1, 1), dice.uniform(-1, 1), dice.uniform(-1, 1)}) * 4.0F;
    const Vec3 target{dice.uniform(-1, 1), dice.uniform(-1, 1), dice.uniform(-1, 1)};
    const Ray ray{o, (c.shape.center + target * (0.6F * c.shape.ball) - o) * 0.25F};
    const double expected = first_inside(c, ray, 12, 0.004);
    const float t = intersect(c.shape, ray, 0, 100);
    if (expected >= 0) {
      ++hits;
      // A grazing ray may slip between two steps or roundings; everything else must agree.
      if (t >= kMiss || std::fabs(t - expected) > 2e-3) ++disagreements;
    } else if (t < kMiss) {
      ++slivers;  // the march steps over corners thinner than its step
    }
  }
  EXPECT_GT(hits, 50);
  EXPECT_LE(disagreements, 2);
  EXPECT_LE(slivers, 8);
}

TEST_P(Solids, NormalIsUnitAndPointsToTheRaysSide) {
  Dice dice(Rng{18, static_cast<std::uint64_t>(GetParam())});
  int checked = 0;
  for (int n = 0; n < 400; ++n) {
    const Case c = random_case(dice, GetParam());
    const Vec3 o = normalize(Vec3{dice.uniform(-1, 1), dice.uniform(-1, 1), dice.uniform(-1, 1)}) * 4.0F;
    const Ray ray{o, normalize(c.shape.center - o)};
    const float t = intersect(c.shape, ray, 0, 100);
    if (t >= kMiss) continue;
    ++checked;
    const Vec3 p = ray.o + ray.d * t;
    const Vec3 normal = surface_at(c.shape, p).normal;
    EXPECT_NEAR(length(normal), 1, 1e-4);
    EXPECT_LT(dot(normal, ray.d), 0);
    // One step out leaves the solid, one step in stays.
    const Vec3 out = p + normal * 5e-3F;
    const Vec3 in = p - normal * 5e-3F;
    EXPECT_FALSE(c.inside(local(c, {out.x, out.y, out.z})));
    EXPECT_TRUE(c.inside(local(c, {in.x, in.y, in.z})));
  }
  EXPECT_GT(checked, 350);
}

TEST_P(Solids, BoundsHoldEveryPoint) {
  Dice dice(Rng{19, static_cast<std::uint64_t>(GetParam())});
  for (int n = 0; n < 100; ++n) {
    const Case c = random_case(dice, GetParam());
    for (int k = 0; k < 200; ++k) {
      const Vec3 p{dice.uniform(-2, 2), dice.uniform(-2, 2), dice.uniform(-2, 2)};
      if (!c.inside(local(c, {p.x, p.y, p.z}))) continue;
      EXPECT_LE(length(p - c.shape.center), c.shape.ball + 1e-4F);
      for (const float d : {p.x - c.shape.lo.x, p.y - c.shape.lo.y, p.z - c.shape.lo.z, c.shape.hi.x - p.x,
                            c.shape.hi.y - p.y, c.shape.hi.z - p.z}) {
        EXPECT_GE(d, -1e-4F);
      }
    }
  }
}

std::string kind_name(const testing::TestParamInfo<int>& kind) {
  static const std::array<std::string, 5> names{"Box", "RoundBox", "Ellipsoid", "Cone", "Capsule"};
  return names[static_cast<std::size_t>(kind.param)];
}
INSTANTIATE_TEST_SUITE_P(All, Solids, testing::Range(0, 5), kind_name);

}  // namespace
}  // namespace m3vit::rooms
