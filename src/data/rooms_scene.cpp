#include "data/rooms_scene.h"

#include "data/rooms_furniture.h"

namespace m3vit::rooms {
namespace {

struct Rect {
  float x0, z0, x1, z1;
};

struct Interval {
  float lo, hi;
};

/// What stands along one wall: intervals that are taken near the floor, and higher up.
struct Wall {
  Frame frame;  ///< origin on the floor at the wall's middle, z into the room
  float length = 0;
  std::vector<Interval> low, high;

  static bool clear(const std::vector<Interval>& taken, Interval i) {
    for (const Interval& t : taken) {
      if (i.lo < t.hi && t.lo < i.hi) return false;
    }
    return true;
  }
};

enum class RoomKind { kLiving, kBedroom, kDining, kOffice };

class Grammar {
 public:
  Grammar(Scene& scene, Dice& dice) : s_(scene), dice_(dice) {}

  void draw() {
    shell();
    camera();
    openings();
    pillar();
    furnish();
    wall_pieces();
    people();
    pictures();
    clutter();
    ceiling_lamp();
    sensor();
  }

 private:
  int material(const Material& m) {
    s_.materials.push_back(m);
    return static_cast<int>(s_.materials.size()) - 1;
  }

  void shell() {
    const float w = dice_.uniform(3.2F, 6.6F);
    const float d = dice_.uniform(3.6F, 7.0F);
    height_ = dice_.uniform(2.35F, 3.1F);
    s_.lo = {-w / 2, 0, -d / 2};
    s_.hi = {w / 2, height_, d / 2};
    const int wall = material(any_wall(dice_));
    const int accent = dice_.coin(0.3) ? material(any_wall(dice_)) : wall;
    const int floor = material(any_floor(dice_));
    Material up = any_paint(dice_);
    up.a = lerp(up.a, Vec3{0.9F, 0.9F, 0.88F}, dice_.coin(0.8) ? 0.8F : 0.1F);
    up.b = up.a * 0.95F;
    const int ceiling = material(up);
    s_.plane_material = {wall, wall, floor, ceiling, accent, wall};
    walls_[0] = {Frame::at({0, 0, s_.lo.z}, 0), w, {}, {}};
    walls_[1] = {Frame::at({s_.lo.x, 0, 0}, kPi / 2), d, {}, {}};
    walls_[2] = {Frame::at({s_.hi.x, 0, 0}, -kPi / 2), d, {}, {}};
    if (dice_.coin(0.8)) {
      const int m = material(plain(dice_.coin(0.6) ? any_color(dice_, 0.06F, 0.7F, 0.97F) : any_wood(dice_).a, 0.1F));
      const float h = dice_.uniform(0.03F, 0.07F);
      for (const Wall& wall_i : walls_) {
        Builder b(s_, wall_i.frame);
        b.begin(Class::kWall);
        b.box({0, h, 0.005F}, {wall_i.length / 2, h, 0.005F}, m);
        b.end();
      }
    }
  }

  void camera() {
    Camera& c = s_.camera;
    const float w = s_.hi.x - s_.lo.x;
    c.position = {dice_.uniform(-0.42F, 0.42F) * w, std::min(dice_.uniform(0.85F, 1.85F), height_ - 0.5F),
                  s_.hi.z - dice_.uniform(0.15F, 0.7F)};
    const float tx = dice_.uniform(-0.35F, 0.35F) * w;
    const float tz = dice_.uniform(s_.lo.z, 0.0F);
    const float yaw = std::atan2(tx - c.position.x, -(tz - c.position.z)) + dice_.uniform(-0.12F, 0.12F);
    const float pitch = dice_.uniform(-0.3F, 0.06F) - 0.08F * (c.position.y - 1.2F);
    const float roll = dice_.uniform(-0.05F, 0.05F);
    c.half_tan = std::tan(0.5F * dice_.uniform(52, 75) * kPi / 180);
    const Vec3 forward{std::sin(yaw) * std::cos(pitch), std::sin(pitch), -std::cos(yaw) * std::cos(pitch)};
    const Vec3 right0 = normalize(cross(forward, {0, 1, 0}));
    const Vec3 up0 = cross(right0, forward);
    c.back = -forward;
    c.right = right0 * std::cos(roll) + up0 * std::sin(roll);
    c.up = up0 * std::cos(roll) - right0 * std::sin(roll);
    forward_ = normalize(Vec3{forward.x, 0, forward.z});
    const float r = 0.55F;
    taken_.push_back({c.position.x - r, c.position.z - r, c.position.x + r, c.position.z + r});
  }

