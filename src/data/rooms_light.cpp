#include "data/rooms_light.h"

namespace m3vit::rooms {
namespace {

constexpr float kOffset = 0.004F;  ///< shadow rays start this far off the surface, metres

struct Ball {
  Vec3 center;
  float radius = 0;
};

/// Squared distance from p to a box, 0 inside.
float box_distance2(Vec3 p, Vec3 lo, Vec3 hi) {
  const Vec3 d = max(max(lo - p, p - hi), Vec3{0, 0, 0});
  return dot(d, d);
}

/// h to the power 2^gloss: by squaring, since std::pow differs between machines.
float highlight(float h, int gloss) {
  for (int i = 0; i < gloss; ++i) h *= h;
  return h;
}

/// Darkening by the room's own corners and by the objects near the point: the product of 1 − s/(1 + k d²) over all of
/// them, as one fraction, because divisions are dear.
float ambient_at(const Scene& s, Vec3 p, Vec3 n, int own, const std::vector<int>& near) {
  float above = 1;
  float below = 1;
  const auto wall = [&](float distance, float facing) {
    if (std::fabs(facing) > 0.5F) return;  // the plane that the point lies on or looks along
    const float d2 = 36.0F * distance * distance;
    above *= 0.72F + d2;
    below *= 1.0F + d2;
  };
  wall(p.x - s.lo.x, n.x);
  wall(s.hi.x - p.x, n.x);
  wall(p.y - s.lo.y, n.y);
  wall(s.hi.y - p.y, n.y);
  wall(p.z - s.lo.z, n.z);
  wall(s.hi.z - p.z, n.z);
  float a = above / below;
  above = below = 1;
  const Vec3 q = p + n * 0.06F;
  for (const int i : near) {
    if (i == own) continue;
    const Object& o = s.objects[static_cast<std::size_t>(i)];
    const float d2 = 60.0F * box_distance2(q, o.lo, o.hi);
    above *= 0.55F + d2;
    below *= 1.0F + d2;
    if (below > 1e12F) {  // a crowded corner of a large tile
      a *= above / below;
      above = below = 1;
    }
  }
  return a * above / below;
}

/// A world box for four-lane tests.
struct Box {
  Lanes lo, hi;
};

/// One solid that may shadow a tile.
struct Candidate {
  Box box;
  int solid;
};

/// Those of one object: [first, last) of the candidates.
struct Group {
  Box box;
  std::size_t first, last;
};

struct Occluders {
  std::vector<Group> groups;
  std::vector<Candidate> candidates;
};

Box make_box(Vec3 lo, Vec3 hi) { return {Lanes{lo.x, lo.y, lo.z, 0}, Lanes{hi.x, hi.y, hi.z, 0}}; }

/// A ray's segment t in 0 … 1 against boxes.
struct Segment {
  Lanes origin, inverse;

