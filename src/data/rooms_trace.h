#pragma once
/// Which solid each pixel sees. Solids are binned into screen tiles and sorted by distance once a frame; a pixel then
/// looks only at its tile's solids and stops at the first that starts behind what it has found.
#include <span>

#include "data/rooms_scene.h"

namespace m3vit::rooms {

inline constexpr int kTile = 8;

/// `solid` ≥ 0: an index into Scene::solids; below: −1 − plane.
struct Hit {
  float depth = kMiss;
  int solid = -1;
};

/// The exact visible surface at each pixel's centre.
struct Surfaces {
  int height = 0, width = 0;
  std::vector<Hit> hit;
  std::vector<Vec3> point;       ///< world
  std::vector<Vec3> normal;      ///< world, faces the camera
  std::vector<Surface> surface;  ///< of the solid, outward; its face is 0 on the room's planes
  std::vector<int> patch;        ///< equal where solid and face are equal
  std::size_t index(int y, int x) const {
    return static_cast<std::size_t>(y) * static_cast<std::size_t>(width) + static_cast<std::size_t>(x);
  }
};

class Tracer {
 public:
  Tracer(const Scene& scene, int height, int width);
  /// Continuous pixel coordinates (centres at +½) within pixel (py, px).
  Hit trace(float x, float y, int px, int py) const;
  /// The same, looking only at the room's planes and the given solids.
  Hit trace_among(float x, float y, std::span<const int> solids) const;
  /// All pixel centres.
  Surfaces surfaces() const;
  Vec3 direction(float x, float y) const { return scene_.camera.direction(x, y, height_, width_); }

 private:
  struct Entry {
    int solid;
    float near;  ///< no point of the solid is nearer
  };
  const Scene& scene_;
  int height_, width_, tiles_x_, tiles_y_;
  std::vector<std::size_t> start_;  ///< per tile, into entries_
  std::vector<Entry> entries_;
};

/// Outward normal and local coordinates of the hit point; planes count as faces of no solid (local = world).
Surface surface_of(const Scene& scene, const Hit& hit, Vec3 point);
Vec3 plane_normal(int plane);

}  // namespace m3vit::rooms