  /// Keeps the line of sight open: nothing tall within 1.1 m in front of the camera.
  bool blocks_view(Rect r) const {
    const Vec3 p = s_.camera.position + forward_ * 0.7F;
    return r.x0 < p.x + 0.45F && r.x1 > p.x - 0.45F && r.z0 < p.z + 0.45F && r.z1 > p.z - 0.45F;
  }

  bool free(Rect r, float margin = 0.03F) const {
    if (r.x0 < s_.lo.x || r.x1 > s_.hi.x || r.z0 < s_.lo.z || r.z1 > s_.hi.z) return false;
    for (const Rect& t : taken_) {
      if (r.x0 < t.x1 + margin && t.x0 < r.x1 + margin && r.z0 < t.z1 + margin && t.z0 < r.z1 + margin) return false;
    }
    return true;
  }

  /// World rectangle around a footprint of half sizes hx, hz in a frame.
  static Rect footprint(const Frame& f, float hx, float hz) {
    const float ex = std::fabs(f.axes.x.x) * hx + std::fabs(f.axes.z.x) * hz;
    const float ez = std::fabs(f.axes.x.z) * hx + std::fabs(f.axes.z.z) * hz;
    return {f.origin.x - ex, f.origin.z - ez, f.origin.x + ex, f.origin.z + ez};
  }

  static Frame on_wall(const Wall& w, float along, float out) { return {w.frame.world({along, 0, out}), w.frame.axes}; }

  void openings() {
    daylight_ = dice_.uniform(1.3F, 4.0F);
    if (dice_.coin(0.12)) daylight_ = dice_.uniform(0.03F, 0.1F);  // night
    const int order = dice_.below(3);
    if (dice_.coin(0.75)) {
      Wall& w = walls_[static_cast<std::size_t>(dice_.below(3))];
      const float width = dice_.uniform(0.75F, 0.95F);
      const float x = dice_.uniform(-0.5F, 0.5F) * (w.length - width - 0.3F);
      add_door(s_, on_wall(w, x, 0), dice_, width, std::min(dice_.uniform(1.95F, 2.15F), height_ - 0.15F));
      const Interval i{x - width / 2 - 0.1F, x + width / 2 + 0.1F};
      w.low.push_back(i);
      w.high.push_back(i);
      const Rect r = footprint(on_wall(w, x, 0.35F), width / 2, 0.34F);
      taken_.push_back(r);
    }
    const int count = dice_.coin(0.15) ? 0 : dice_.between(1, 3);
    for (int n = 0; n < count; ++n) {
      Wall& w = walls_[static_cast<std::size_t>((order + n) % 3)];
      const float width = dice_.uniform(0.7F, 2.0F);
      if (width > w.length - 0.6F) continue;
      const float x = dice_.uniform(-0.5F, 0.5F) * (w.length - width - 0.5F);
      const Interval i{x - width / 2 - 0.28F, x + width / 2 + 0.28F};
      const bool tall = dice_.coin(0.15);
      const float sill = tall ? 0.08F : dice_.uniform(0.8F, 1.05F);
      const float top = std::min(height_ - 0.22F, dice_.uniform(1.9F, 2.4F));
      if (!Wall::clear(w.high, i)) continue;
      add_window(s_, on_wall(w, x, 0), dice_, width, sill, top, daylight_);
      w.high.push_back(i);
      if (tall) w.low.push_back(i);
      if (dice_.coin(0.4)) {
        const bool full = tall || dice_.coin(0.5);
        add_curtains(s_, on_wall(w, x, 0), dice_, width, full ? 0.04F : sill - 0.15F, top + 0.08F);
        if (full) w.low.push_back(i);
      }
    }
  }

