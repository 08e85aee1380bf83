#pragma once
/// Direct light with soft shadows, and an approximation of all the rest.
#include "data/rooms_trace.h"

namespace m3vit::rooms {

inline constexpr std::size_t kMaxLights = 3;

/// Share of each light that reaches a pixel in the first kMaxLights lanes, and of the surroundings (ambient occlusion)
/// in lane kAmbient.
using Visibility = Lanes;
inline constexpr std::size_t kAmbient = kMaxLights;

/// Each pixel of a 4×4 block sends one ray to another cell of the light; averaging over the block, within one
/// surface, gives the penumbra without noise.
std::vector<Visibility> visibility(const Scene& scene, const Surfaces& surfaces);

struct Radiance {
  Vec3 diffuse;  ///< to be multiplied by the reflectance
  Vec3 specular;
};
Radiance illuminate(const Scene& scene, Visibility v, Vec3 point, Vec3 normal, Vec3 to_viewer, const Material& m);

}  // namespace m3vit::rooms
