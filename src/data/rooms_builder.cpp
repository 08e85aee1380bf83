#include "data/rooms_builder.h"

namespace m3vit::rooms {

int Builder::material(const Material& m) {
  scene_.materials.push_back(m);
  return static_cast<int>(scene_.materials.size()) - 1;
}

int Builder::begin(Class label) {
  Object o;
  o.label = label;
  o.first = static_cast<int>(scene_.solids.size());
  // Flat things on walls and floor: their shadows would hardly show, and their narrow sides would give dotted edges.
  const bool flat = label == Class::kWall || label == Class::kWindow || label == Class::kDoor ||
                    label == Class::kPicture || label == Class::kRug;
  o.casts_shadow = !flat;
  creases_ = !flat && label != Class::kCurtain;
  scene_.objects.push_back(o);
  part_ = Part::kNone;
  return static_cast<int>(scene_.objects.size()) - 1;
}

void Builder::end() {
  Object& o = scene_.objects.back();
  o.last = static_cast<int>(scene_.solids.size());
  o.lo = {kMiss, kMiss, kMiss};
  o.hi = {-kMiss, -kMiss, -kMiss};
  for (int i = o.first; i < o.last; ++i) {
    o.lo = min(o.lo, scene_.solids[static_cast<std::size_t>(i)].shape.lo);
    o.hi = max(o.hi, scene_.solids[static_cast<std::size_t>(i)].shape.hi);
  }
  o.center = (o.lo + o.hi) * 0.5F;
  o.ball = 0.5F * length(o.hi - o.lo);
}

void Builder::add(const Shape& shape, int material, bool creased) {
  Solid s;
  s.shape = shape;
  s.object = static_cast<std::uint16_t>(scene_.objects.size() - 1);
  s.material = static_cast<std::uint16_t>(material);
  s.part = part_;
  s.creased = creased && creases_;
  scene_.solids.push_back(s);
}

void Builder::box(Vec3 center, Vec3 half, int material) {
  add(make_box(frame_.world(center), frame_.axes, half), material, true);
}

void Builder::tilted(Vec3 center, Vec3 half, float pitch, int material, float round) {
  const float c = std::cos(pitch);
  const float s = std::sin(pitch);
  const Axes axes{frame_.axes.x, frame_.turn({0, c, -s}), frame_.turn({0, s, c})};
  const Vec3 p = frame_.world(center);
  add(round > 0 ? make_round_box(p, axes, half, round) : make_box(p, axes, half), material, round < 0.08F);
}

void Builder::soft(Vec3 center, Vec3 half, float round, int material) {
  add(make_round_box(frame_.world(center), frame_.axes, half, round), material, round < 0.08F);
}

void Builder::cone(Vec3 a, Vec3 b, float ra, float rb, int material) {
  add(make_cone(frame_.world(a), frame_.world(b), ra, rb), material, true);
}

void Builder::capsule(Vec3 a, Vec3 b, float radius, int material, float flat, Vec3 side) {
  add(make_capsule(frame_.world(a), frame_.world(b), radius, flat, frame_.turn(side)), material, false);
}

void Builder::blob(Vec3 center, Vec3 radii, int material) {
  add(make_ellipsoid(frame_.world(center), frame_.axes, radii), material, false);
}

void Builder::leaf(Vec3 center, Vec3 axis, Vec3 radii, int material) {
  Axes axes;
  axes.y = normalize(frame_.turn(axis));
  const Vec3 side = std::fabs(axes.y.y) < 0.9F ? Vec3{0, 1, 0} : Vec3{1, 0, 0};
  axes.x = normalize(cross(axes.y, side));
  axes.z = cross(axes.x, axes.y);
  add(make_ellipsoid(frame_.world(center), axes, radii), material, false);
}

}  // namespace m3vit::rooms
