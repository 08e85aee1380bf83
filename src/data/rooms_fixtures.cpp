// What belongs to the walls: doors, windows with daylight, curtains, pictures.
#include "data/rooms_furniture.h"

namespace m3vit::rooms {

void add_door(Scene& s, const Frame& f, Dice& dice, float width, float height) {
  Builder b(s, f);
  Material leaf_m =
      dice.coin(0.45) ? any_wood(dice) : plain(any_color(dice, dice.coin(0.6) ? 0.08F : 0.7F, 0.45F, 0.97F), 0.1F);
  const int leaf = b.material(leaf_m);
  leaf_m.a = leaf_m.a * 0.88F;
  leaf_m.b = leaf_m.b * 0.88F;
  const int panel = b.material(leaf_m);
  const int frame = b.material(dice.coin(0.5) ? leaf_m : plain(any_color(dice, 0.06F, 0.7F, 0.97F), 0.1F));
  const int knob = b.material(any_metal(dice));
  const float hw = width / 2;
  b.begin(Class::kDoor);
  b.box({0, height / 2, 0.012F}, {hw, height / 2, 0.012F}, leaf);
  for (const float x : {-hw - 0.04F, hw + 0.04F})
    b.box({x, height / 2 + 0.04F, 0.02F}, {0.04F, height / 2 + 0.04F, 0.02F}, frame);
  b.box({0, height + 0.04F, 0.02F}, {hw, 0.04F, 0.02F}, frame);
  const int style = dice.below(3);
  const int rows = style + 1;
  for (int r = 0; r < rows && style > 0; ++r) {
    const float h = (height - 0.3F) / static_cast<float>(rows);
    b.box({0, 0.15F + h * (static_cast<float>(r) + 0.5F), 0.026F}, {hw * 0.72F, h / 2 - 0.06F, 0.006F}, panel);
  }
  const float side = dice.sign();
  b.rod({side * (hw - 0.07F), 1.02F, 0.024F}, {side * (hw - 0.07F), 1.02F, 0.075F}, 0.012F, knob);
  b.capsule({side * (hw - 0.07F), 1.02F, 0.075F}, {side * (hw - 0.18F), 1.02F, 0.075F}, 0.012F, knob);
  b.end();
}

void add_window(Scene& s, const Frame& f, Dice& dice, float width, float sill, float top, float daylight) {
  Builder b(s, f);
  const int frame =
      b.material(dice.coin(0.7) ? plain(any_color(dice, 0.05F, 0.75F, 0.98F), 0.1F) : any_furniture(dice));
  Material view;
  view.pattern = Pattern::kOutside;
  view.across = dice.coin(0.4);
  const float green = dice.uniform(0.2F, 0.38F);
  const float green_value = dice.uniform(0.3F, 0.6F);
  view.a = view.across ? any_color(dice, 0.35F, 0.4F, 0.8F) : hsv(green, 0.5F, green_value);
  const float sky = dice.uniform(0.54F, 0.62F);
  const float sky_saturation = dice.uniform(0.15F, 0.6F);
  view.b = hsv(sky, sky_saturation, 0.95F);
  if (dice.coin(0.15)) view.b = hsv(0.07F, 0.4F, 1.0F);  // evening
  view.seed = dice.bits();
  view.glow = daylight;
  const int glass = b.material(view);
  const float hw = width / 2;
  const float h = top - sill;
  const float mid = (top + sill) / 2;
  const int index = b.begin(Class::kWindow);
  b.box({0, mid, 0.005F}, {hw, h / 2, 0.005F}, glass);
  for (const float x : {-hw - 0.025F, hw + 0.025F}) b.box({x, mid, 0.025F}, {0.03F, h / 2 + 0.055F, 0.025F}, frame);
  for (const float y : {sill - 0.025F, top + 0.025F}) b.box({0, y, 0.025F}, {hw, 0.03F, 0.025F}, frame);
  const int columns = width > 1.5F ? 3 : width > 0.9F ? 2 : 1;
  for (int i = 1; i < columns; ++i) {
    b.box({-hw + width * static_cast<float>(i) / static_cast<float>(columns), mid, 0.02F}, {0.025F, h / 2, 0.018F},
          frame);
  }
  if (dice.coin(0.5)) b.box({0, lerp(sill, top, dice.uniform(0.35F, 0.7F)), 0.02F}, {hw, 0.02F, 0.015F}, frame);
  if (sill > 0.3F) b.box({0, sill - 0.07F, 0.08F}, {hw + 0.08F, 0.015F, 0.08F}, frame);
  b.end();
  Light light;
  light.position = f.world({0, mid, 0.06F});
  light.u = f.turn({hw * 0.9F, 0, 0});
  light.v = f.turn({0, h * 0.45F, 0});
  light.normal = f.axes.z;
  light.intensity = Vec3{0.86F, 0.94F, 1.0F} * (daylight * width * h);
  light.owner = index;
  s.lights.push_back(light);
}

void add_curtains(Scene& s, const Frame& f, Dice& dice, float width, float bottom, float top) {
  Builder b(s, f);
  const int cloth = b.material(any_fabric(dice));
  const int rail = b.material(any_metal(dice));
  const float hw = width / 2;
  const float cover = width * dice.uniform(0.14F, 0.3F);
  b.begin(Class::kCurtain);
  b.rod({-hw - 0.2F, top + 0.03F, 0.1F}, {hw + 0.2F, top + 0.03F, 0.1F}, 0.014F, rail);
  for (const float side : {-1.0F, 1.0F}) {
    const int folds = std::max(3, static_cast<int>((cover + 0.15F) / 0.075F));
    const float pitch = (cover + 0.15F) / static_cast<float>(folds);
    for (int i = 0; i < folds; ++i) {
      const float x = side * (hw + 0.15F - pitch * (static_cast<float>(i) + 0.5F));
      const float z = (i & 1) != 0 ? 0.085F : 0.11F;
      b.cone({x, bottom, z}, {x, top + 0.02F, z}, pitch * 0.62F, pitch * 0.56F, cloth);
    }
  }
  b.end();
}

void add_picture(Scene& s, const Frame& f, Dice& dice, float width, float height, float center_y) {
  Builder b(s, f);
  const int frame = b.material(dice.coin(0.5) ? any_wood(dice) : plain(any_color(dice, 0.1F, 0.05F, 0.95F), 0.2F));
  Material m;
  m.pattern = Pattern::kPicture;
  m.a = any_color(dice, 0.8F, 0.2F, 0.9F);
  m.b = any_color(dice, 0.7F, 0.3F, 0.98F);
  m.shine = 0.1F;
  m.seed = dice.bits();
  const int canvas = b.material(m);
  const int mat = b.material(plain({0.85F, 0.84F, 0.8F}));
  const float hw = width / 2;
  const float hh = height / 2;
  const float border = dice.uniform(0.015F, 0.035F);
  b.begin(Class::kPicture);
  b.box({0, center_y, 0.012F}, {hw, hh, 0.012F}, frame);
  const bool passepartout = dice.coin(0.4);
  if (passepartout) b.box({0, center_y, 0.02F}, {hw - border, hh - border, 0.006F}, mat);
  const float inset = border + (passepartout ? 0.05F : 0.0F);
  b.box({0, center_y, 0.022F}, {std::max(0.05F, hw - inset), std::max(0.05F, hh - inset), 0.006F}, canvas);
  b.end();
}

}  // namespace m3vit::rooms
