#include "data/rooms_trace.h"

namespace m3vit::rooms {
namespace {

struct Bin {
  int solid;
  float near;
  int x0, y0, x1, y1;  ///< tiles, both ends included
};

/// The first of the room's planes ahead; each axis has one.
Hit hit_room(const Scene& s, Vec3 o, Vec3 d) {
  const Lanes dir{d.x, d.y, d.z, 1};
  const Lanes wall = dir > 0 ? Lanes{s.hi.x, s.hi.y, s.hi.z, 0} : Lanes{s.lo.x, s.lo.y, s.lo.z, 0};
  const Lanes t = (wall - Lanes{o.x, o.y, o.z, 0}) / dir;
  Hit hit;
  for (int axis = 0; axis < 3; ++axis) {
    if (std::fabs(dir[axis]) >= 1e-9F && t[axis] < hit.depth)
      hit = {t[axis], -1 - (2 * axis + (dir[axis] > 0 ? 1 : 0))};
  }
  return hit;
}

}  // namespace

Tracer::Tracer(const Scene& scene, int height, int width)
    : scene_(scene),
      height_(height),
      width_(width),
      tiles_x_((width + kTile - 1) / kTile),
      tiles_y_((height + kTile - 1) / kTile) {
  constexpr float kNear = 0.03F;
  const Camera& c = scene.camera;
  const float f = c.focal(height, width);
  const auto h = static_cast<float>(height);
  const auto w = static_cast<float>(width);
  std::vector<Bin> bins;
  for (std::size_t i = 0; i < scene.solids.size(); ++i) {
    float near = kMiss;
    float far = -kMiss;
    float x0 = kMiss;
    float y0 = kMiss;
    float x1 = -kMiss;
    float y1 = -kMiss;
    for (const Vec3& p : scene.solids[i].shape.corners) {
      const Vec3 v = p - c.position;
      const float z = -dot(c.back, v);
      near = std::min(near, z);
      far = std::max(far, z);
      if (z < kNear) continue;
      const float x = 0.5F * w + f * dot(c.right, v) / z;
      const float y = 0.5F * h - f * dot(c.up, v) / z;
      x0 = std::min(x0, x);
      x1 = std::max(x1, x);
      y0 = std::min(y0, y);
      y1 = std::max(y1, y);
    }
    if (far < kNear) continue;
    if (near < kNear) {  // reaches behind the camera: its projection is unbounded
      near = 0;
      x0 = y0 = 0;
      x1 = w;
      y1 = h;
    }
    if (x1 < 0 || y1 < 0 || x0 > w || y0 > h) continue;
    const auto tile = [](float v, float limit, int last) {
      return std::min(static_cast<int>(std::min(std::max(v, 0.0F), limit)) / kTile, last);
    };
    bins.push_back({static_cast<int>(i), near, tile(x0 - 0.5F, w, tiles_x_ - 1), tile(y0 - 0.5F, h, tiles_y_ - 1),
                    tile(x1 + 0.5F, w, tiles_x_ - 1), tile(y1 + 0.5F, h, tiles_y_ - 1)});
  }
  std::stable_sort(bins.begin(), bins.end(), [](const Bin& a, const Bin& b) { return a.near < b.near; });

  const auto tiles = static_cast<std::size_t>(tiles_x_) * static_cast<std::size_t>(tiles_y_);
  const auto tile_index = [&](int y, int x) {
    return static_cast<std::size_t>(y) * static_cast<std::size_t>(tiles_x_) + static_cast<std::size_t>(x);
  };
  start_.assign(tiles + 1, 0);
  for (const Bin& b : bins) {
    for (int y = b.y0; y <= b.y1; ++y) {
      for (int x = b.x0; x <= b.x1; ++x) ++start_[tile_index(y, x) + 1];
    }
  }
  for (std::size_t i = 0; i < tiles; ++i) start_[i + 1] += start_[i];
  entries_.resize(start_[tiles]);
  std::vector<std::size_t> next(start_.begin(), start_.end() - 1);
  for (const Bin& b : bins) {
    for (int y = b.y0; y <= b.y1; ++y) {
      for (int x = b.x0; x <= b.x1; ++x) entries_[next[tile_index(y, x)]++] = {b.solid, b.near};
    }
  }
}

Hit Tracer::trace(float x, float y, int px, int py) const {
  const Ray ray{scene_.camera.position, direction(x, y)};
  Hit best = hit_room(scene_, ray.o, ray.d);
  const std::size_t tile =
      static_cast<std::size_t>(py / kTile) * static_cast<std::size_t>(tiles_x_) + static_cast<std::size_t>(px / kTile);
  for (std::size_t i = start_[tile]; i < start_[tile + 1]; ++i) {
    if (entries_[i].near > best.depth) break;
    const float t = intersect(scene_.solids[static_cast<std::size_t>(entries_[i].solid)].shape, ray, 0.02F, best.depth);
    if (t < best.depth) best = {t, entries_[i].solid};
  }
  return best;
}

Hit Tracer::trace_among(float x, float y, std::span<const int> solids) const {
  const Ray ray{scene_.camera.position, direction(x, y)};
  Hit best = hit_room(scene_, ray.o, ray.d);
  for (const int solid : solids) {
    const float t = intersect(scene_.solids[static_cast<std::size_t>(solid)].shape, ray, 0.02F, best.depth);
    if (t < best.depth) best = {t, solid};
  }
  return best;
}

Surfaces Tracer::surfaces() const {
  Surfaces out;
  out.height = height_;
  out.width = width_;
  const std::size_t n = static_cast<std::size_t>(height_) * static_cast<std::size_t>(width_);
  out.hit.resize(n);
  out.point.resize(n);
  out.normal.resize(n);
  out.surface.resize(n);
  out.patch.resize(n);
  for (int y = 0; y < height_; ++y) {
    for (int x = 0; x < width_; ++x) {
      const std::size_t i = out.index(y, x);
      const float fx = static_cast<float>(x) + 0.5F;
      const float fy = static_cast<float>(y) + 0.5F;
      const Hit hit = trace(fx, fy, x, y);
      const Vec3 d = direction(fx, fy);
      out.hit[i] = hit;
      out.point[i] = scene_.camera.position + d * hit.depth;
      const Surface s = surface_of(scene_, hit, out.point[i]);
      out.surface[i] = s;
      out.patch[i] = 8 * hit.solid + s.face;
      Vec3 n_i = s.normal;
      // At a silhouette rounding may turn the normal a hair away from the viewer.
      const Vec3 view = normalize(d);
      const float facing = dot(n_i, view);
      if (facing > -1e-3F) n_i = normalize(n_i - view * (facing + 1e-3F));
      out.normal[i] = n_i;
    }
  }
  return out;
}

Vec3 plane_normal(int plane) {
  constexpr Vec3 kNormals[kNumPlanes] = {{1, 0, 0}, {-1, 0, 0}, {0, 1, 0}, {0, -1, 0}, {0, 0, 1}, {0, 0, -1}};
  return kNormals[plane];
}

Surface surface_of(const Scene& scene, const Hit& hit, Vec3 point) {
  if (hit.solid >= 0) return surface_at(scene.solids[static_cast<std::size_t>(hit.solid)].shape, point);
  return {plane_normal(-1 - hit.solid), point, 0};
}

}  // namespace m3vit::rooms
