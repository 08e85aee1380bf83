#include "data/rooms_geometry.h"

namespace m3vit::rooms {
namespace {

/// Fills rows, bounds and corners from orthonormal axes, the local unit in metres and the local half extents.
void place(Shape& s, Vec3 center, const Axes& axes, Vec3 unit, Vec3 extent) {
  s.center = center;
  s.metres = unit;
  s.rx = axes.x * (1.0F / unit.x);
  s.ry = axes.y * (1.0F / unit.y);
  s.rz = axes.z * (1.0F / unit.z);
  s.cx = Lanes{s.rx.x, s.ry.x, s.rz.x, 0};
  s.cy = Lanes{s.rx.y, s.ry.y, s.rz.y, 0};
  s.cz = Lanes{s.rx.z, s.ry.z, s.rz.z, 0};
  const Vec3 ex = axes.x * (unit.x * extent.x);
  const Vec3 ey = axes.y * (unit.y * extent.y);
  const Vec3 ez = axes.z * (unit.z * extent.z);
  s.ball = length(ex + ey + ez);
  s.lo = {kMiss, kMiss, kMiss};
  s.hi = {-kMiss, -kMiss, -kMiss};
  for (int i = 0; i < 8; ++i) {
    const Vec3 p = center + ((i & 1) != 0 ? ex : -ex) + ((i & 2) != 0 ? ey : -ey) + ((i & 4) != 0 ? ez : -ez);
    s.corners[static_cast<std::size_t>(i)] = p;
    s.lo = min(s.lo, p);
    s.hi = max(s.hi, p);
  }
}

/// y along `along`, x as near to `side` as it can be.
Axes axes_along(Vec3 along, Vec3 side) {
  Axes axes;
  axes.y = normalize(along);
  Vec3 x = side - axes.y * dot(side, axes.y);
  if (dot(x, x) < 1e-6F) {
    const Vec3 other = std::fabs(axes.y.x) < 0.7F ? Vec3{1, 0, 0} : Vec3{0, 0, 1};
    x = other - axes.y * dot(other, axes.y);
  }
  axes.x = normalize(x);
  axes.z = cross(axes.x, axes.y);
  return axes;
}

float hit_box(Lanes o, Lanes d, Vec3 half) {
  constexpr Lanes kTiny{1e-12F, 1e-12F, 1e-12F, 1e-12F};
  const Lanes magnitude = d < 0 ? -d : d;
  const Lanes inverse = 1.0F / (magnitude < kTiny ? kTiny : d);
  const Lanes center = -o * inverse;
  const Lanes reach = (inverse < 0 ? -inverse : inverse) * Lanes{half.x, half.y, half.z, 0};
  const Lanes in = center - reach;
  const Lanes out = center + reach;
  const float enter = std::max(std::max(in[0], in[1]), in[2]);
  const float leave = std::min(std::min(out[0], out[1]), out[2]);
  return enter < leave ? enter : kMiss;
}

/// First root of a t² + 2 b t + c, or kMiss.
float first_root(float a, float b, float c) {
  const float h = b * b - a * c;
  return h < 0.0F || a < 1e-12F ? kMiss : (-b - std::sqrt(h)) / a;
}

/// Minkowski sum of a box and a sphere. If the bounding box is entered through one of the flat faces that is the hit;
/// otherwise it is the first of the corner sphere and the three edge cylinders of the octant entered.
float hit_round_box(Vec3 o, Vec3 d, Vec3 inner, float r) {
  const float enter = hit_box(Lanes{o.x, o.y, o.z, 0}, Lanes{d.x, d.y, d.z, 0}, inner + Vec3{r, r, r});
  if (enter >= kMiss) return kMiss;
  const Vec3 p = o + d * enter;
  const float q[3] = {std::fabs(p.x) - inner.x, std::fabs(p.y) - inner.y, std::fabs(p.z) - inner.z};
  if (static_cast<int>(q[0] > 0) + static_cast<int>(q[1] > 0) + static_cast<int>(q[2] > 0) <= 1) return enter;
  const Vec3 side{p.x < 0 ? -1.0F : 1.0F, p.y < 0 ? -1.0F : 1.0F, p.z < 0 ? -1.0F : 1.0F};
  const Vec3 eo = o * side;
  const Vec3 ed = d * side;
  const Vec3 c = eo - inner;
  const float cc[3] = {c.x, c.y, c.z};
  const float dd[3] = {ed.x, ed.y, ed.z};
  const float oo[3] = {eo.x, eo.y, eo.z};
  const float in[3] = {inner.x, inner.y, inner.z};
  const float rr = r * r;
  float best = first_root(dot(ed, ed), dot(c, ed), dot(c, c) - rr);
  for (int axis = 0; axis < 3; ++axis) {
    const int u = (axis + 1) % 3;
    const int v = (axis + 2) % 3;
    const float t =
        first_root(dd[u] * dd[u] + dd[v] * dd[v], cc[u] * dd[u] + cc[v] * dd[v], cc[u] * cc[u] + cc[v] * cc[v] - rr);
    if (t < best && std::fabs(oo[axis] + dd[axis] * t) < in[axis]) best = t;
  }
  return best;
}

float hit_cone(Vec3 o, Vec3 d, float mean, float slope) {
  const float r0 = mean + slope * o.y;
  const float dr = slope * d.y;
  const float a = d.x * d.x + d.z * d.z - dr * dr;
  const float b = o.x * d.x + o.z * d.z - r0 * dr;
  const float c = o.x * o.x + o.z * o.z - r0 * r0;
  float best = kMiss;
  if (std::fabs(a) > 1e-12F) {
    const float h = b * b - a * c;
    if (h < 0.0F && a > 0.0F) return kMiss;  // misses the whole infinite cone, hence both caps
    if (h >= 0.0F) {
      const float root = std::sqrt(h);
      for (const float t : {(-b - root) / a, (-b + root) / a}) {
        if (t > 0.0F && t < best && std::fabs(o.y + t * d.y) <= 1.0F) best = t;
      }
    }
  }
  if (std::fabs(d.y) > 1e-12F) {
    const float end = o.y > 0.0F ? 1.0F : -1.0F;  // the cap on the origin's side is entered first
    const float t = (end - o.y) / d.y;
    if (t > 0.0F && t < best) {
      const float x = o.x + t * d.x;
      const float z = o.z + t * d.z;
      const float r = mean + slope * end;
      if (x * x + z * z <= r * r) best = t;
    }
  }
  return best;
}

float hit_capsule(Vec3 o, Vec3 d, float half) {
  const float a = d.x * d.x + d.z * d.z;
  const float b = o.x * d.x + o.z * d.z;
  const float c = o.x * o.x + o.z * o.z - 1.0F;
  float y = o.y;
  if (a > 1e-9F) {
    const float h = b * b - a * c;
    if (h < 0.0F) return kMiss;  // the end spheres lie inside the infinite cylinder
    const float t = (-b - std::sqrt(h)) / a;
    y = o.y + t * d.y;
    if (std::fabs(y) < half) return t;
  }
  const Vec3 e{o.x, o.y - (y > 0.0F ? half : -half), o.z};
  return first_root(dot(d, d), dot(e, d), dot(e, e) - 1.0F);
}

}  // namespace

Shape make_box(Vec3 center, const Axes& axes, Vec3 half) {
  Shape s;
  s.kind = ShapeKind::kBox;
  place(s, center, axes, half, {1, 1, 1});
  return s;
}

Shape make_round_box(Vec3 center, const Axes& axes, Vec3 half, float round) {
  Shape s;
  s.kind = ShapeKind::kRoundBox;
  s.round = std::min(round, 0.98F * std::min(std::min(half.x, half.y), half.z));
  s.size = half - Vec3{s.round, s.round, s.round};
  place(s, center, axes, {1, 1, 1}, half);
  return s;
}

Shape make_ellipsoid(Vec3 center, const Axes& axes, Vec3 radii) {
  Shape s;
  s.kind = ShapeKind::kEllipsoid;
  place(s, center, axes, radii, {1, 1, 1});
  return s;
}

Shape make_cone(Vec3 a, Vec3 b, float ra, float rb) {
  Shape s;
  s.kind = ShapeKind::kCone;
  const float r = std::max(ra, rb);
  s.size = {0.5F * (ra + rb) / r, 0.5F * (rb - ra) / r, 0};
  place(s, (a + b) * 0.5F, axes_along(b - a, {1, 0, 0}), {r, 0.5F * length(b - a), r}, {1, 1, 1});
  return s;
}

Shape make_capsule(Vec3 a, Vec3 b, float radius, float flat, Vec3 side) {
  Shape s;
  s.kind = ShapeKind::kCapsule;
  const float half = 0.5F * length(b - a) / radius;
  s.size = {half, 0, 0};
  place(s, (a + b) * 0.5F, axes_along(b - a, side), {radius, radius, radius * flat}, {1, 1 + half, 1});
  return s;
}

float intersect(const Shape& s, const Ray& ray, float t_min, float t_max) {
  const Vec3 oc = ray.o - s.center;
  const Lanes lo = s.cx * oc.x + s.cy * oc.y + s.cz * oc.z;
  const Lanes ld = s.cx * ray.d.x + s.cy * ray.d.y + s.cz * ray.d.z;
  float t = kMiss;
  if (s.kind == ShapeKind::kBox) {
    t = hit_box(lo, ld, Vec3{1, 1, 1});
    return t > t_min && t < t_max ? t : kMiss;
  }
  const Vec3 o{lo[0], lo[1], lo[2]};
  const Vec3 d{ld[0], ld[1], ld[2]};
  switch (s.kind) {
    case ShapeKind::kBox:
      break;
    case ShapeKind::kRoundBox:
      t = hit_round_box(o, d, s.size, s.round);
      break;
    case ShapeKind::kEllipsoid:
      t = first_root(dot(d, d), dot(o, d), dot(o, o) - 1.0F);
      break;
    case ShapeKind::kCone:
      t = hit_cone(o, d, s.size.x, s.size.y);
      break;
    case ShapeKind::kCapsule:
      t = hit_capsule(o, d, s.size.x);
      break;
  }
  return t > t_min && t < t_max ? t : kMiss;
}

Surface surface_at(const Shape& s, Vec3 p) {
  const Vec3 pc = p - s.center;
  const Vec3 q{dot(s.rx, pc), dot(s.ry, pc), dot(s.rz, pc)};
  Surface out;
  out.local = q * s.metres;
  Vec3 n;
  switch (s.kind) {
    case ShapeKind::kBox: {
      const float ax = std::fabs(q.x);
      const float ay = std::fabs(q.y);
      const float az = std::fabs(q.z);
      const int axis = ax > ay && ax > az ? 0 : (ay > az ? 1 : 2);
      out.face = 2 * axis + ((axis == 0 ? q.x : axis == 1 ? q.y : q.z) < 0 ? 1 : 0);
      out.normal = face_normal(s, out.face);
      return out;
    }
    case ShapeKind::kRoundBox: {
      const Vec3 e{std::max(std::fabs(q.x) - s.size.x, 0.0F), std::max(std::fabs(q.y) - s.size.y, 0.0F),
                   std::max(std::fabs(q.z) - s.size.z, 0.0F)};
      const int axis = e.x > e.y && e.x > e.z ? 0 : (e.y > e.z ? 1 : 2);
      out.face = 2 * axis + ((axis == 0 ? q.x : axis == 1 ? q.y : q.z) < 0 ? 1 : 0);
      n = {q.x < 0 ? -e.x : e.x, q.y < 0 ? -e.y : e.y, q.z < 0 ? -e.z : e.z};
      if (dot(n, n) < 1e-16F) {
        out.normal = face_normal(s, out.face);
        return out;
      }
      break;
    }
    case ShapeKind::kEllipsoid:
      n = q;
      break;
    case ShapeKind::kCone: {
      const float r = s.size.x + s.size.y * q.y;
      const float rim = std::sqrt(q.x * q.x + q.z * q.z) - r;
      // Nearer to a cap or to the side, in metres.
      if ((1.0F - std::fabs(q.y)) * s.metres.y < -rim * s.metres.x) {
        out.face = q.y < 0 ? 3 : 2;
        n = {0, q.y < 0 ? -1.0F : 1.0F, 0};
      } else {
        n = {q.x, -s.size.y * r, q.z};
      }
      break;
    }
    case ShapeKind::kCapsule: {
      const float y = q.y > s.size.x ? q.y - s.size.x : (q.y < -s.size.x ? q.y + s.size.x : 0.0F);
      n = {q.x, y, q.z};
      break;
    }
  }
  out.normal = normalize(s.rx * n.x + s.ry * n.y + s.rz * n.z);  // inverse transpose of local → world
  return out;
}

Vec3 face_normal(const Shape& s, int face) {
  const Vec3 row = face < 2 ? s.rx * s.metres.x : face < 4 ? s.ry * s.metres.y : s.rz * s.metres.z;
  return (face & 1) != 0 ? -row : row;
}

}  // namespace m3vit::rooms
