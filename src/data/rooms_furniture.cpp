#include "data/rooms_furniture.h"

namespace m3vit::rooms {
namespace {

void four_legs(Builder& b, float hx, float hz, float height, float radius, float splay, int material) {
  for (int i = 0; i < 4; ++i) {
    const float x = (i & 1) != 0 ? hx : -hx;
    const float z = (i & 2) != 0 ? hz : -hz;
    const float k = 1 + splay;
    b.cone({x * k, 0, z * k}, {x, height, z}, radius * 0.7F, radius, material);
  }
}

}  // namespace

void add_bed(Scene& s, const Frame& f, Dice& dice, float width, float len) {
  Builder b(s, f);  // the head is at −z
  const int frame = b.material(any_furniture(dice));
  const int sheet = b.material(plain(any_color(dice, 0.12F, 0.75F, 0.98F), 0));
  const int cover = b.material(any_fabric(dice));
  const int pillow = b.material(dice.coin(0.6) ? plain(any_color(dice, 0.15F, 0.7F, 0.98F), 0) : any_fabric(dice));
  const float h = dice.uniform(0.26F, 0.36F);
  const float thick = dice.uniform(0.16F, 0.24F);
  const float hw = width / 2;
  const float hl = len / 2;
  b.begin(Class::kBed);
  b.box({0, h - 0.08F, 0}, {hw, 0.08F, hl}, frame);
  four_legs(b, hw - 0.06F, hl - 0.06F, h - 0.15F, 0.035F, 0, frame);
  b.soft({0, h + thick / 2, 0.01F}, {hw - 0.02F, thick / 2, hl - 0.03F}, 0.05F, sheet);
  const float fold = dice.uniform(0.25F, 0.4F) * len;
  b.soft({0, h + thick * 0.55F, fold / 2 + 0.01F}, {hw + 0.015F, thick * 0.58F, hl - fold / 2}, 0.06F, cover);
  const float board = dice.uniform(0.3F, 0.65F);
  b.box({0, h + board / 2, -hl - 0.02F}, {hw + 0.02F, board / 2 + 0.1F, 0.03F}, frame);
  const int pillows = width > 1.25F ? 2 : 1;
  for (int i = 0; i < pillows; ++i) {
    const float x = pillows == 1 ? 0 : (i == 0 ? -0.25F : 0.25F) * width;
    const float lean = dice.uniform(0.9F, 1.35F);
    b.tilted({x, h + thick + 0.09F, -hl + 0.24F},
             {std::min(0.32F, hw * 0.8F / static_cast<float>(pillows)), 0.2F, 0.075F}, lean, pillow, 0.07F);
  }
  b.end();
}

void add_sofa(Scene& s, const Frame& f, Dice& dice, float width) {
  Builder b(s, f);
  const Material fabric = any_fabric(dice);
  const int cover = b.material(fabric);
  const int cushion = b.material(dice.coin(0.6) ? fabric : any_fabric(dice));
  const int legs = b.material(any_furniture(dice));
  const float hw = width / 2;
  const float arm = dice.uniform(0.09F, 0.2F);
  const float arm_h = dice.uniform(0.5F, 0.65F);
  const float back_h = dice.uniform(0.72F, 0.95F);
  const float hd = 0.43F;
  b.begin(Class::kSofa);
  b.soft({0, 0.24F, 0}, {hw, 0.15F, hd}, 0.03F, cover);
  b.tilted({0, back_h * 0.55F, -hd + 0.1F}, {hw, back_h * 0.45F, 0.1F}, 0.12F, cover, 0.06F);
  for (const float side : {-1.0F, 1.0F}) {
    b.soft({side * (hw - arm / 2), 0.1F + arm_h / 2, 0.02F}, {arm / 2, arm_h / 2 - 0.05F, hd}, 0.05F, cover);
  }
  const int seats = width < 1.2F ? 1 : width < 1.8F ? 2 : 3;
  const float inner = width - 2 * arm;
  for (int i = 0; i < seats; ++i) {
    const float w = inner / static_cast<float>(seats);
    const float x = -inner / 2 + w * (static_cast<float>(i) + 0.5F);
    b.soft({x, 0.44F, 0.06F}, {w / 2 - 0.006F, 0.075F, hd - 0.06F}, 0.05F, cover);
    b.tilted({x, 0.64F, -hd + 0.26F}, {w / 2 - 0.02F, 0.2F, 0.08F}, 0.2F, cover, 0.06F);
  }
  const int loose = dice.below(3);
  for (int i = 0; i < loose; ++i) {
    const float x = dice.uniform(-0.4F, 0.4F) * inner;
    b.tilted({x, 0.65F, -hd + 0.42F}, {0.2F, 0.18F, 0.07F}, 0.35F, cushion, 0.065F);
  }
  four_legs(b, hw - 0.08F, hd - 0.08F, 0.1F, 0.03F, 0, legs);
  b.end();
}

void add_chair(Scene& s, const Frame& f, const Material& frame, const Material& cover, int style) {
  Builder b(s, f);
  const int wood = b.material(frame);
  const int seat = b.material(cover);
  const float h = 0.45F;
  const float w = 0.21F;
  b.begin(Class::kChair);
  switch (style) {
    case 0:  // wooden, slats
      b.box({0, h - 0.02F, 0}, {w, 0.02F, w}, wood);
      four_legs(b, w - 0.03F, w - 0.03F, h - 0.03F, 0.022F, 0.06F, wood);
      for (const float x : {-w + 0.02F, w - 0.02F}) b.tilted({x, h + 0.22F, -w}, {0.018F, 0.24F, 0.016F}, 0.14F, wood);
      for (int i = 0; i < 3; ++i) {
        b.tilted({0, h + 0.12F + 0.14F * static_cast<float>(i), -w - 0.014F * static_cast<float>(i)},
                 {w - 0.03F, 0.03F, 0.01F}, 0.14F, wood);
      }
      break;
    case 1:  // padded
      b.soft({0, h - 0.03F, 0}, {w + 0.02F, 0.045F, w + 0.02F}, 0.035F, seat);
      b.tilted({0, h + 0.26F, -w - 0.02F}, {w, 0.26F, 0.035F}, 0.12F, seat, 0.03F);
      four_legs(b, w - 0.03F, w - 0.03F, h - 0.06F, 0.022F, 0.1F, wood);
      break;
    case 2:  // office: star foot, column
      b.soft({0, h, 0}, {w + 0.03F, 0.045F, w + 0.03F}, 0.04F, seat);
      b.tilted({0, h + 0.38F, -w - 0.04F}, {w, 0.28F, 0.035F}, 0.1F, seat, 0.034F);
      b.rod({0, h + 0.05F, -w - 0.02F}, {0, h + 0.2F, -w - 0.03F}, 0.025F, wood);
      b.rod({0, 0.1F, 0}, {0, h - 0.03F, 0}, 0.03F, wood);
      for (int i = 0; i < 5; ++i) {
        const float a = 2 * kPi * static_cast<float>(i) / 5 + 0.3F;
        b.cone({0, 0.13F, 0}, {0.28F * std::sin(a), 0.06F, 0.28F * std::cos(a)}, 0.025F, 0.018F, wood);
        b.blob({0.28F * std::sin(a), 0.035F, 0.28F * std::cos(a)}, {0.035F, 0.035F, 0.035F}, wood);
      }
      break;
    default:  // shell on thin legs
      b.soft({0, h, 0.01F}, {w + 0.01F, 0.025F, w + 0.01F}, 0.024F, seat);
      b.tilted({0, h + 0.2F, -w}, {w + 0.01F, 0.2F, 0.022F}, 0.2F, seat, 0.02F);
      four_legs(b, w - 0.06F, w - 0.06F, h - 0.02F, 0.014F, 0.35F, wood);
      break;
  }
  b.end();
}

void add_table(Scene& s, const Frame& f, Dice& dice, Vec3 size, bool round, const Material& top) {
  Builder b(s, f);
  const int board = b.material(top);
  const int legs = b.material(dice.coin(0.5) ? top : any_furniture(dice));
  const float hx = size.x / 2;
  const float hz = size.z / 2;
  const float h = size.y;
  b.begin(Class::kTable);
  if (round) {
    b.rod({0, h - 0.035F, 0}, {0, h, 0}, hx, board);
    b.cone({0, 0.03F, 0}, {0, h - 0.03F, 0}, 0.05F, 0.04F, legs);
    b.cone({0, 0, 0}, {0, 0.04F, 0}, hx * 0.55F, hx * 0.5F, legs);
  } else {
    b.box({0, h - 0.02F, 0}, {hx, 0.02F, hz}, board);
    const int kind = dice.below(3);
    if (kind == 0) {
      for (const float x : {-hx + 0.04F, hx - 0.04F})
        b.box({x, (h - 0.04F) / 2, 0}, {0.02F, (h - 0.04F) / 2, hz - 0.04F}, legs);
    } else {
      const float r = dice.uniform(0.02F, 0.04F);
      if (kind == 1) {
        four_legs(b, hx - 0.05F, hz - 0.05F, h - 0.04F, r, 0.04F, legs);
      } else {
        for (int i = 0; i < 4; ++i) {
          b.box({(i & 1) != 0 ? hx - r : -hx + r, (h - 0.04F) / 2, (i & 2) != 0 ? hz - r : -hz + r},
                {r, (h - 0.04F) / 2, r}, legs);
        }
      }
      b.box({0, h - 0.075F, 0}, {hx - 0.05F, 0.035F, hz - 0.05F}, legs);
    }
  }
  b.end();
}

void add_cabinet(Scene& s, const Frame& f, Dice& dice, Vec3 size) {
  Builder b(s, f);
  const Material body_m = any_furniture(dice);
  Material front_m = dice.coin(0.7) ? body_m : any_furniture(dice);
  front_m.a = front_m.a * dice.uniform(0.85F, 1.05F);
  const int body = b.material(body_m);
  const int front = b.material(front_m);
  const int knob = b.material(any_metal(dice));
  const float hx = size.x / 2;
  const float hz = size.z / 2;
  const float foot = dice.uniform(0.0F, 1.0F) < 0.5F ? 0.06F : 0.14F;
  b.begin(Class::kCabinet);
  b.box({0, (size.y + foot) / 2, -0.01F}, {hx, (size.y - foot) / 2, hz - 0.01F}, body);
  b.box({0, size.y + 0.012F, 0}, {hx + 0.015F, 0.012F, hz + 0.01F}, body);
  if (foot > 0.1F) {
    four_legs(b, hx - 0.06F, hz - 0.06F, foot, 0.025F, 0, body);
  } else {
    b.box({0, foot / 2, -0.03F}, {hx - 0.03F, foot / 2, hz - 0.04F}, body);
  }
  const bool drawers = size.y < 1.2F && dice.coin(0.6);
  const int columns = std::max(1, static_cast<int>(size.x / 0.5F + 0.3F));
  const int rows = drawers ? std::max(1, static_cast<int>((size.y - foot) / 0.22F)) : 1;
  const float w = size.x / static_cast<float>(columns);
  const float h = (size.y - foot) / static_cast<float>(rows);
  for (int r = 0; r < rows; ++r) {
    for (int c = 0; c < columns; ++c) {
      const float x = -hx + w * (static_cast<float>(c) + 0.5F);
      const float y = foot + h * (static_cast<float>(r) + 0.5F);
      b.box({x, y, hz - 0.01F}, {w / 2 - 0.008F, h / 2 - 0.008F, 0.012F}, front);
      if (drawers) {
        b.rod({x - 0.06F, y + h * 0.1F, hz + 0.015F}, {x + 0.06F, y + h * 0.1F, hz + 0.015F}, 0.008F, knob);
      } else {
        const float kx = x + ((c & 1) != 0 ? -1.0F : 1.0F) * (w / 2 - 0.05F);
        b.rod({kx, y - 0.08F, hz + 0.015F}, {kx, y + 0.08F, hz + 0.015F}, 0.009F, knob);
      }
    }
  }
  b.end();
}

void add_shelf(Scene& s, const Frame& f, Dice& dice, Vec3 size) {
  Builder b(s, f);
  const int board = b.material(any_furniture(dice));
  const float hx = size.x / 2;
  const float hz = size.z / 2;
  const float t = 0.014F;
  const int levels = std::max(2, static_cast<int>(size.y / dice.uniform(0.3F, 0.42F)));
  const float pitch = (size.y - 2 * t) / static_cast<float>(levels);
  b.begin(Class::kShelf);
  for (const float x : {-hx + t, hx - t}) b.box({x, size.y / 2, 0}, {t, size.y / 2, hz}, board);
  for (int i = 0; i <= levels; ++i)
    b.box({0, t + pitch * static_cast<float>(i), 0}, {hx - 2 * t, t, hz - 0.003F}, board);
  if (dice.coin(0.7)) b.box({0, size.y / 2, -hz + 0.006F}, {hx - 2 * t, size.y / 2 - 0.01F, 0.005F}, board);
  for (int i = 0; i < levels; ++i) {
    if (dice.coin(0.15)) continue;
    const float base = 2 * t + pitch * static_cast<float>(i);
    const float free = 2 * (hx - 2 * t) - 0.02F;
    const float w = free * dice.uniform(0.4F, 1.0F);
    const float x = dice.sign() * (free - w) / 2;
    const float h = (pitch - 2 * t) * dice.uniform(0.65F, 0.92F);
    if (dice.coin(0.8)) {
      Material m;
      m.pattern = Pattern::kBooks;
      m.a = any_color(dice, 0.3F, 0.3F, 0.6F);
      m.b = {0.8F, 0.75F, 0.6F};
      m.scale = dice.uniform(0.06F, 0.1F);
      m.seed = dice.bits();
      b.box({x, base + h / 2, -0.02F}, {w / 2, h / 2, hz - 0.05F}, b.material(m));
    } else {
      b.box({x, base + h / 2, -0.01F}, {w / 2, h / 2, hz - 0.04F}, b.material(any_fabric(dice)));
    }
  }
  b.end();
}

void add_plant(Scene& s, const Frame& f, Dice& dice, float height) {
  Builder b(s, f);
  const int pot =
      b.material(dice.coin(0.5) ? plain(hsv(0.05F, 0.55F, 0.7F)) : plain(any_color(dice, 0.3F, 0.25F, 0.95F), 0.15F));
  const int soil = b.material(plain({0.03F, 0.02F, 0.015F}));
  const float hue = dice.uniform(0.22F, 0.37F);
  const float sat = dice.uniform(0.45F, 0.85F);
  const float val = dice.uniform(0.3F, 0.62F);
  int green[3];
  for (int i = 0; i < 3; ++i) {
    const Vec3 c = hsv(hue + 0.02F * static_cast<float>(i), sat, val * (0.75F + 0.2F * static_cast<float>(i)));
    Material m = plain(c, 0.1F);
    m.pattern = Pattern::kMottle;
    m.b = c * 0.7F;
    m.scale = 0.05F;
    green[i] = b.material(m);
  }
  const int stem = b.material(plain(hsv(0.12F, 0.5F, 0.35F)));
  const float r = height * dice.uniform(0.14F, 0.2F);
  const float ph = height * dice.uniform(0.22F, 0.32F);
  b.begin(Class::kPlant);
  b.cone({0, 0, 0}, {0, ph, 0}, r * 0.72F, r, pot);
  b.rod({0, ph * 0.9F, 0}, {0, ph + 0.004F, 0}, r * 0.88F, soil);
  const float top = height - ph;
  const int kind = dice.below(3);
  const int leaves = height > 0.6F ? 20 : 11;
  if (kind == 0) b.cone({0, ph, 0}, {0, ph + top * 0.6F, 0}, 0.02F, 0.01F, stem);
  for (int i = 0; i < leaves; ++i) {
    const float a = 2.4F * static_cast<float>(i) + dice.uniform(-0.4F, 0.4F);
    const float k = (static_cast<float>(i) + 0.5F) / static_cast<float>(leaves);
    const int m = green[dice.below(3)];
    const float ca = std::cos(a);
    const float sa = std::sin(a);
    if (kind == 0) {  // leaves around a stem
      const float reach = top * 0.34F * (1.15F - 0.7F * k);
      const float y = ph + top * (0.3F + 0.62F * k);
      const float droop = dice.uniform(-0.3F, 0.6F);
      b.leaf({ca * reach * 0.6F, y, sa * reach * 0.6F}, {ca, droop, sa}, {reach * 0.4F, reach * 0.68F, reach * 0.07F},
             m);
    } else if (kind == 1) {  // blades from the pot
      const float lean = dice.uniform(0.1F, 0.7F);
      const float len = top * dice.uniform(0.6F, 1.0F);
      const Vec3 axis = normalize(Vec3{ca * lean, 1, sa * lean});
      b.leaf(Vec3{ca * r * 0.3F, ph, sa * r * 0.3F} + axis * (len / 2), axis, {len * 0.12F, len / 2, len * 0.025F}, m);
    } else {  // a bush
      const float y = ph + top * (0.35F + 0.5F * k);
      const float reach = top * 0.3F * dice.uniform(0.4F, 1.0F);
      const float size = top * dice.uniform(0.14F, 0.24F);
      b.blob({ca * reach, y, sa * reach}, {size, size * 0.8F, size}, m);
    }
  }
  b.end();
}

void add_lamp(Scene& s, const Frame& f, Dice& dice, int kind, float power) {
  Builder b(s, f);
  const int metal = b.material(any_metal(dice));
  const float warm = dice.uniform(0.0F, 1.0F);
  const Vec3 tint = lerp(Vec3{1.0F, 0.95F, 0.88F}, Vec3{1.0F, 0.72F, 0.42F}, warm);
  const bool on = power > 0;
  Material shade_m = plain(on ? tint : any_color(dice, 0.3F, 0.6F, 0.95F), 0);
  shade_m.glow = on ? dice.uniform(2.0F, 4.0F) : 0;
  const int shade_i = b.material(shade_m);
  const int index = b.begin(Class::kLamp);
  Vec3 bulb;
  float size = 0.12F;
  if (kind == 0) {
    const float h = dice.uniform(1.3F, 1.65F);
    const float r = dice.uniform(0.16F, 0.24F);
    b.rod({0, 0, 0}, {0, 0.025F, 0}, 0.15F, metal);
    b.rod({0, 0.02F, 0}, {0, h, 0}, 0.014F, metal);
    b.cone({0, h - 0.06F, 0}, {0, h + 0.22F, 0}, r, r * dice.uniform(0.5F, 0.9F), shade_i);
    bulb = {0, h + 0.08F, 0};
  } else if (kind == 1) {
    const float h = dice.uniform(0.2F, 0.3F);
    b.cone({0, 0, 0}, {0, h, 0}, dice.uniform(0.05F, 0.09F), 0.015F, metal);
    b.cone({0, h, 0}, {0, h + 0.18F, 0}, 0.14F, 0.09F, shade_i);
    bulb = {0, h + 0.09F, 0};
  } else {
    const int style = dice.below(3);
    const float drop = style == 2 ? 0.02F : dice.uniform(0.35F, 0.75F);
    if (style != 2) b.rod({0, -drop, 0}, {0, 0, 0}, 0.007F, metal);
    if (style == 0) {
      b.blob({0, -drop - 0.1F, 0}, {0.15F, 0.15F, 0.15F}, shade_i);
    } else if (style == 1) {
      b.cone({0, -drop - 0.2F, 0}, {0, -drop, 0}, 0.24F, 0.08F, shade_i);
    } else {
      b.rod({0, -0.08F, 0}, {0, 0, 0}, dice.uniform(0.17F, 0.27F), shade_i);
    }
    bulb = {0, -drop - 0.12F, 0};
    size = 0.2F;
  }
  b.end();
  if (!on) return;
  Light light;
  light.position = f.world(bulb);
  light.u = {size, 0, 0};
  light.v = {0, 0, size};
  light.intensity = tint * power;
  light.owner = index;
  s.lights.push_back(light);
}

void add_rug(Scene& s, const Frame& f, Dice& dice, float width, float len) {
  Builder b(s, f);
  const int m = b.material(any_rug(dice));
  b.begin(Class::kRug);
  if (dice.coin(0.25)) {
    b.rod({0, 0, 0}, {0, 0.012F, 0}, std::min(width, len) / 2, m);
  } else {
    b.box({0, 0.006F, 0}, {width / 2, 0.006F, len / 2}, m);
  }
  b.end();
}

void add_object(Scene& s, const Frame& f, Dice& dice) {
  Builder b(s, f);
  const int kind = dice.below(6);
  const int m = b.material(plain(any_color(dice, 0.9F, 0.25F, 0.95F), 0.15F));
  b.begin(Class::kObject);
  switch (kind) {
    case 0: {  // books, lying
      const int n = dice.between(1, 4);
      float y = 0;
      for (int i = 0; i < n; ++i) {
        const float t = dice.uniform(0.012F, 0.025F);
        const int cover = b.material(plain(any_color(dice, 0.8F, 0.2F, 0.9F)));
        const float x = dice.uniform(-0.02F, 0.02F);
        b.box({x, y + t, 0}, {dice.uniform(0.08F, 0.13F), t, 0.1F}, cover);
        y += 2 * t;
      }
      break;
    }
    case 1:  // vase
      b.cone({0, 0, 0}, {0, 0.1F, 0}, 0.04F, 0.075F, m);
      b.cone({0, 0.1F, 0}, {0, 0.22F, 0}, 0.075F, 0.03F, m);
      break;
    case 2:
      b.blob({0, 0.09F, 0}, {0.09F, 0.09F, 0.09F}, m);
      break;  // ball
    case 3:
      b.cone({0, 0, 0}, {0, 0.07F, 0}, 0.07F, 0.14F, m);
      break;  // bowl
    case 4:
      b.box({0, 0.07F, 0}, {dice.uniform(0.07F, 0.14F), 0.07F, 0.09F}, m);
      break;    // box
    default: {  // screen on a foot
      const int dark = b.material(plain({0.02F, 0.02F, 0.025F}, 0.4F));
      Material picture;
      picture.pattern = Pattern::kPicture;
      picture.a = any_color(dice, 0.6F, 0.1F, 0.5F);
      picture.b = any_color(dice, 0.8F, 0.4F, 0.9F);
      picture.seed = dice.bits();
      picture.glow = 0.5F;
      const int panel = dice.coin(0.5) ? b.material(picture) : dark;
      b.box({0, 0.01F, 0}, {0.1F, 0.01F, 0.07F}, dark);
      b.box({0, 0.07F, -0.01F}, {0.02F, 0.06F, 0.01F}, dark);
      b.box({0, 0.24F, 0}, {0.25F, 0.15F, 0.012F}, dark);
      b.box({0, 0.24F, 0.008F}, {0.238F, 0.138F, 0.006F}, panel);
      break;
    }
  }
  b.end();
}

void add_crate(Scene& s, const Frame& f, Dice& dice) {
  Builder b(s, f);
  const bool carton = dice.coin(0.6);
  const int m = b.material(carton ? plain(hsv(0.09F, 0.4F, dice.uniform(0.55F, 0.8F)), 0) : any_fabric(dice));
  const int tape = b.material(plain(hsv(0.1F, 0.25F, 0.9F), 0.2F));
  const float w = dice.uniform(0.16F, 0.3F);
  const float h = dice.uniform(0.12F, 0.25F);
  const float l = dice.uniform(0.14F, 0.24F);
  b.begin(Class::kObject);
  b.box({0, h, 0}, {w, h, l}, m);
  if (carton) {
    b.box({0, h, 0}, {0.025F, h + 0.001F, l + 0.001F}, tape);
  } else {
    b.box({0, 2 * h, 0}, {w + 0.008F, 0.02F, l + 0.008F}, m);
  }
  b.end();
}

}  // namespace m3vit::rooms
