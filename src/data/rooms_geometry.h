#pragma once
/// The solids that every object of a room is built of, and their ray intersections. All are convex and symmetric
/// about their centre; the ray is moved into the solid's frame, so scaled and turned solids cost the same.
#include <array>

#include "data/rooms_math.h"

namespace m3vit::rooms {

enum class ShapeKind : std::uint8_t { kBox, kRoundBox, kEllipsoid, kCone, kCapsule };

inline constexpr float kMiss = 1e30F;
inline constexpr int kCurved = 6;  ///< face number of a point that lies on no flat face

/// Four lanes; gcc's and clang's own vectors, so any machine compiles it.
using Lanes = float __attribute__((vector_size(16)));

/// p_local = (rows · (p − center)); the rows are orthogonal, their lengths are the scale.
struct Shape {
  ShapeKind kind = ShapeKind::kBox;
  Vec3 center;
  Vec3 rx, ry, rz;
  Lanes cx, cy, cz;  ///< the same matrix by columns
  Vec3 size;         ///< kRoundBox: inner half extents; kCone: {mean radius, slope, 0}; kCapsule: {half length, 0, 0}
  float round = 0;   ///< kRoundBox: radius of its edges
  Vec3 metres;       ///< local units → metres, per axis
  Vec3 lo, hi;       ///< world bounding box
  float ball = 0;    ///< radius of the bounding sphere about `center`
  std::array<Vec3, 8> corners;  ///< of the oriented bounding box, in the world
};

struct Ray {
  Vec3 o, d;  ///< d need not have length 1; t counts in its lengths
};

/// Three orthonormal axes.
struct Axes {
  Vec3 x{1, 0, 0}, y{0, 1, 0}, z{0, 0, 1};
};

Shape make_box(Vec3 center, const Axes& axes, Vec3 half);
/// `round` is clamped to the smallest half extent; `half` includes it.
Shape make_round_box(Vec3 center, const Axes& axes, Vec3 half, float round);
Shape make_ellipsoid(Vec3 center, const Axes& axes, Vec3 radii);
/// Capped cone or cylinder from a (radius ra) to b (radius rb).
Shape make_cone(Vec3 a, Vec3 b, float ra, float rb);
/// Capsule from a to b; `flat` scales its thickness along the axis that is perpendicular to b − a and to `side`.
Shape make_capsule(Vec3 a, Vec3 b, float radius, float flat, Vec3 side);

/// Nearest t in (t_min, t_max) at which the ray enters, or kMiss. The origin must lie outside.
float intersect(const Shape& s, const Ray& ray, float t_min, float t_max);

struct Surface {
  Vec3 normal;         ///< outward, length 1
  Vec3 local;          ///< the point in metres in the solid's own axes
  int face = kCurved;  ///< box faces: 2·axis + (negative side); kCurved otherwise
};
Surface surface_at(const Shape& s, Vec3 p);
/// Outward normal of a face 0 … 5.
Vec3 face_normal(const Shape& s, int face);

}  // namespace m3vit::rooms