  void pillar() {
    if (!dice_.coin(0.12)) return;
    const float side = dice_.sign();
    const float h = dice_.uniform(0.15F, 0.3F);
    const Frame f = Frame::at({side * (s_.hi.x - h), 0, dice_.uniform(-0.3F, 0.1F) * s_.hi.z}, 0);
    const Rect r = footprint(f, h, h);
    if (!free(r) || blocks_view(r)) return;
    Builder b(s_, f);
    b.begin(Class::kWall);
    b.object().casts_shadow = true;
    b.creases(true);
    b.box({0, height_ / 2, 0}, {h, height_ / 2, h}, s_.plane_material[0]);
    b.end();
    taken_.push_back(r);
    Wall& w = walls_[side < 0 ? 1 : 2];
    const float along = dot(f.origin - w.frame.origin, w.frame.axes.x);
    w.high.push_back({along - h, along + h});
    w.low.push_back({along - h, along + h});
  }

  /// Finds room for a piece of the given width and depth along some wall; reserves it. `height` decides whether it
  /// may stand under a window or picture.
  bool along_wall(float width, float depth, float height, Frame* out, int only = -1) {
    for (int attempt = 0; attempt < 14; ++attempt) {
      const int k = only >= 0 ? only : dice_.below(4) % 3;  // the far wall twice as often
      Wall& w = walls_[static_cast<std::size_t>(k)];
      if (width > w.length) continue;
      const float x = dice_.uniform(-0.5F, 0.5F) * (w.length - width);
      const Interval i{x - width / 2, x + width / 2};
      if (!Wall::clear(w.low, i) || (height > 0.8F && !Wall::clear(w.high, i))) continue;
      const Frame f = on_wall(w, x, depth / 2 + 0.025F);
      const Rect r = footprint(f, width / 2, depth / 2);
      if (!free(r) || (height > 0.6F && blocks_view(r))) continue;
      w.low.push_back(i);
      if (height > 1.2F) w.high.push_back(i);
      taken_.push_back(r);
      *out = f;
      return true;
    }
    return false;
  }

  /// A free spot on the floor, in front of the camera more often than not.
  bool on_floor(float hx, float hz, float near, float far, float yaw, Frame* out, float margin = 0.08F) {
    for (int attempt = 0; attempt < 24; ++attempt) {
      const float dist = dice_.uniform(near, far);
      const float spread = dice_.uniform(-0.8F, 0.8F) * s_.camera.half_tan;
      const Vec3 side{-forward_.z, 0, forward_.x};
      Vec3 p = s_.camera.position + (forward_ + side * spread) * dist;
      p.y = 0;
      const Frame f = Frame::at(p, yaw);
      const Rect r = footprint(f, hx, hz);
      if (!free(r, margin)) continue;
      taken_.push_back(r);
      *out = f;
      return true;
    }
    return false;
  }

  float turned() { return static_cast<float>(dice_.below(4)) * kPi / 2 + dice_.uniform(-0.15F, 0.15F); }

  void on_top(const Frame& f, float hx, float hz, float y, int most, double lamp) {
    const int n = dice_.between(0, most);
    for (int i = 0; i < n; ++i) {
      // One slot each along x, so that things do not stand inside one another.
      const float slot = 2 * hx / static_cast<float>(n);
      const float x = -hx + slot * (static_cast<float>(i) + 0.5F) + dice_.uniform(-0.15F, 0.15F) * slot;
      const float z = dice_.uniform(-0.5F, 0.5F) * hz;
      const float yaw = std::atan2(f.axes.z.x, f.axes.z.z) + dice_.uniform(-0.4F, 0.4F);
      const Frame at = Frame::at(f.world({x, y, z}), yaw);
      if (dice_.coin(lamp)) {
        lamp = 0;
        add_lamp(s_, at, dice_, 1, lamp_power(0.35F));
      } else if (dice_.coin(0.15)) {
        add_plant(s_, at, dice_, dice_.uniform(0.2F, 0.42F));
      } else {
        add_object(s_, at, dice_);
      }
    }
  }

