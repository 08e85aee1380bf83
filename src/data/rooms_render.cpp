#include "data/rooms_render.h"

namespace m3vit::rooms {
namespace {

const Material& material_of(const Scene& s, int solid) {
  const int m = solid >= 0 ? s.solids[static_cast<std::size_t>(solid)].material
                           : s.plane_material[static_cast<std::size_t>(-1 - solid)];
  return s.materials[static_cast<std::size_t>(m)];
}

SurfacePoint on_surface(const Scene& s, int solid, const Surface& at, float depth, float facing, float focal) {
  SurfacePoint p;
  p.footprint = depth / (focal * std::max(facing, 0.22F));
  const Vec3 q = at.local;
  if (solid < 0) {
    const int axis = (-1 - solid) / 2;
    p.u = axis == 0 ? q.z : q.x;
    p.v = axis == 1 ? q.z : q.y;
    return p;
  }
  const Shape& shape = s.solids[static_cast<std::size_t>(solid)].shape;
  const Vec3 half =
      shape.kind == ShapeKind::kRoundBox ? shape.size + Vec3{shape.round, shape.round, shape.round} : shape.metres;
  if (at.face == kCurved) {
    p.u = q.x + q.z;
    p.v = q.y;
    return p;
  }
  const int axis = at.face / 2;
  p.u = axis == 0 ? q.z : q.x;
  p.v = axis == 1 ? q.z : q.y;
  p.un = p.u / (axis == 0 ? half.z : half.x);
  p.vn = p.v / (axis == 1 ? half.z : half.y);
  return p;
}

/// Light that pixel i's centre sends along −d.
Vec3 radiance(const Scene& s, const Surfaces& g, std::size_t i, Vec3 d, float focal, Visibility v) {
  const Hit& hit = g.hit[i];
  const Material& m = material_of(s, hit.solid);
  const Surface& at = g.surface[i];
  const Vec3 view = normalize(-d);
  const Vec3 albedo = shade(m, on_surface(s, hit.solid, at, hit.depth, dot(at.normal, view), focal));
  if (m.glow > 0) return albedo * m.glow;
  const Radiance r = illuminate(s, v, g.point[i], at.normal, view, m);
  return albedo * r.diffuse + r.specular;
}

/// Does a 4-neighbour show another surface?
bool on_border(const Surfaces& g, int y, int x) {
  const std::size_t i = g.index(y, x);
  for (const auto& [dy, dx] : {std::pair{0, 1}, {1, 0}, {0, -1}, {-1, 0}}) {
    const std::size_t j = g.index(std::clamp(y + dy, 0, g.height - 1), std::clamp(x + dx, 0, g.width - 1));
    if (g.patch[i] != g.patch[j]) return true;
  }
  return false;
}

/// Mean of four rays in a pixel where surfaces meet. Each ray meets only what the 3×3 pixels around show, and takes the
/// colour of the nearest of them that shows the same surface.
Vec3 antialiased(const Scene& s, const Tracer& tracer, const Surfaces& g, const std::vector<Vec3>& color, int y,
                 int x) {
  static constexpr float kGrid[4][2] = {{0.125F, 0.625F}, {0.375F, 0.125F}, {0.625F, 0.875F}, {0.875F, 0.375F}};
  std::array<std::size_t, 9> around{};
  std::array<int, 9> solids{};
  std::size_t count = 0;
  std::size_t candidates = 0;
  for (int dy = -1; dy <= 1; ++dy) {
    for (int dx = -1; dx <= 1; ++dx) {
      const std::size_t j = g.index(std::clamp(y + dy, 0, g.height - 1), std::clamp(x + dx, 0, g.width - 1));
      around[count++] = j;
      const int solid = g.hit[j].solid;
      if (solid >= 0 && std::find(solids.begin(), solids.begin() + candidates, solid) == solids.begin() + candidates) {
        solids[candidates++] = solid;
      }
    }
  }
  Vec3 sum;
  for (const auto& offset : kGrid) {
    const float fx = static_cast<float>(x) + offset[0];
    const float fy = static_cast<float>(y) + offset[1];
    const Hit hit = tracer.trace_among(fx, fy, {solids.data(), candidates});
    const Vec3 point = s.camera.position + tracer.direction(fx, fy) * hit.depth;
    const int face = surface_of(s, hit, point).face;
    std::size_t from = g.index(y, x);
    float best = kMiss;
    for (std::size_t k = 0; k < around.size(); ++k) {
      const std::size_t j = around[k];
      if (g.hit[j].solid != hit.solid) continue;
      const float ox = static_cast<float>(static_cast<int>(k % 3) - 1) + 0.5F - offset[0];
      const float oy = static_cast<float>(static_cast<int>(k / 3) - 1) + 0.5F - offset[1];
      const float away = ox * ox + oy * oy + (g.surface[j].face == face ? 0.0F : 4.0F);
      if (away < best) {
        best = away;
        from = j;
      }
    }
    // Bounded, so that a lamp's border is smooth after tone mapping too.
    sum = sum + min(color[from], Vec3{4, 4, 4});
  }
  return sum * 0.25F;
}

/// sRGB-like response after a soft shoulder; 4096 steps over 0 … 4.
const std::vector<std::uint8_t>& tone_table() {
  static const std::vector<std::uint8_t> table = [] {
    std::vector<std::uint8_t> t(4096);
    for (std::size_t i = 0; i < t.size(); ++i) {
      const double x = (static_cast<double>(i) + 0.5) / 1024.0;
      const double y = x * (1 + x / 9.0) / (1 + x);  // Reinhard with white at 3
      t[i] = static_cast<std::uint8_t>(std::min(255.0, 255.0 * std::pow(1.27 * y, 1 / 2.2) + 0.5));
    }
    return t;
  }();
  return table;
}

void blur_3x3(std::vector<Vec3>* image, int height, int width) {
  const std::vector<Vec3> in = *image;
  const auto at = [&](int y, int x) {
    return in[static_cast<std::size_t>(std::clamp(y, 0, height - 1)) * static_cast<std::size_t>(width) +
              static_cast<std::size_t>(std::clamp(x, 0, width - 1))];
  };
  for (int y = 0; y < height; ++y) {
    for (int x = 0; x < width; ++x) {
      const Vec3 side = at(y - 1, x) + at(y + 1, x) + at(y, x - 1) + at(y, x + 1);
      (*image)[static_cast<std::size_t>(y) * static_cast<std::size_t>(width) + static_cast<std::size_t>(x)] =
          at(y, x) * 0.6F + side * 0.1F;
    }
  }
}

/// About N(0, 1) from 32 random bits: four bytes summed (Irwin–Hall).
float bell(std::uint32_t bits) {
  const int sum = static_cast<int>((bits & 255U) + ((bits >> 8U) & 255U) + ((bits >> 16U) & 255U) + (bits >> 24U));
  return static_cast<float>(sum - 510) * (1.0F / 147.8F);
}

}  // namespace

ImageU8 render_image(const Scene& s, const Tracer& tracer, const Surfaces& g) {
  const std::vector<Visibility> vis = visibility(s, g);
  const float focal = s.camera.focal(g.height, g.width);
  std::vector<Vec3> centers(g.hit.size());
  for (int y = 0; y < g.height; ++y) {
    for (int x = 0; x < g.width; ++x) {
      const std::size_t i = g.index(y, x);
      const Vec3 d = tracer.direction(static_cast<float>(x) + 0.5F, static_cast<float>(y) + 0.5F);
      centers[i] = radiance(s, g, i, d, focal, vis[i]);
    }
  }
  std::vector<Vec3> linear = centers;
  double total = 0;
  for (int y = 0; y < g.height; ++y) {
    for (int x = 0; x < g.width; ++x) {
      const std::size_t i = g.index(y, x);
      if (on_border(g, y, x)) linear[i] = antialiased(s, tracer, g, centers, y, x);
      total += std::min(luminance(linear[i]), 1.5F);
    }
  }
  if (s.sensor.blur) blur_3x3(&linear, g.height, g.width);

  const float mean = static_cast<float>(total / static_cast<double>(linear.size()));
  const float gain = s.sensor.exposure * 0.34F / std::max(mean, 0.01F);
  const std::vector<std::uint8_t>& tone = tone_table();
  const float diagonal2 = 0.25F * static_cast<float>(g.height * g.height + g.width * g.width);
  const float shot2 = s.sensor.shot * s.sensor.shot;
  const float read2 = s.sensor.read * s.sensor.read;
  Rng noise{s.sensor.seed, 0x6E6F697365ULL};
  ImageU8 out(g.height, g.width, 3);
  for (int y = 0; y < g.height; ++y) {
    for (int x = 0; x < g.width; ++x) {
      const std::size_t i = g.index(y, x);
      const float dy = static_cast<float>(2 * y + 1 - g.height) * 0.5F;
      const float dx = static_cast<float>(2 * x + 1 - g.width) * 0.5F;
      const float edge = 1.0F - s.sensor.vignette * (dy * dy + dx * dx) / diagonal2;
      const Vec3 c = linear[i] * s.sensor.balance * (gain * edge);
      const std::uint64_t a = noise.next();
      const std::uint64_t b = noise.next();
      const float value[3] = {c.x, c.y, c.z};
      const std::uint32_t bits[3] = {static_cast<std::uint32_t>(a), static_cast<std::uint32_t>(a >> 32U),
                                     static_cast<std::uint32_t>(b)};
      for (int k = 0; k < 3; ++k) {
        const float v = std::min(value[k], 4.0F);
        const float noisy = v + bell(bits[k]) * std::sqrt(shot2 * v + read2);
        out.at(y, x, k) = tone[static_cast<std::size_t>(std::min(std::max(noisy, 0.0F) * 1024.0F, 4095.0F))];
      }
    }
  }
  return out;
}

}  // namespace m3vit::rooms