  explicit Segment(const Ray& ray) : origin{ray.o.x, ray.o.y, ray.o.z, 0} {
    constexpr Lanes kTiny{1e-9F, 1e-9F, 1e-9F, 1e-9F};
    const Lanes d{ray.d.x, ray.d.y, ray.d.z, 1};
    inverse = 1.0F / ((d < 0 ? -d : d) < kTiny ? kTiny : d);
  }
  bool meets(const Box& box) const {
    const Lanes a = (box.lo - origin) * inverse;
    const Lanes b = (box.hi - origin) * inverse;
    const Lanes in = a < b ? a : b;
    const Lanes out = a < b ? b : a;
    const float enter = std::max(std::max(in[0], in[1]), in[2]);
    const float leave = std::min(std::min(out[0], out[1]), out[2]);
    return enter <= leave && leave >= 0 && enter <= 1;
  }
};

/// What may shadow any point of `tile` from the light: all that touches the cone from the tile's ball to the light's.
void find_occluders(const Scene& s, const Ball& tile, const Light& light, Occluders* out) {
  out->groups.clear();
  out->candidates.clear();
  const Vec3 axis = light.position - tile.center;
  const float inverse = 1.0F / dot(axis, axis);
  const float light_radius = length(light.u) + length(light.v);
  const auto touches = [&](Vec3 c, float r) {
    const Vec3 v = c - tile.center;
    const float t = dot(v, axis) * inverse;
    const Vec3 off = v - axis * clamp01(t);
    const float reach = r + lerp(tile.radius, light_radius, clamp01(t));
    return dot(off, off) < reach * reach;
  };
  for (std::size_t i = 0; i < s.objects.size(); ++i) {
    const Object& o = s.objects[i];
    if (!o.casts_shadow || static_cast<int>(i) == light.owner || !touches(o.center, o.ball)) continue;
    const std::size_t first = out->candidates.size();
    Vec3 lo{kMiss, kMiss, kMiss};
    Vec3 hi{-kMiss, -kMiss, -kMiss};
    for (int k = o.first; k < o.last; ++k) {
      const Shape& shape = s.solids[static_cast<std::size_t>(k)].shape;
      if (!touches(shape.center, shape.ball)) continue;
      out->candidates.push_back({make_box(shape.lo, shape.hi), k});
      lo = min(lo, shape.lo);
      hi = max(hi, shape.hi);
    }
    const std::size_t last = out->candidates.size();
    if (last > first) out->groups.push_back({make_box(lo, hi), first, last});
  }
}

/// Which of the 16 cells of a light a pixel looks at. Neighbours look at far cells; the black fields of a
/// checkerboard alone already cover the light evenly.
constexpr int kCell[16] = {0, 10, 5, 15, 7, 13, 2, 8, 9, 3, 12, 6, 14, 4, 11, 1};

/// On the white fields of the checkerboard the light is the mean of the four neighbours', where those show the same
/// surface.
bool needs_rays(const Surfaces& g, int y, int x) {
  if (((y + x) & 1) == 0 || y == 0 || x == 0 || y + 1 == g.height || x + 1 == g.width) return true;
  const std::size_t i = g.index(y, x);
  const auto w = static_cast<std::size_t>(g.width);
  const int* const patch = g.patch.data() + i;
  return patch[0] != patch[-1] || patch[0] != patch[1] || patch[0] != *(patch - w) || patch[0] != patch[w];
}

/// 4-wide running mean over pixels of the same surface, along one axis.
void smooth_pass(const Surfaces& g, std::vector<Visibility>* v, bool vertical) {
  const std::vector<Visibility> in = *v;
  const int step = vertical ? g.width : 1;
  for (int y = 0; y < g.height; ++y) {
    for (int x = 0; x < g.width; ++x) {
      const std::size_t i = g.index(y, x);
      const int at = vertical ? y : x;
      const int limit = vertical ? g.height : g.width;
      Visibility sum = in[i];
      float weight = 1;
      for (int k = -1; k <= 2; ++k) {
        if (k == 0 || at + k < 0 || at + k >= limit) continue;
        const auto j = static_cast<std::size_t>(static_cast<std::ptrdiff_t>(i) + static_cast<std::ptrdiff_t>(k) * step);
        if (g.patch[i] != g.patch[j]) continue;
        sum += in[j];
        weight += 1;
      }
      sum /= weight;
      sum[kAmbient] = in[i][kAmbient];
      (*v)[i] = sum;
    }
  }
}

/// The rays of one tile: what may shadow it is found once, what shadowed the pixel before is tried first.
class TileShadows {
 public:
  TileShadows(const Scene& scene, const Surfaces& surfaces)
      : s_(scene), g_(surfaces), lights_(std::min(scene.lights.size(), kMaxLights)) {}

  void fill(int ty, int tx, std::vector<Visibility>* out) {
    const int y1 = std::min(ty + kTile, g_.height);
    const int x1 = std::min(tx + kTile, g_.width);
    Vec3 lo{kMiss, kMiss, kMiss};
    Vec3 hi{-kMiss, -kMiss, -kMiss};
    for (int y = ty; y < y1; ++y) {
      for (int x = tx; x < x1; ++x) {
        lo = min(lo, g_.point[g_.index(y, x)]);
        hi = max(hi, g_.point[g_.index(y, x)]);
      }
    }
    const Ball tile{(lo + hi) * 0.5F, 0.5F * length(hi - lo) + 0.01F};
    for (std::size_t l = 0; l < lights_; ++l) {
      find_occluders(s_, tile, s_.lights[l], &occluders_[l]);
      last_[l] = -1;
    }
    near_.clear();
    const float reach = tile.radius + 0.4F;
    for (std::size_t i = 0; i < s_.objects.size(); ++i) {
      if (box_distance2(tile.center, s_.objects[i].lo, s_.objects[i].hi) < reach * reach)
        near_.push_back(static_cast<int>(i));
    }
    for (int y = ty; y < y1; ++y) {
      for (int x = tx; x < x1; ++x) pixel(y, x, &(*out)[g_.index(y, x)]);
    }
  }