  /// Lamps cost a shadow ray a pixel: at most two burn besides the ceiling's.
  float lamp_power(float share) {
    if (lamps_on_ >= 1 || !dice_.coin(0.6)) return 0;
    ++lamps_on_;
    return share * dice_.uniform(1.5F, 4.0F);
  }

  void furnish() {
    const auto kind = static_cast<RoomKind>(dice_.below(4));
    switch (kind) {
      case RoomKind::kLiving:
        living();
        break;
      case RoomKind::kBedroom:
        bedroom();
        break;
      case RoomKind::kDining:
        dining();
        break;
      case RoomKind::kOffice:
        office();
        break;
    }
    if (dice_.coin(0.55)) rug();
  }

  void bedroom() {
    const float width = dice_.uniform(0.95F, 1.8F);
    const float len = dice_.uniform(1.95F, 2.1F);
    Frame f;
    if (along_wall(width, len + 0.08F, 0.7F, &f)) {
      add_bed(s_, f, dice_, width, len);
      seats_.push_back({f.world({0, 0.53F, len / 2 - 0.12F}), std::atan2(f.axes.z.x, f.axes.z.z)});
      for (const float side : {-1.0F, 1.0F}) {
        if (!dice_.coin(0.6)) continue;
        const Vec3 size{0.42F, dice_.uniform(0.42F, 0.58F), 0.38F};
        const Frame n{f.world({side * (width / 2 + 0.29F), 0, -len / 2 + 0.22F}), f.axes};
        const Rect r = footprint(n, size.x / 2, size.z / 2);
        if (!free(r, -0.02F)) continue;
        taken_.push_back(r);
        add_cabinet(s_, n, dice_, size);
        on_top(n, 0.15F, 0.08F, size.y + 0.024F, 1, 0.7);
      }
    }
    if (dice_.coin(0.75)) cabinet(dice_.coin(0.6));
    if (dice_.coin(0.4)) chair_somewhere();
  }

  void living() {
    const float width = dice_.uniform(1.4F, 2.3F);
    Frame f;
    if (along_wall(width, 0.95F, 0.9F, &f) || on_floor(width / 2, 0.48F, 1.8F, 3.5F, turned(), &f)) {
      add_sofa(s_, f, dice_, width);
      const float yaw = std::atan2(f.axes.z.x, f.axes.z.z);
      for (const float x : {-0.3F, 0.3F}) seats_.push_back({f.world({x * width * 0.7F, 0.5F, 0.02F}), yaw});
      Frame t{f.world({0, 0, 1.15F}), f.axes};
      const Vec3 size{dice_.uniform(0.7F, 1.1F), dice_.uniform(0.36F, 0.48F), dice_.uniform(0.45F, 0.6F)};
      const Rect r = footprint(t, size.x / 2, size.z / 2);
      if (dice_.coin(0.75) && free(r)) {
        taken_.push_back(r);
        const bool round = dice_.coin(0.3);
        add_table(s_, t, dice_, size, round, any_furniture(dice_));
        on_top(t, size.x * 0.3F, size.z * 0.25F, size.y, 3, 0);
      }
    }
    if (dice_.coin(0.5)) {
      Frame a;
      if (on_floor(0.48F, 0.46F, 1.6F, 4.0F, turned(), &a)) {
        add_sofa(s_, a, dice_, 0.9F);
        seats_.push_back({a.world({0, 0.5F, 0.02F}), std::atan2(a.axes.z.x, a.axes.z.z)});
      }
    }
    if (dice_.coin(0.6)) cabinet(false);
    if (dice_.coin(0.6)) shelf();
  }

