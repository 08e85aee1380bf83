#include "data/rooms_materials.h"

namespace m3vit::rooms {
namespace {

constexpr std::uint32_t hash(int x, int y, std::uint32_t seed) {
  std::uint32_t h = static_cast<std::uint32_t>(x) * 0x8DA6B343U ^ static_cast<std::uint32_t>(y) * 0xD8163841U ^
                    (seed + 0x9E3779B9U) * 0xCB1AB31FU;
  h ^= h >> 15U;
  h *= 0x2C1B3C6DU;
  h ^= h >> 12U;
  h *= 0x297A2D39U;
  return h ^ (h >> 15U);
}

constexpr float unit(std::uint32_t h) { return static_cast<float>(h >> 8U) * 0x1p-24F; }

int floor_int(float v) {
  const int i = static_cast<int>(v);
  return v < static_cast<float>(i) ? i - 1 : i;
}

float fract(float v) { return v - static_cast<float>(floor_int(v)); }

/// Value noise in 0 … 1.
float noise(float u, float v, std::uint32_t seed) {
  const int x = floor_int(u);
  const int y = floor_int(v);
  const float fx = u - static_cast<float>(x);
  const float fy = v - static_cast<float>(y);
  const float sx = fx * fx * (3 - 2 * fx);
  const float sy = fy * fy * (3 - 2 * fy);
  return lerp(lerp(unit(hash(x, y, seed)), unit(hash(x + 1, y, seed)), sx),
              lerp(unit(hash(x, y + 1, seed)), unit(hash(x + 1, y + 1, seed)), sx), sy);
}

/// 1 where the pattern's period is well resolved, 0 where a pixel covers more than a period.
float resolved(float period, float footprint) { return clamp01(1.7F - 1.9F * footprint / period); }

/// Soft square wave of period 1 with `duty` of its length at 1; `blur` is a pixel's share of the period.
float band(float x, float duty, float blur) {
  const float f = fract(x);
  const float w = std::max(blur * 0.5F, 1e-4F);
  return clamp01((f + w) / (2 * w)) * clamp01((duty + w - f) / (2 * w)) + clamp01((f - 1 + w) / (2 * w));
}

Vec3 wood(const Material& m, float u, float v, float footprint, std::uint32_t seed) {
  const float tone = noise(u * 1.6F, v * 14.0F, seed);
  const float grain = noise(u * 5.0F, v * 90.0F, seed + 7) - 0.5F;
  return lerp(m.a, m.b, clamp01(tone + 0.5F * grain * resolved(0.02F, footprint)));
}

Vec3 picture(const Material& m, const SurfacePoint& p) {
  const float u = p.un;
  const float v = p.vn;
  const std::uint32_t s = m.seed;
  switch (s % 3) {
    case 0: {  // landscape: sky, sun, two rows of hills
      Vec3 c = lerp(m.b, Vec3{0.9F, 0.85F, 0.75F}, clamp01(0.5F - 0.5F * v));
      const float du = u - (unit(hash(1, 1, s)) - 0.5F) * 1.4F;
      const float dv = v - 0.45F;
      if (du * du + dv * dv < 0.045F) c = {0.95F, 0.75F, 0.3F};
      if (v < -0.35F + 0.9F * noise(u * 1.5F, 3.0F, s)) c = lerp(m.a, m.b, 0.4F);
      if (v < -0.8F + 0.9F * noise(u * 2.2F, 9.0F, s + 1)) c = m.a * 0.7F;
      return c;
    }
    case 1: {  // discs on a ground
      Vec3 c = m.a;
      for (int i = 0; i < 5; ++i) {
        const float du = u - (2 * unit(hash(i, 0, s)) - 1) * 0.8F;
        const float dv = v - (2 * unit(hash(i, 1, s)) - 1) * 0.8F;
        const float r = 0.12F + 0.35F * unit(hash(i, 2, s));
        if (du * du + dv * dv < r * r) {
          c = lerp(m.b, Vec3{unit(hash(i, 3, s)), unit(hash(i, 4, s)), unit(hash(i, 5, s))}, 0.6F);
        }
      }
      return c;
    }
    default: {  // blocks of colour with dark seams
      const float x = u * 1.3F + 0.3F * noise(v * 1.2F, 0.5F, s);
      const float y = v * 1.7F;
      if (fract(x) < 0.06F || fract(y) < 0.06F) return {0.03F, 0.03F, 0.03F};
      const std::uint32_t h = hash(floor_int(x), floor_int(y), s);
      return unit(h) < 0.4F ? m.a : lerp(m.b, Vec3{unit(h * 3), unit(h * 5), unit(h * 7)}, 0.55F);
    }
  }
}

Vec3 outside(const Material& m, const SurfacePoint& p) {
  const float u = p.u * 0.55F;
  const float v = p.vn;
  Vec3 c = lerp(Vec3{0.95F, 0.97F, 1.0F}, m.b, clamp01(0.5F + 0.6F * v));
  c = lerp(c, Vec3{1, 1, 1}, 0.5F * smooth(0.55F, 0.8F, noise(u * 2.0F, v * 2.5F, m.seed + 3)));
  if (m.across) {  // a street: a row of blocks with windows
    const float cell = floor_int(u * 2.4F + 100.0F) * 1.0F;
    const float top = -0.5F + 0.9F * unit(hash(static_cast<int>(cell), 5, m.seed));
    if (v < top) {
      c = m.a * (0.5F + 0.4F * unit(hash(static_cast<int>(cell), 6, m.seed)));
      if (fract(u * 12.0F) < 0.5F && fract(v * 6.0F) < 0.55F) c = c * 0.55F;
    }
  } else {  // trees before hills
    if (v < -0.45F + 0.5F * noise(u * 1.1F, 1.0F, m.seed)) c = lerp(m.a, Vec3{0.5F, 0.6F, 0.7F}, 0.5F);
    if (v < -0.75F + 1.1F * noise(u * 3.0F, 2.0F, m.seed + 1)) {
      c = m.a * (0.45F + 0.5F * noise(u * 18.0F, v * 9.0F, m.seed + 2));
    }
  }
  return c;
}

}  // namespace

Vec3 shade(const Material& m, const SurfacePoint& p) {
  const float u = m.across ? p.v : p.u;
  const float v = m.across ? p.u : p.v;
  const float blur = p.footprint / m.scale;
  switch (m.pattern) {
    case Pattern::kPlain:
      return m.a;
    case Pattern::kMottle: {
      const float n = noise(u / m.scale, v / m.scale, m.seed);
      const float fine =
          resolved(0.25F * m.scale, p.footprint) * (noise(u / m.scale * 4, v / m.scale * 4, m.seed) - 0.5F);
      return lerp(m.a, m.b, clamp01(n + 0.6F * fine));
    }
    case Pattern::kWood:
      return wood(m, u, v, p.footprint, m.seed);
    case Pattern::kPlanks: {
      const float row = v / m.scale;
      const int plank = floor_int(row);
      const float shift = unit(hash(plank, 1, m.seed)) * 1.7F;
      const int piece = floor_int((u + shift) / 1.3F);
      const std::uint32_t h = hash(plank, piece, m.seed);
      const float tone = 0.82F + 0.3F * unit(h);
      const float seam = 1.0F - 0.55F * band(row + 0.02F, 0.04F, blur);
      return wood(m, u, v, p.footprint, h) * (tone * seam);
    }
    case Pattern::kTiles: {
      const float x = u / m.scale;
      const float y = v / m.scale;
      const float tone = 0.9F + 0.2F * unit(hash(floor_int(x), floor_int(y), m.seed));
      const float grout = std::max(band(x, 0.05F, blur), band(y, 0.05F, blur));
      return lerp(m.a * lerp(1.0F, tone, resolved(m.scale, p.footprint)), m.b, grout);
    }
    case Pattern::kChecker: {
      const float x = 2 * band(u / (2 * m.scale), 0.5F, blur * 0.5F) - 1;
      const float y = 2 * band(v / (2 * m.scale), 0.5F, blur * 0.5F) - 1;
      return lerp(m.a, m.b, 0.5F + 0.5F * x * y * resolved(m.scale, p.footprint));
    }
    case Pattern::kStripes: {
      const float duty = 0.3F + 0.4F * unit(m.seed * 0x9E3779B9U);
      return lerp(m.a, m.b, lerp(duty, band(u / m.scale, duty, blur), resolved(m.scale, p.footprint)));
    }
    case Pattern::kBrick: {
      const float y = v / (0.33F * m.scale);
      const int row = floor_int(y);
      const float x = u / m.scale + ((row & 1) != 0 ? 0.5F : 0.0F);
      const float tone = 0.7F + 0.5F * unit(hash(floor_int(x), row, m.seed));
      const float mortar =
          std::max(band(x, 0.06F, blur), band(y, 0.16F, blur * 3)) * resolved(0.4F * m.scale, p.footprint);
      return lerp(m.a * lerp(0.95F, tone, resolved(m.scale, p.footprint)), m.b, mortar);
    }
    case Pattern::kCarpet: {
      const float pile = (noise(u * 160, v * 160, m.seed) - 0.5F) * resolved(0.012F, p.footprint);
      const float worn = noise(u * 2.5F, v * 2.5F, m.seed + 1) - 0.5F;
      return lerp(m.a, m.b, clamp01(0.5F + 0.9F * pile + 0.5F * worn));
    }
    case Pattern::kDots: {
      const float y = v / m.scale;
      const float x = u / m.scale + ((floor_int(y) & 1) != 0 ? 0.5F : 0.0F);
      const float dx = fract(x) - 0.5F;
      const float dy = fract(y) - 0.5F;
      const bool diamond = (m.seed & 1U) != 0;
      const float r = diamond ? std::fabs(dx) + std::fabs(dy) : std::sqrt(dx * dx + dy * dy);
      const float w = std::max(blur, 0.02F);
      const float motif = clamp01((0.27F - r) / w + 0.5F);
      return lerp(m.a, m.b, lerp(0.2F, motif, resolved(m.scale, p.footprint)));
    }
    case Pattern::kPlaid: {
      const float f = resolved(m.scale, p.footprint);
      const float x = lerp(0.4F, band(u / m.scale, 0.4F, blur), f);
      const float y = lerp(0.4F, band(v / m.scale, 0.4F, blur), f);
      const float thin = std::max(band(u / m.scale + 0.3F, 0.08F, blur), band(v / m.scale + 0.3F, 0.08F, blur));
      return lerp(lerp(m.a, m.b, 0.5F * (x + y)), Vec3{0.8F, 0.78F, 0.7F}, 0.5F * thin * f);
    }
    case Pattern::kMarble: {
      const float warp = noise(u * 2, v * 2, m.seed) * 2.2F;
      const float vein = std::fabs(fract(u * 0.9F + v * 0.5F + warp) - 0.5F) * 2;
      return lerp(m.b, m.a, smooth(0.0F, 0.35F, vein));
    }
    case Pattern::kBooks: {
      // Spines of uneven width: two hashed cuts in each cell of the row.
      const float x = p.u / m.scale;
      const int cell = floor_int(x);
      const float f = x - static_cast<float>(cell);
      const float cut = 0.3F + 0.4F * unit(hash(cell, 0, m.seed));
      const std::uint32_t h = hash(cell, f < cut ? 1 : 2, m.seed);
      const float height = 0.35F + 0.65F * unit(h * 13U);
      Vec3 c = hsv(unit(h), 0.2F + 0.6F * unit(h * 3U), 0.25F + 0.6F * unit(h * 7U));
      if (p.vn > height) return {0.02F, 0.02F, 0.02F};
      const float edge = std::min(std::min(f, std::fabs(f - cut)), 1 - f);
      if (edge < 0.06F) c = c * 0.4F;
      if (std::fabs(p.vn - 0.1F) < 0.12F && unit(h * 11U) < 0.6F) c = lerp(c, m.b, 0.6F);
      return lerp(m.a, c, resolved(0.5F * m.scale, p.footprint));
    }
    case Pattern::kRug: {
      const float edge = std::max(std::fabs(p.un), std::fabs(p.vn));
      if (edge > 0.93F) return m.b;
      if (edge > 0.86F) return m.a;
      const float ring = band(edge * 4.0F + 0.2F * noise(p.u * 3, p.v * 3, m.seed), 0.45F, 4 * p.footprint);
      const float motif =
          band((std::fabs(p.u) + std::fabs(p.v)) / m.scale, 0.5F, blur) * resolved(m.scale, p.footprint);
      const float pile = (noise(u * 120, v * 120, m.seed) - 0.5F) * resolved(0.015F, p.footprint);
      return lerp(m.a, m.b, clamp01(((m.seed & 1U) != 0 ? ring : motif) * 0.8F + 0.1F + 0.2F * pile));
    }
    case Pattern::kPicture:
      return picture(m, p);
    case Pattern::kOutside:
      return outside(m, p);
    case Pattern::kPanel: {  // a wall of boards with dark joints
      const float joint = band(u / m.scale, 0.035F, blur);
      return m.a * (1.0F - 0.5F * joint * resolved(m.scale, p.footprint)) *
             (0.94F + 0.12F * unit(hash(floor_int(u / m.scale), 0, m.seed)));
    }
  }
  return m.a;
}

Vec3 hsv(float h, float s, float v) {
  const float x = fract(h) * 6.0F;
  const auto channel = [&](float shift) {
    float k = shift + x;
    if (k >= 6.0F) k -= 6.0F;
    const float c = v - v * s * std::max(0.0F, std::min(std::min(k, 4.0F - k), 1.0F));
    return c * c;  // ~ sRGB → linear
  };
  Vec3 out;
  out.x = channel(5);
  out.y = channel(3);
  out.z = channel(1);
  return out;
}

Vec3 any_color(Dice& dice, float saturation, float lo, float hi) {
  const float h = dice.uniform(0, 1);
  const float s = dice.uniform(0.2F, 1.0F) * saturation;
  const float v = dice.uniform(lo, hi);
  return hsv(h, s, v);
}

Material plain(Vec3 color, float shine) {
  Material m;
  m.a = color;
  m.b = color;
  m.shine = shine;
  return m;
}

Material any_paint(Dice& dice) {
  const bool vivid = dice.coin(0.25);
  const Vec3 c = vivid ? any_color(dice, 0.6F, 0.35F, 0.85F) : any_color(dice, 0.22F, 0.62F, 0.97F);
  Material m = plain(c, 0.02F);
  m.pattern = Pattern::kMottle;
  m.b = c * dice.uniform(0.88F, 0.97F);
  m.scale = dice.uniform(0.3F, 1.2F);
  m.seed = dice.bits();
  return m;
}

Material any_wall(Dice& dice) {
  Material m = any_paint(dice);
  const float kind = dice.uniform(0, 1);
  if (kind < 0.62F) return m;
  if (kind < 0.72F) {
    m.pattern = Pattern::kStripes;
    m.b = m.a * dice.uniform(0.7F, 0.92F);
    m.scale = dice.uniform(0.08F, 0.35F);
  } else if (kind < 0.84F) {
    m.pattern = Pattern::kDots;
    m.b = lerp(m.a, any_color(dice, 0.7F, 0.3F, 0.9F), 0.5F);
    m.scale = dice.uniform(0.08F, 0.25F);
  } else if (kind < 0.92F) {
    m.pattern = Pattern::kBrick;
    const float h = dice.uniform(0.0F, 0.08F);
    const float s = dice.uniform(0.3F, 0.6F);
    const float v = dice.uniform(0.45F, 0.7F);
    m.a = dice.coin(0.7) ? hsv(h, s, v) : hsv(h, 0.05F, 0.85F);
    m.b = hsv(0.1F, 0.08F, dice.uniform(0.5F, 0.8F));
    m.scale = dice.uniform(0.2F, 0.26F);
  } else {
    m.pattern = Pattern::kPanel;
    m.a = dice.coin(0.5) ? any_wood(dice).a : m.a;
    m.scale = dice.uniform(0.1F, 0.22F);
  }
  m.seed = dice.bits();
  return m;
}

Material any_wood(Dice& dice) {
  Material m;
  m.pattern = Pattern::kWood;
  const float h = dice.uniform(0.045F, 0.1F);
  const float s = dice.uniform(0.25F, 0.65F);
  const float v = dice.uniform(0.28F, 0.85F);
  m.a = hsv(h, s, v);
  m.b = hsv(h - 0.01F, std::min(1.0F, s * 1.15F), v * dice.uniform(0.68F, 0.88F));
  m.shine = dice.uniform(0.03F, 0.15F);
  m.gloss = dice.between(4, 6);
  m.across = dice.coin(0.4);
  m.seed = dice.bits();
  return m;
}

Material any_floor(Dice& dice) {
  Material m = any_wood(dice);
  const float kind = dice.uniform(0, 1);
  if (kind < 0.48F) {
    m.pattern = Pattern::kPlanks;
    m.scale = dice.uniform(0.08F, 0.2F);
    return m;
  }
  if (kind < 0.68F) {
    m.pattern = Pattern::kTiles;
    m.a = any_color(dice, 0.3F, 0.4F, 0.9F);
    m.b = m.a * dice.uniform(0.4F, 0.75F);
    m.scale = dice.uniform(0.2F, 0.6F);
    m.shine = dice.uniform(0.1F, 0.35F);
    m.gloss = 6;
  } else if (kind < 0.88F) {
    m.pattern = Pattern::kCarpet;
    m.a = any_color(dice, 0.45F, 0.3F, 0.75F);
    m.b = m.a * dice.uniform(0.55F, 0.8F);
    m.shine = 0;
  } else if (kind < 0.94F) {
    m.pattern = Pattern::kMarble;
    m.a = any_color(dice, 0.15F, 0.6F, 0.95F);
    m.b = m.a * dice.uniform(0.5F, 0.8F);
    m.shine = 0.3F;
    m.gloss = 6;
  } else {
    m.pattern = Pattern::kChecker;
    m.a = any_color(dice, 0.2F, 0.7F, 0.95F);
    m.b = any_color(dice, 0.4F, 0.12F, 0.45F);
    m.scale = dice.uniform(0.2F, 0.45F);
    m.shine = 0.2F;
    m.gloss = 6;
  }
  m.seed = dice.bits();
  return m;
}

Material any_cloth_plain(Dice& dice) {
  Material m = plain(dice.coin(0.6) ? any_color(dice, 0.85F, 0.2F, 0.9F) : any_color(dice, 0.12F, 0.1F, 0.95F), 0);
  m.pattern = Pattern::kMottle;
  m.b = m.a * 0.85F;
  m.scale = 0.08F;
  m.seed = dice.bits();
  return m;
}

Material any_fabric(Dice& dice) {
  Material m = any_cloth_plain(dice);
  const float kind = dice.uniform(0, 1);
  if (kind < 0.6F) return m;
  m.b = any_color(dice, 0.7F, 0.15F, 0.95F);
  m.scale = dice.uniform(0.04F, 0.16F);
  m.across = dice.coin(0.5);
  m.pattern = kind < 0.75F   ? Pattern::kStripes
              : kind < 0.87F ? Pattern::kPlaid
              : kind < 0.94F ? Pattern::kDots
                             : Pattern::kChecker;
  m.seed = dice.bits();
  return m;
}

Material any_furniture(Dice& dice) {
  if (dice.coin(0.62)) return any_wood(dice);
  Material m = plain(dice.coin(0.5) ? any_color(dice, 0.08F, 0.6F, 0.97F) : any_color(dice, 0.7F, 0.15F, 0.8F), 0.12F);
  m.gloss = 5;
  return m;
}

Material any_metal(Dice& dice) {
  Material m = plain(dice.coin(0.3) ? hsv(0.11F, 0.5F, 0.75F) : any_color(dice, 0.06F, 0.15F, 0.8F), 0.5F);
  m.gloss = 6;
  return m;
}

Material any_rug(Dice& dice) {
  Material m = any_fabric(dice);
  m.a = any_color(dice, 0.8F, 0.25F, 0.9F);
  m.b = any_color(dice, 0.6F, 0.2F, 0.95F);
  const float kind = dice.uniform(0, 1);
  if (kind < 0.55F) {
    m.pattern = Pattern::kRug;
    m.scale = dice.uniform(0.15F, 0.5F);
  } else if (kind < 0.75F) {
    m.pattern = Pattern::kCarpet;
    m.b = m.a * 0.6F;
  } else if (kind < 0.9F) {
    m.pattern = Pattern::kStripes;
    m.scale = dice.uniform(0.1F, 0.4F);
  }
  m.seed = dice.bits();
  return m;
}

}  // namespace m3vit::rooms
