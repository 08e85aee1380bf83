#pragma once
/// A room as data: solids, objects, materials, lights, camera and sensor; and the grammar that draws one from a seed.
#include <string_view>
#include <vector>

#include "data/rooms_geometry.h"
#include "data/rooms_materials.h"

namespace m3vit::rooms {

/// semseg classes, in label order.
enum class Class : std::uint8_t {
  kWall,
  kFloor,
  kCeiling,
  kWindow,
  kDoor,
  kCurtain,
  kBed,
  kSofa,
  kChair,
  kTable,
  kCabinet,
  kShelf,
  kPicture,
  kLamp,
  kRug,
  kPlant,
  kObject,
  kPerson
};
inline constexpr int kNumClasses = 18;
inline constexpr std::array<std::string_view, kNumClasses> kClassNames{
    "wall",  "floor",   "ceiling", "window",  "door", "curtain", "bed",   "sofa",   "chair",
    "table", "cabinet", "shelf",   "picture", "lamp", "rug",     "plant", "object", "person"};

/// human_parts values of PASCAL-Part as the field groups them.
enum class Part : std::uint8_t { kNone, kHead, kTorso, kUpperArm, kLowerArm, kUpperLeg, kLowerLeg };

struct Solid {
  Shape shape;
  std::uint16_t object = 0;
  std::uint16_t material = 0;
  Part part = Part::kNone;
  bool creased = false;  ///< its box edges count as edges
};

/// One instance. Its solids lie side by side in Scene::solids.
struct Object {
  Class label = Class::kObject;
  int first = 0, last = 0;  ///< [first, last)
  Vec3 lo, hi;              ///< world bounding box
  Vec3 center;
  float ball = 0;
  bool casts_shadow = true;
};

/// A disc or rectangle of light centred at `position`, spanned by ±u, ±v.
struct Light {
  Vec3 position;
  Vec3 u, v;
  Vec3 normal;  ///< {0,0,0}: shines in every direction
  Vec3 intensity;
  int owner = -1;  ///< object that it sits in and that casts no shadow from it
};

/// Pinhole: pixel (x, y) sees the camera-frame direction ((x + ½ − cx)/f, (cy − y − ½)/f, −1), so a hit at ray
/// parameter t has depth t along the optical axis.
struct Camera {
  Vec3 position;
  Vec3 right{1, 0, 0}, up{0, 1, 0}, back{0, 0, 1};
  float half_tan = 0.6F;  ///< tan of half the field of view over the longer side

  float focal(int height, int width) const { return 0.5F * static_cast<float>(std::max(height, width)) / half_tan; }
  Vec3 direction(float x, float y, int height, int width) const {
    const float f = 1.0F / focal(height, width);
    return right * ((x - 0.5F * static_cast<float>(width)) * f) + up * ((0.5F * static_cast<float>(height) - y) * f) -
           back;
  }
};

/// What the sensor does to the light.
struct Sensor {
  float exposure = 1;  ///< factor on the automatic exposure
  Vec3 balance{1, 1, 1};
  float vignette = 0.1F;
  float shot = 0.01F;  ///< noise variance per unit of signal, square root of
  float read = 0.004F;
  bool blur = false;
  std::uint64_t seed = 0;
};

/// The six planes of the room, in the order −x, +x, floor, ceiling, −z, +z: they are instances 0 … 5.
inline constexpr int kNumPlanes = 6;

struct Scene {
  Vec3 lo, hi;  ///< the room
  std::array<int, kNumPlanes> plane_material{};
  std::vector<Material> materials;
  std::vector<Solid> solids;
  std::vector<Object> objects;
  std::vector<Light> lights;
  Vec3 ambient{0.2F, 0.2F, 0.2F};
  Camera camera;
  Sensor sensor;

  static Class plane_label(int plane) {
    return plane == 2 ? Class::kFloor : plane == 3 ? Class::kCeiling : Class::kWall;
  }
};

Scene make_scene(std::uint64_t seed, std::int64_t index);

}  // namespace m3vit::rooms