  void dining() {
    const bool round = dice_.coin(0.3);
    const float sx = round ? dice_.uniform(0.9F, 1.2F) : dice_.uniform(1.0F, 1.7F);
    const Vec3 size{sx, dice_.uniform(0.7F, 0.77F), round ? sx : dice_.uniform(0.75F, 0.95F)};
    Frame f;
    if (on_floor(size.x / 2 + 0.3F, size.z / 2 + 0.35F, 1.8F, 4.2F, turned(), &f, 0.0F)) {
      add_table(s_, f, dice_, size, round, any_furniture(dice_));
      on_top(f, size.x * 0.35F, size.z * 0.25F, size.y, 4, 0.1);
      const Material frame = any_furniture(dice_);
      const Material cover = any_fabric(dice_);
      const int style = dice_.coin(0.5) ? 0 : dice_.coin(0.5) ? 1 : 3;
      const int columns = !round && size.x > 1.2F ? 2 : 1;
      for (const float side : {-1.0F, 1.0F}) {
        for (int c = 0; c < columns; ++c) {
          if (!dice_.coin(0.88)) continue;
          const float x = columns == 1 ? 0 : (c == 0 ? -0.26F : 0.26F) * size.x;
          const float z = side * (size.z / 2 + dice_.uniform(0.02F, 0.22F));
          place_chair(f, {x, 0, z}, side > 0 ? kPi : 0, frame, cover, style);
        }
        if (dice_.coin(0.6)) {
          place_chair(f, {side * (size.x / 2 + 0.15F), 0, 0}, side > 0 ? -kPi / 2 : kPi / 2, frame, cover, style);
        }
      }
    }
    if (dice_.coin(0.8)) cabinet(false);
    if (dice_.coin(0.35)) shelf();
  }

  void place_chair(const Frame& f, Vec3 at, float turn, const Material& frame, const Material& cover, int style) {
    const float yaw = std::atan2(f.axes.z.x, f.axes.z.z) + turn + dice_.uniform(-0.2F, 0.2F);
    const Frame c = Frame::at(f.world(at), yaw);
    if (c.origin.x < s_.lo.x + 0.3F || c.origin.x > s_.hi.x - 0.3F || c.origin.z < s_.lo.z + 0.3F) return;
    const Vec3 away = c.origin - s_.camera.position;
    if (away.x * away.x + away.z * away.z < 0.8F) return;
    add_chair(s_, c, frame, cover, style);
    seats_.push_back({c.world({0, 0.46F, 0}), yaw});
    taken_.push_back(footprint(c, 0.25F, 0.25F));
  }

  void office() {
    const int desks = dice_.between(1, 2);
    for (int i = 0; i < desks; ++i) {
      const Vec3 size{dice_.uniform(1.1F, 1.7F), dice_.uniform(0.7F, 0.76F), dice_.uniform(0.6F, 0.8F)};
      Frame f;
      if (!along_wall(size.x, size.z, 0.75F, &f)) continue;
      add_table(s_, f, dice_, size, false, any_furniture(dice_));
      on_top(f, size.x * 0.42F, size.z * 0.2F, size.y, 4, 0.35);
      const Material metal = any_metal(dice_);
      const Material cover = any_fabric(dice_);
      const Vec3 at{dice_.uniform(-0.2F, 0.2F), 0, size.z / 2 + dice_.uniform(0.1F, 0.35F)};
      place_chair(f, at, kPi, metal, cover, dice_.coin(0.7) ? 2 : 1);
    }
    if (dice_.coin(0.8)) shelf();
    if (dice_.coin(0.5)) cabinet(dice_.coin(0.3));
  }

  void cabinet(bool wardrobe) {
    Vec3 size{dice_.uniform(0.7F, 1.7F), dice_.uniform(0.55F, 1.05F), dice_.uniform(0.36F, 0.5F)};
    if (wardrobe) size = {dice_.uniform(0.8F, 1.5F), std::min(height_ - 0.1F, dice_.uniform(1.7F, 2.2F)), 0.58F};
    Frame f;
    if (!along_wall(size.x, size.z, size.y, &f)) return;
    add_cabinet(s_, f, dice_, size);
    if (!wardrobe) on_top(f, size.x * 0.42F, size.z * 0.2F, size.y + 0.024F, 4, 0.25);
  }

