#include "data/rooms_light.h"

namespace m3vit::rooms {
namespace {

constexpr float kOffset = 0.004F;  ///< shadow rays start this far off the surface, metres

struct Ball {
  Vec3 center;
  float radius = 0;
};

/// Distance from p to a box, 0 inside.
float box_distance(Vec3 p, Vec3 lo, Vec3 hi) {
  const Vec3 d = max(max(lo - p, p - hi), Vec3{0, 0, 0});
  return length(d);
}

/// Darkening by the room's own corners and by the objects near the point.
float ambient_at(const Scene& s, Vec3 p, Vec3 n, int own, const std::vector<int>& near) {
  const auto wall = [](float distance, float facing) {
    return facing > 0.5F ? 1.0F : 1.0F - 0.28F / (1.0F + 36.0F * distance * distance);
  };
  float a = wall(p.x - s.lo.x, std::fabs(n.x)) * wall(s.hi.x - p.x, std::fabs(n.x)) *
            wall(p.z - s.lo.z, std::fabs(n.z)) * wall(s.hi.z - p.z, std::fabs(n.z)) *
            wall(p.y - s.lo.y, std::fabs(n.y)) * wall(s.hi.y - p.y, std::fabs(n.y));
  const Vec3 q = p + n * 0.06F;
  for (const int i : near) {
    if (i == own) continue;
    const Object& o = s.objects[static_cast<std::size_t>(i)];
    const float d = box_distance(q, o.lo, o.hi);
    a *= 1.0F - 0.45F / (1.0F + 60.0F * d * d);
  }
  return a;
}

/// Objects that may shadow any point of `tile` from the light: those that touch the cone from the tile's ball to the
/// light's. Appends the solids of those.
void occluders(const Scene& s, const Ball& tile, const Light& light, std::vector<int>* solids) {
  solids->clear();
  const Vec3 axis = light.position - tile.center;
  const float len2 = dot(axis, axis);
  const float light_radius = length(light.u) + length(light.v);
  const auto touches = [&](Vec3 c, float r) {
    const Vec3 v = c - tile.center;
    const float t = clamp01(dot(v, axis) / len2);
    const Vec3 off = v - axis * t;
    const float reach = r + std::max(tile.radius, lerp(tile.radius, light_radius, t));
    return dot(off, off) < reach * reach;
  };
  for (std::size_t i = 0; i < s.objects.size(); ++i) {
    const Object& o = s.objects[i];
    if (!o.casts_shadow || static_cast<int>(i) == light.owner || !touches(o.center, o.ball)) continue;
    for (int k = o.first; k < o.last; ++k) {
      const Shape& shape = s.solids[static_cast<std::size_t>(k)].shape;
      if (touches(shape.center, shape.ball)) solids->push_back(k);
    }
  }
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
        if (g.hit[j].solid != g.hit[i].solid || g.face[j] != g.face[i]) continue;
        for (std::size_t l = 0; l < kMaxLights; ++l) sum.light[l] += in[j].light[l];
        weight += 1;
      }
      for (std::size_t l = 0; l < kMaxLights; ++l) (*v)[i].light[l] = sum.light[l] / weight;
    }
  }
}

}  // namespace

