#pragma once
/// Puts solids into a scene, object by object, in an object's own frame: x to its right, y up, z to its front, origin
/// on the floor.
#include "data/rooms_scene.h"

namespace m3vit::rooms {

/// Position and heading of an object.
struct Frame {
  Vec3 origin;
  Axes axes;

  static Frame at(Vec3 origin, float yaw) {
    const float c = std::cos(yaw);
    const float s = std::sin(yaw);
    return {origin, {{c, 0, -s}, {0, 1, 0}, {s, 0, c}}};
  }
  Vec3 world(Vec3 p) const { return origin + axes.x * p.x + axes.y * p.y + axes.z * p.z; }
  Vec3 turn(Vec3 d) const { return axes.x * d.x + axes.y * d.y + axes.z * d.z; }
};

class Builder {
 public:
  Builder(Scene& scene, const Frame& frame) : scene_(scene), frame_(frame) {}

  int material(const Material& m);
  /// Opens a new instance; solids go to it until the next call. Returns its index.
  int begin(Class label);
  /// Computes the bounds of the open instance.
  void end();
  void part(Part p) { part_ = p; }
  /// Whether box edges of the solids to come count as edges; `begin` chooses by class.
  void creases(bool on) { creases_ = on; }
  Object& object() { return scene_.objects.back(); }
  const Frame& frame() const { return frame_; }

  void box(Vec3 center, Vec3 half, int material);
  /// A box turned by `pitch` about x (top leans to the back when positive).
  void tilted(Vec3 center, Vec3 half, float pitch, int material, float round = 0);
  void soft(Vec3 center, Vec3 half, float round, int material);
  void cone(Vec3 a, Vec3 b, float ra, float rb, int material);
  void rod(Vec3 a, Vec3 b, float radius, int material) { cone(a, b, radius, radius, material); }
  void capsule(Vec3 a, Vec3 b, float radius, int material, float flat = 1, Vec3 side = {1, 0, 0});
  void blob(Vec3 center, Vec3 radii, int material);
  /// An ellipsoid whose y axis points along `axis` (object frame).
  void leaf(Vec3 center, Vec3 axis, Vec3 radii, int material);

 private:
  void add(const Shape& shape, int material, bool creased);
  Scene& scene_;
  Frame frame_;
  Part part_ = Part::kNone;
  bool creases_ = true;
};

}  // namespace m3vit::rooms