  void shelf() {
    const Vec3 size{dice_.uniform(0.6F, 1.3F), dice_.uniform(0.9F, std::min(2.2F, height_ - 0.1F)),
                    dice_.uniform(0.24F, 0.36F)};
    Frame f;
    if (along_wall(size.x, size.z, std::max(size.y, 1.3F), &f)) add_shelf(s_, f, dice_, size);
  }

  void chair_somewhere() {
    Frame f;
    if (!on_floor(0.27F, 0.27F, 1.4F, 4.0F, dice_.uniform(0, 2 * kPi), &f)) return;
    const Material frame = any_furniture(dice_);
    const Material cover = any_fabric(dice_);
    add_chair(s_, f, frame, cover, dice_.below(4));
    seats_.push_back({f.world({0, 0.46F, 0}), std::atan2(f.axes.z.x, f.axes.z.z)});
  }

  void rug() {  // lies under everything, so it takes no room
    const float w = dice_.uniform(1.2F, 2.6F);
    const float l = dice_.uniform(0.9F, 1.9F);
    const float dist = dice_.uniform(1.5F, 3.0F);
    Vec3 p = s_.camera.position + forward_ * dist;
    const float yaw =
        static_cast<float>(dice_.below(2)) * kPi / 2 + (dice_.coin(0.3) ? dice_.uniform(-0.4F, 0.4F) : 0.0F);
    const Frame probe = Frame::at({0, 0, 0}, yaw);
    const Rect r = footprint(probe, w / 2, l / 2);
    p.x = std::clamp(p.x, s_.lo.x + r.x1 + 0.02F, std::max(s_.lo.x + r.x1 + 0.02F, s_.hi.x - r.x1 - 0.02F));
    p.z = std::clamp(p.z, s_.lo.z + r.z1 + 0.02F, std::max(s_.lo.z + r.z1 + 0.02F, s_.hi.z - r.z1 - 0.02F));
    if (2 * r.x1 > s_.hi.x - s_.lo.x) return;
    p.y = 0;
    add_rug(s_, Frame::at(p, yaw), dice_, w, l);
  }

  void wall_pieces() {
    Frame f;
    if (dice_.coin(0.5) && along_wall(0.45F, 0.45F, 1.3F, &f)) add_lamp(s_, f, dice_, 0, lamp_power(1.0F));
    const int plants = dice_.coin(0.7) ? dice_.between(1, 3) : 0;
    for (int i = 0; i < plants; ++i) {
      if (along_wall(0.5F, 0.5F, 0.7F, &f)) add_plant(s_, f, dice_, dice_.uniform(0.7F, 1.8F));
    }
    if (dice_.coin(0.3)) cabinet(false);
    if (dice_.coin(0.3)) chair_somewhere();
  }

  bool in_view(Vec3 p, float near, float far) const {
    const Vec3 v = p - s_.camera.position;
    const float z = dot(v, forward_);
    const float x = dot(v, Vec3{-forward_.z, 0, forward_.x});
    return z > near && z < far && std::fabs(x) < 0.85F * s_.camera.half_tan * z;
  }

  void people() {
    if (!dice_.coin(0.72)) return;
    const int count = dice_.coin(0.22) ? 2 : 1;
    for (int i = 0; i < count; ++i) {
      if (dice_.coin(0.4) && sit()) continue;
      Frame f;
      const bool close = dice_.coin(0.5);
      const float yaw = dice_.uniform(0, 2 * kPi);
      if (on_floor(0.24F, 0.24F, close ? 1.35F : 2.0F, close ? 2.4F : 5.0F, yaw, &f, 0.0F)) {
        add_person(s_, f, dice_, dice_.coin(0.4) ? Pose::kWalking : Pose::kStanding);
      }
    }
  }

  bool sit() {
    std::vector<Seat> visible;
    for (const Seat& seat : seats_) {
      if (in_view(seat.position, 1.3F, 5.0F)) visible.push_back(seat);
    }
    if (visible.empty()) return false;
    const Seat seat = visible[static_cast<std::size_t>(dice_.below(static_cast<int>(visible.size())))];
    std::erase_if(seats_, [&](const Seat& o) { return length(o.position - seat.position) < 0.5F; });
    add_person(s_, Frame::at(seat.position, seat.yaw + dice_.uniform(-0.2F, 0.2F)), dice_, Pose::kSitting);
    return true;
  }

