#include "data/rooms.h"

#include <string>

#include "core/error.h"
#include "data/folder_spec.h"
#include "data/rooms_render.h"

namespace m3vit {
namespace {

DatasetInfo make_info() {
  DatasetInfo info;
  info.name = "rooms";
  for (const TaskSpec& t : kTasks) info.tasks.push_back(t.id);
  auto& semseg = info.classes[static_cast<std::size_t>(TaskId::kSemseg)];
  semseg.assign(rooms::kClassNames.begin(), rooms::kClassNames.end());
  info.classes[static_cast<std::size_t>(TaskId::kHumanParts)].assign(kHumanParts.begin(), kHumanParts.end());
  info.semseg_colors = {
      {200, 203, 212},  // wall
      {138, 116, 96},   // floor
      {240, 240, 235},  // ceiling
      {120, 196, 232},  // window
      {164, 98, 60},    // door
      {186, 148, 205},  // curtain
      {66, 105, 184},   // bed
      {46, 160, 134},   // sofa
      {236, 164, 58},   // chair
      {196, 124, 40},   // table
      {118, 84, 158},   // cabinet
      {88, 140, 68},    // shelf
      {232, 120, 150},  // picture
      {252, 226, 90},   // lamp
      {172, 60, 88},    // rug
      {60, 196, 72},    // plant
      {100, 100, 112},  // object
      {226, 52, 44},    // person
  };
  return info;
}

}  // namespace

Rooms::Rooms(const RoomsOptions& options) : options_(options) {
  constexpr int kMin = 16;
  constexpr int kMax = 4096;
  if (std::min(options.height, options.width) < kMin || std::max(options.height, options.width) > kMax) {
    throw Error{
        {.where = "rooms",
         .field = "size",
         .wanted = std::to_string(kMin) + " … " + std::to_string(kMax) + " pixels a side",
         .found = std::to_string(options.height) + " x " + std::to_string(options.width) + " (height x width)"}};
  }
  if (options.frames < 1) {
    throw Error{{.where = "rooms", .field = "frames", .wanted = "at least 1", .found = std::to_string(options.frames)}};
  }
}

const DatasetInfo& Rooms::info() const {
  static const DatasetInfo info = make_info();
  return info;
}

Sample Rooms::get(std::int64_t index) const {
  if (index < 0) {
    throw Error{{.where = "rooms", .field = "index", .wanted = "0 or more", .found = std::to_string(index)}};
  }
  const rooms::Scene scene = rooms::make_scene(options_.seed, index);
  const rooms::Tracer tracer(scene, options_.height, options_.width);
  const rooms::Surfaces surfaces = tracer.surfaces();
  Sample sample;
  sample.id = "room_" + std::to_string(options_.seed) + "_" + std::to_string(index);
  sample.image = rooms::render_image(scene, tracer, surfaces);
  rooms::make_labels(scene, surfaces, sample.image, &sample);
  return sample;
}

}  // namespace m3vit