std::vector<Visibility> visibility(const Scene& s, const Surfaces& g) {
  std::vector<Visibility> out(g.hit.size());
  const std::size_t lights = std::min(s.lights.size(), kMaxLights);
  // Which of the 16 cells of a light a pixel looks at: neighbours look at far cells.
  static constexpr int kCell[16] = {0, 10, 5, 15, 7, 13, 2, 8, 9, 3, 12, 6, 14, 4, 11, 1};
  std::array<std::vector<int>, kMaxLights> solids;
  std::vector<int> near;
  for (int ty = 0; ty < g.height; ty += kTile) {
    for (int tx = 0; tx < g.width; tx += kTile) {
      const int y1 = std::min(ty + kTile, g.height);
      const int x1 = std::min(tx + kTile, g.width);
      Vec3 lo{kMiss, kMiss, kMiss};
      Vec3 hi{-kMiss, -kMiss, -kMiss};
      for (int y = ty; y < y1; ++y) {
        for (int x = tx; x < x1; ++x) {
          lo = min(lo, g.point[g.index(y, x)]);
          hi = max(hi, g.point[g.index(y, x)]);
        }
      }
      const Ball tile{(lo + hi) * 0.5F, 0.5F * length(hi - lo) + 0.01F};
      for (std::size_t l = 0; l < lights; ++l) occluders(s, tile, s.lights[l], &solids[l]);
      near.clear();
      for (std::size_t i = 0; i < s.objects.size(); ++i) {
        if (box_distance(tile.center, s.objects[i].lo, s.objects[i].hi) < tile.radius + 0.4F)
          near.push_back(static_cast<int>(i));
      }
      std::array<int, kMaxLights> last{-1, -1, -1};  // what shadowed the pixel before is tried first
      for (int y = ty; y < y1; ++y) {
        for (int x = tx; x < x1; ++x) {
          const std::size_t i = g.index(y, x);
          const Vec3 n = g.normal[i];
          const Vec3 p = g.point[i] + n * kOffset;
          const int solid = g.hit[i].solid;
          const int own = solid >= 0 ? s.solids[static_cast<std::size_t>(solid)].object : -1;
          out[i].ambient = ambient_at(s, g.point[i], n, own, near);
          const int cell = kCell[(y & 3) * 4 + (x & 3)];
          const float cu = (static_cast<float>(cell & 3) + 0.5F) * 0.5F - 1.0F;
          const float cv = (static_cast<float>(cell >> 2) + 0.5F) * 0.5F - 1.0F;
          for (std::size_t l = 0; l < lights; ++l) {
            const Light& light = s.lights[l];
            const Ray ray{p, light.position + light.u * cu + light.v * cv - p};
            float seen = dot(ray.d, n) > 0 ? 1.0F : 0.0F;
            if (seen > 0 && last[l] >= 0 &&
                intersect(s.solids[static_cast<std::size_t>(last[l])].shape, ray, 1e-4F, 1.0F) < kMiss) {
              seen = 0;
            }
            for (std::size_t k = 0; seen > 0 && k < solids[l].size(); ++k) {
              if (intersect(s.solids[static_cast<std::size_t>(solids[l][k])].shape, ray, 1e-4F, 1.0F) < kMiss) {
                seen = 0;
                last[l] = solids[l][k];
              }
            }
            out[i].light[l] = seen;
          }
        }
      }
    }
  }
  smooth_pass(g, &out, false);
  smooth_pass(g, &out, true);
  return out;
}

Radiance illuminate(const Scene& s, const Visibility& v, Vec3 point, Vec3 normal, Vec3 to_viewer, const Material& m) {
  Radiance out;
  // Surroundings: a little brighter from above, as ceilings are.
  out.diffuse = s.ambient * (v.ambient * (0.82F + 0.18F * normal.y));
  const std::size_t lights = std::min(s.lights.size(), kMaxLights);
  for (std::size_t l = 0; l < lights; ++l) {
    if (v.light[l] <= 0) continue;
    const Light& light = s.lights[l];
    const Vec3 to = light.position - point;
    const float d2 = dot(to, to);
    const Vec3 dir = to * (1.0F / std::sqrt(d2));
    const float facing = dot(normal, dir);
    if (facing <= 0) continue;
    float strength = v.light[l] / (d2 + 0.05F);
    if (dot(light.normal, light.normal) > 0) {
      const float emit = -dot(light.normal, dir);
      if (emit <= 0) continue;
      strength *= emit;
    }
    out.diffuse = out.diffuse + light.intensity * (strength * facing);
    if (m.shine > 0.01F) {
      const float h = dot(normal, normalize(dir + to_viewer));
      if (h > 0.7F) out.specular = out.specular + light.intensity * (strength * m.shine * std::pow(h, m.gloss));
    }
  }
  return out;
}

}  // namespace m3vit::rooms