  void pictures() {
    const int n = dice_.between(0, 5);
    for (int i = 0; i < n; ++i) {
      Wall& w = walls_[static_cast<std::size_t>(dice_.below(4) % 3)];
      const float width = dice_.uniform(0.35F, 1.3F);
      const float height = dice_.uniform(0.35F, 0.9F);
      const float x = dice_.uniform(-0.5F, 0.5F) * (w.length - width - 0.2F);
      const Interval at{x - width / 2 - 0.08F, x + width / 2 + 0.08F};
      const float y = dice_.uniform(1.45F, 1.75F);
      if (!Wall::clear(w.high, at) || y + height / 2 > height_ - 0.1F) continue;
      w.high.push_back(at);
      add_picture(s_, on_wall(w, x, 0), dice_, width, height, y);
    }
  }

  void clutter() {
    const int n = dice_.between(0, 3);
    for (int i = 0; i < n; ++i) {
      Frame f;
      if (on_floor(0.28F, 0.26F, 1.3F, 4.5F, dice_.uniform(0, kPi), &f)) add_crate(s_, f, dice_);
    }
  }

  void ceiling_lamp() {
    const bool night = daylight_ < 0.5F;
    const bool windows = !s_.lights.empty();
    const float power = !windows || night || dice_.coin(0.55) ? dice_.uniform(3.0F, 9.0F) : 0.0F;
    if (power > 0 || dice_.coin(0.6)) {
      const Vec3 p{dice_.uniform(-0.2F, 0.2F) * s_.hi.x, height_, dice_.uniform(-0.5F, 0.3F) * s_.hi.z};
      add_lamp(s_, Frame::at(p, 0), dice_, 2, power);
    }
    // Keep the three strongest: each costs a shadow ray a pixel.
    std::stable_sort(s_.lights.begin(), s_.lights.end(),
                     [](const Light& a, const Light& b) { return luminance(a.intensity) > luminance(b.intensity); });
    if (s_.lights.size() > 3) s_.lights.resize(3);
    // What the room gives back: light of all sources, once reflected.
    Vec3 flux;
    for (const Light& l : s_.lights) flux = flux + l.intensity;
    const float area =
        2 * ((s_.hi.x - s_.lo.x) * (s_.hi.z - s_.lo.z) + height_ * (s_.hi.x - s_.lo.x + s_.hi.z - s_.lo.z));
    s_.ambient = (flux * (3.4F / area) + Vec3{0.02F, 0.02F, 0.02F}) * dice_.uniform(0.7F, 1.2F);
  }

  void sensor() {
    Sensor& sensor = s_.sensor;
    sensor.exposure = std::exp2(dice_.uniform(-0.45F, 0.45F));
    const float warm = dice_.uniform(-0.12F, 0.12F);
    const float tint = dice_.uniform(-0.03F, 0.03F);
    sensor.balance = {1 + warm, 1 + tint, 1 - warm};
    sensor.vignette = dice_.uniform(0.0F, 0.35F);
    sensor.shot = dice_.uniform(0.004F, 0.025F);
    sensor.read = dice_.uniform(0.001F, 0.006F);
    sensor.blur = dice_.coin(0.3);
    sensor.seed = (static_cast<std::uint64_t>(dice_.bits()) << 32U) | 0x5EEDU;
  }

  Scene& s_;
  Dice& dice_;
  std::array<Wall, 3> walls_;
  std::vector<Rect> taken_;
  std::vector<Seat> seats_;
  Vec3 forward_;
  float height_ = 2.5F;
  float daylight_ = 1;
  int lamps_on_ = 0;
};

}  // namespace

Scene make_scene(std::uint64_t seed, std::int64_t index) {
  Scene scene;
  Dice dice(Rng{seed, static_cast<std::uint64_t>(index), 0x726F6F6D73ULL});
  Grammar(scene, dice).draw();
  return scene;
}

}  // namespace m3vit::rooms
