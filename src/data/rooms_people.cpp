// People of capsules and ellipsoids. Body measures are shares of stature after Drillis and Contini (1966).
#include "data/rooms_furniture.h"

namespace m3vit::rooms {
namespace {

/// Joints in the person's frame at stature 1.75 m: x to the person's left, z to the front.
struct Limb {
  Vec3 root, middle, end;
};

Vec3 swing(float forward, float outward, float side) {  // a unit vector, straight down at 0, 0
  return normalize(
      Vec3{side * std::sin(outward), -std::cos(forward) * std::cos(outward), std::sin(forward) * std::cos(outward)});
}

struct Outfit {
  int skin, hair, top, sleeve, bottom, calf, shoe, dark;
  bool skirt;
  int hair_style;
};

Outfit dress(Builder& b, Dice& dice) {
  Outfit o{};
  static constexpr float kSkin[][3] = {{0.93F, 0.76F, 0.65F}, {0.87F, 0.67F, 0.53F}, {0.76F, 0.55F, 0.4F},
                                       {0.6F, 0.41F, 0.28F},  {0.45F, 0.3F, 0.2F},   {0.3F, 0.2F, 0.14F}};
  static constexpr float kHair[][3] = {{0.06F, 0.05F, 0.05F}, {0.16F, 0.1F, 0.06F}, {0.33F, 0.2F, 0.1F},
                                       {0.5F, 0.25F, 0.1F},   {0.8F, 0.66F, 0.4F},  {0.6F, 0.6F, 0.6F}};
  const auto pick = [&](const float(&table)[6][3]) {
    const float* c = table[dice.below(6)];
    const Vec3 v = Vec3{c[0], c[1], c[2]} * dice.uniform(0.92F, 1.06F);
    return v * v;
  };
  o.skin = b.material(plain(pick(kSkin), 0.08F));
  o.hair = b.material(plain(pick(kHair), 0.15F));
  Material top = any_fabric(dice);
  top.across = dice.coin(0.75);  // stripes round the body more often than along it
  o.top = b.material(top);
  o.sleeve = dice.coin(0.5) ? o.skin : o.top;
  Material bottom = any_cloth_plain(dice);
  if (dice.coin(0.4)) {  // denim
    const float v = dice.uniform(0.22F, 0.6F);
    bottom.a = hsv(0.6F, 0.5F, v);
    bottom.b = bottom.a * 0.75F;
  }
  o.bottom = b.material(bottom);
  o.skirt = dice.coin(0.22);
  o.calf = o.skirt || dice.coin(0.2) ? o.skin : o.bottom;
  o.shoe = b.material(
      plain(dice.coin(0.5) ? any_color(dice, 0.2F, 0.05F, 0.35F) : any_color(dice, 0.7F, 0.3F, 0.95F), 0.15F));
  o.dark = b.material(plain({0.015F, 0.012F, 0.012F}, 0.3F));
  o.hair_style = dice.below(5);
  return o;
}

void head(Builder& b, const Outfit& o, Vec3 neck, Vec3 up, float k, Dice& dice) {
  const Vec3 c = neck + up * (0.135F * k);
  const float turn = dice.uniform(-0.5F, 0.5F);
  const Vec3 front{std::sin(turn), 0, std::cos(turn)};
  const Vec3 side{std::cos(turn), 0, -std::sin(turn)};
  b.part(Part::kTorso);
  b.capsule(neck - up * (0.05F * k), neck + up * (0.07F * k), 0.052F * k, o.skin);
  b.part(Part::kHead);
  b.leaf(c, up, {0.083F * k, 0.118F * k, 0.095F * k}, o.skin);
  b.blob(c + front * (0.093F * k) - up * (0.015F * k), Vec3{0.013F, 0.022F, 0.018F} * k, o.skin);
  for (const float s : {-1.0F, 1.0F}) {
    b.blob(c + front * (0.084F * k) + side * (s * 0.034F * k) + up * (0.018F * k), Vec3{0.012F, 0.009F, 0.012F} * k,
           o.dark);
    b.blob(c + side * (s * 0.084F * k), Vec3{0.016F, 0.028F, 0.02F} * k, o.skin);
  }
  const Vec3 crown = c + up * (0.036F * k) - front * (0.022F * k);
  switch (o.hair_style) {
    case 0:
      b.leaf(c + up * (0.05F * k) - front * (0.012F * k), up, Vec3{0.09F, 0.085F, 0.098F} * k, o.hair);
      break;  // short
    case 1:   // long
      b.leaf(crown, up, Vec3{0.098F, 0.105F, 0.1F} * k, o.hair);
      b.capsule(c - front * (0.05F * k), c - front * (0.06F * k) - up * (0.2F * k), 0.085F * k, o.hair, 0.5F, side);
      break;
    case 2:  // bun
      b.leaf(crown, up, Vec3{0.094F, 0.1F, 0.094F} * k, o.hair);
      b.blob(c + up * (0.1F * k) - front * (0.09F * k), Vec3{0.045F, 0.045F, 0.045F} * k, o.hair);
      break;
    case 3:
      b.blob(crown + up * (0.03F * k) - front * (0.03F * k), Vec3{0.12F, 0.105F, 0.105F} * k, o.hair);
      break;  // curls
    default:
      break;  // none
  }
}

void arm(Builder& b, const Outfit& o, const Limb& l, float k) {
  b.part(Part::kUpperArm);
  b.capsule(l.root, l.middle, 0.049F * k, o.top);
  b.part(Part::kLowerArm);
  b.capsule(l.middle, l.end, 0.037F * k, o.sleeve);
  const Vec3 d = normalize(l.end - l.middle);
  b.leaf(l.end + d * (0.075F * k), d, Vec3{0.038F, 0.085F, 0.024F} * k, o.skin);
}

void leg(Builder& b, const Outfit& o, const Limb& l, float k, Vec3 toe) {
  b.part(Part::kUpperLeg);
  b.capsule(l.root, l.middle, 0.074F * k, o.bottom);
  b.part(Part::kLowerLeg);
  b.capsule(l.middle, l.end, 0.053F * k, o.calf);
  b.leaf(l.end + toe * (0.065F * k) - Vec3{0, 0.03F * k, 0}, toe, Vec3{0.047F, 0.125F, 0.045F} * k, o.shoe);
}

}  // namespace

void add_person(Scene& s, const Frame& f, Dice& dice, Pose pose) {
  Builder b(s, f);
  const Outfit o = dress(b, dice);
  const float k = dice.uniform(1.48F, 1.93F) / 1.75F;
  const float wide = dice.uniform(0.88F, 1.18F);
  const bool sitting = pose == Pose::kSitting;

  // Hips, spine.
  const float stride = pose == Pose::kWalking ? dice.uniform(0.3F, 0.6F) : 0.0F;
  const float hip_y = sitting ? 0.1F * k : (0.09F + 0.83F * std::cos(stride)) * k;
  const Vec3 hips{0, hip_y, 0};
  const float lean = sitting ? dice.uniform(-0.18F, 0.2F) : dice.uniform(-0.03F, 0.08F);
  const Vec3 up = normalize(Vec3{dice.uniform(-0.04F, 0.04F), 1, lean});
  const Vec3 chest = hips + up * (0.4F * k);
  const Vec3 neck = hips + up * (0.56F * k);

  b.begin(Class::kPerson);
  b.part(Part::kTorso);
  b.capsule(hips + up * (0.09F * k), chest, 0.155F * k * wide, o.top, 0.68F);
  b.capsule(neck - up * (0.075F * k) - Vec3{0.13F * k * wide, 0, 0},
            neck - up * (0.075F * k) + Vec3{0.13F * k * wide, 0, 0}, 0.072F * k, o.top, 1, {0, 1, 0});
  b.blob(hips + up * (0.02F * k), Vec3{0.165F * wide, 0.13F, 0.118F * wide} * k, o.bottom);
  head(b, o, neck, up, k, dice);

  // Arms.
  const bool gesture = dice.coin(0.3);
  for (const float side : {-1.0F, 1.0F}) {
    float forward = sitting ? dice.uniform(0.1F, 0.6F) : dice.uniform(-0.15F, 0.2F);
    float outward = dice.uniform(0.08F, 0.25F);
    float bend = sitting ? dice.uniform(0.7F, 1.2F) : dice.uniform(0.05F, 0.4F);
    if (pose == Pose::kWalking) forward = -side * stride * 0.8F;
    if (gesture && side > 0) {
      forward = dice.uniform(0.2F, 1.6F);
      outward = dice.uniform(0.1F, 0.8F);
      bend = dice.uniform(0.4F, 1.9F);
    }
    Limb l;
    l.root = neck + Vec3{side * 0.185F * k * wide, 0, 0} - up * (0.085F * k);
    l.middle = l.root + swing(forward, outward, side) * (0.29F * k);
    l.end = l.middle + swing(forward + bend, outward * 0.3F, side) * (0.245F * k);
    arm(b, o, l, k);
  }

  // Legs.
  for (const float side : {-1.0F, 1.0F}) {
    Limb l;
    l.root = hips + Vec3{side * 0.09F * k, -0.02F * k, 0};
    Vec3 toe{side * 0.15F, 0, 1};
    if (sitting) {
      const float spread = dice.uniform(0.0F, 0.22F);
      const float shin = dice.uniform(-0.25F, 0.3F);
      l.middle = l.root + Vec3{side * std::sin(spread), 0.0F, std::cos(spread)} * (0.43F * k);
      // The seat is at y = 0 and the floor 0.46 m below it, whatever the stature.
      const float drop = 0.46F + l.middle.y - 0.08F * k;
      l.end = l.middle + Vec3{0, -drop, drop * shin};
    } else {
      const float forward = pose == Pose::kWalking ? side * stride : dice.uniform(-0.06F, 0.1F);
      const float bend = forward < 0 ? dice.uniform(0.1F, 0.5F) : dice.uniform(0.0F, 0.1F);
      const float outward = pose == Pose::kWalking ? 0.02F : dice.uniform(0.0F, 0.12F);
      l.middle = l.root + swing(forward, outward, side) * (0.42F * k);
      l.end = l.middle + swing(forward - bend, outward, side) * (0.41F * k);
      toe.y = -0.4F * bend;
    }
    leg(b, o, l, k, normalize(toe));
  }
  if (o.skirt) {
    b.part(Part::kUpperLeg);
    if (sitting) {
      b.capsule(hips, hips + Vec3{0, 0, 0.36F * k}, 0.175F * k * wide, o.bottom, 0.62F);
    } else {
      b.cone(hips + Vec3{0, 0.06F * k, 0}, hips + Vec3{0, -0.42F * k, 0.01F}, 0.15F * k * wide,
             (0.2F + 0.12F * stride) * k * wide, o.bottom);
    }
  }
  b.end();
}

}  // namespace m3vit::rooms
