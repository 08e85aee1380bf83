#pragma once
/// What stands, hangs and lies in a room. Each function adds one or more instances in the given frame; sizes are full
/// widths (x), heights (y) and lengths (z) in metres.
#include "data/rooms_builder.h"

namespace m3vit::rooms {

/// A place to sit: hips above `position`, looking along +z of a frame with `yaw`.
struct Seat {
  Vec3 position;
  float yaw = 0;
};

void add_bed(Scene& s, const Frame& f, Dice& dice, float width, float len);
void add_sofa(Scene& s, const Frame& f, Dice& dice, float width);
void add_chair(Scene& s, const Frame& f, const Material& frame, const Material& cover, int style);
/// `round`: a disc of diameter `width` on one foot.
void add_table(Scene& s, const Frame& f, Dice& dice, Vec3 size, bool round, const Material& top);
void add_cabinet(Scene& s, const Frame& f, Dice& dice, Vec3 size);
void add_shelf(Scene& s, const Frame& f, Dice& dice, Vec3 size);
void add_plant(Scene& s, const Frame& f, Dice& dice, float height);
/// Adds the light too. Kind 0: floor lamp, 1: table lamp, 2: pendant (the frame's origin is the ceiling point).
void add_lamp(Scene& s, const Frame& f, Dice& dice, int kind, float power);
void add_rug(Scene& s, const Frame& f, Dice& dice, float width, float len);
void add_door(Scene& s, const Frame& f, Dice& dice, float width, float height);
/// Origin on the floor under the window's middle. Adds the daylight.
void add_window(Scene& s, const Frame& f, Dice& dice, float width, float sill, float top, float daylight);
void add_curtains(Scene& s, const Frame& f, Dice& dice, float width, float bottom, float top);
void add_picture(Scene& s, const Frame& f, Dice& dice, float width, float height, float center_y);
/// Something small standing on a surface at the frame's origin.
void add_object(Scene& s, const Frame& f, Dice& dice);
/// A carton or crate on the floor.
void add_crate(Scene& s, const Frame& f, Dice& dice);

enum class Pose { kStanding, kWalking, kSitting };
/// `f.origin`: the feet's ground point, or the seat's surface when sitting.
void add_person(Scene& s, const Frame& f, Dice& dice, Pose pose);

}  // namespace m3vit::rooms
