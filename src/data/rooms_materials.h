#pragma once
/// Procedural surfaces. Every pattern is a function of the position on the surface in metres; detail finer than a
/// pixel fades to the pattern's mean, so small pictures do not alias.
#include "data/rooms_math.h"

namespace m3vit::rooms {

enum class Pattern : std::uint8_t {
  kPlain,
  kMottle,
  kWood,
  kPlanks,
  kTiles,
  kChecker,
  kStripes,
  kBrick,
  kCarpet,
  kDots,
  kPlaid,
  kMarble,
  kBooks,
  kRug,
  kPicture,
  kOutside,
  kPanel
};

/// Colours are linear RGB reflectance in 0 … 1; for an emitter `a` is multiplied by `glow`.
struct Material {
  Pattern pattern = Pattern::kPlain;
  Vec3 a{0.5F, 0.5F, 0.5F};
  Vec3 b{0.5F, 0.5F, 0.5F};
  float scale = 0.1F;   ///< period of the pattern in metres
  float shine = 0.04F;  ///< specular strength
  int gloss = 5;        ///< specular exponent is 2^gloss
  float glow = 0.0F;    ///< emitted radiance; 0: none
  bool across = false;  ///< stripes and wood run along v instead of u
  std::uint32_t seed = 0;
};

/// Where on a surface: `u`, `v` in metres along the face (v up on upright faces); `un`, `vn` the same in −1 … 1 over
/// the face. On curved solids v is the height and u the angle's chord.
struct SurfacePoint {
  float u = 0, v = 0;
  float un = 0, vn = 0;
  float footprint = 0;  ///< metres of surface that one pixel covers
};

/// Reflectance, or emitted radiance where `glow` > 0.
Vec3 shade(const Material& m, const SurfacePoint& p);

/// Linear colour from hue (turns), saturation and value as they look on a screen.
Vec3 hsv(float h, float s, float v);

// Families of surfaces, drawn at random.
Material plain(Vec3 color, float shine = 0.04F);
Material any_paint(Dice& dice);  ///< walls
Material any_wall(Dice& dice);   ///< paint, wallpaper, stripes, brick, panels
Material any_floor(Dice& dice);  ///< planks, tiles, carpet, marble, checker
Material any_wood(Dice& dice);
Material any_fabric(Dice& dice);  ///< upholstery, bedding, clothes
Material any_cloth_plain(Dice& dice);
Material any_furniture(Dice& dice);  ///< wood or lacquer
Material any_metal(Dice& dice);
Material any_rug(Dice& dice);
Vec3 any_color(Dice& dice, float saturation, float lo, float hi);

}  // namespace m3vit::rooms