 private:
  void pixel(int y, int x, Visibility* out) {
    const std::size_t i = g_.index(y, x);
    const Vec3 n = g_.normal[i];
    const int solid = g_.hit[i].solid;
    if (!needs_rays(g_, y, x)) return;
    (*out)[kAmbient] =
        ambient_at(s_, g_.point[i], n, solid >= 0 ? s_.solids[static_cast<std::size_t>(solid)].object : -1, near_);
    const Vec3 p = g_.point[i] + n * kOffset;
    const int cell = kCell[(y & 3) * 4 + (x & 3)];
    const float cu = (static_cast<float>(cell & 3) + 0.5F) * 0.5F - 1.0F;
    const float cv = (static_cast<float>(cell >> 2) + 0.5F) * 0.5F - 1.0F;
    for (std::size_t l = 0; l < lights_; ++l) {
      const Light& light = s_.lights[l];
      const Ray ray{p, light.position + light.u * cu + light.v * cv - p};
      (*out)[l] = dot(ray.d, n) > 0 && !shadowed(ray, l) ? 1.0F : 0.0F;
    }
  }

  bool shadowed(const Ray& ray, std::size_t l) {
    const Occluders& list = occluders_[l];
    if (list.groups.empty()) return false;
    if (last_[l] >= 0 && intersect(shape(last_[l]), ray, 1e-4F, 1.0F) < kMiss) return true;
    const Segment segment(ray);
    for (const Group& group : list.groups) {
      if (!segment.meets(group.box)) continue;
      for (std::size_t k = group.first; k < group.last; ++k) {
        const Candidate& candidate = list.candidates[k];
        if (!segment.meets(candidate.box)) continue;
        if (intersect(shape(candidate.solid), ray, 1e-4F, 1.0F) >= kMiss) continue;
        last_[l] = candidate.solid;
        return true;
      }
    }
    return false;
  }

  const Shape& shape(int solid) const { return s_.solids[static_cast<std::size_t>(solid)].shape; }

  const Scene& s_;
  const Surfaces& g_;
  std::size_t lights_;
  std::array<Occluders, kMaxLights> occluders_;
  std::array<int, kMaxLights> last_{};
  std::vector<int> near_;
};

}  // namespace

std::vector<Visibility> visibility(const Scene& s, const Surfaces& g) {
  std::vector<Visibility> out(g.hit.size(), Visibility{0, 0, 0, 1});
  TileShadows tiles(s, g);
  for (int ty = 0; ty < g.height; ty += kTile) {
    for (int tx = 0; tx < g.width; tx += kTile) tiles.fill(ty, tx, &out);
  }
  for (int y = 1; y + 1 < g.height; ++y) {
    for (int x = 1; x + 1 < g.width; ++x) {
      if (needs_rays(g, y, x)) continue;
      const std::size_t i = g.index(y, x);
      const auto w = static_cast<std::size_t>(g.width);
      out[i] = 0.25F * (out[i - 1] + out[i + 1] + out[i - w] + out[i + w]);
    }
  }
  smooth_pass(g, &out, false);
  smooth_pass(g, &out, true);
  return out;
}

Radiance illuminate(const Scene& s, Visibility v, Vec3 point, Vec3 normal, Vec3 to_viewer, const Material& m) {
  Radiance out;
  // Surroundings: a little brighter from above, as ceilings are.
  out.diffuse = s.ambient * (v[kAmbient] * (0.82F + 0.18F * normal.y));
  const std::size_t lights = std::min(s.lights.size(), kMaxLights);
  for (std::size_t l = 0; l < lights; ++l) {
    if (v[l] <= 0) continue;
    const Light& light = s.lights[l];
    const Vec3 to = light.position - point;
    const float d2 = dot(to, to);
    const Vec3 dir = to * (1.0F / std::sqrt(d2));
    const float facing = dot(normal, dir);
    if (facing <= 0) continue;
    float strength = v[l] / (d2 + 0.05F);
    if (dot(light.normal, light.normal) > 0) {
      const float emit = -dot(light.normal, dir);
      if (emit <= 0) continue;
      strength *= emit;
    }
    out.diffuse = out.diffuse + light.intensity * (strength * facing);
    if (m.shine > 0.01F) {
      const float h = dot(normal, normalize(dir + to_viewer));
      if (h > 0.7F) out.specular = out.specular + light.intensity * (strength * m.shine * highlight(h, m.gloss));
    }
  }
  return out;
}

}  // namespace m3vit::rooms
