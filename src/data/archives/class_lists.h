#pragma once
/// Class names of the published data sets, in label order.
#include <array>
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

namespace m3vit {

std::vector<std::string> pascal_classes();      ///< 21, background first
std::vector<std::string> nyud_classes();        ///< 40 (Gupta et al. 2013)
std::vector<std::string> nyud13_classes();      ///< 13 (Couprie et al. 2013), of MTAN's archive
std::vector<std::string> cityscapes_classes();  ///< 7: the categories without void

/// Whether PASCAL-Context's distilled normals count on a pixel of this one of the 459 classes: those that NYUD-v2 also
/// has, for the normals come from a network trained there, and tvmonitor. `id` from 1; any number may be asked.
bool pascal_normals_valid(std::int32_t id);

}  // namespace m3vit
