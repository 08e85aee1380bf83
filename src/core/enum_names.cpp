#include "core/enum_names.h"

#include "core/config_codec.h"

namespace m3vit {

std::string_view name_of(Gate gate) { return kEnumNames<Gate>[static_cast<std::size_t>(gate)]; }
std::string_view name_of(Sharing sharing) { return kEnumNames<Sharing>[static_cast<std::size_t>(sharing)]; }

}  // namespace m3vit
