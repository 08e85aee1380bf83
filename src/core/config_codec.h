#pragma once
/// Private to core: the names of the config's enums and the encoder, shared by JSON and YAML output.
#include <array>
#include <optional>
#include <string>
#include <string_view>
#include <type_traits>
#include <vector>

#include "core/config.h"

namespace m3vit {

/// The spelling of each enumerator, in order of its value.
template <class E>
inline constexpr std::array<std::string_view, 0> kEnumNames{};
template <>
inline constexpr std::array<std::string_view, 3> kEnumNames<Gate>{"multi", "task_conditioned", "shared"};
template <>
inline constexpr std::array<std::string_view, 2> kEnumNames<Optimizer>{"sgd", "adamw"};
template <>
inline constexpr std::array<std::string_view, 3> kEnumNames<Schedule>{"poly", "cosine", "constant"};
template <>
inline constexpr std::array<std::string_view, 4> kEnumNames<Sharing>{"shared", "cross_stitch", "nddr_cnn", "mtan"};
template <>
inline constexpr std::array<std::string_view, 2> kEnumNames<TaskMode>{"joint", "one_by_one"};
template <>
inline constexpr std::array<std::string_view, 10> kEnumNames<Weighting>{
    "fixed", "uncertainty", "dwa", "gradnorm", "mgda", "pcgrad", "cagrad", "famo", "nash_mtl", "aligned_mtl"};
template <>
inline constexpr std::array<std::string_view, 3> kEnumNames<Protocol>{"S", "A", "MTAN"};
template <>
inline constexpr std::array<std::string_view, 5> kEnumNames<EdgeSetting>{"custom", "survey", "astmt", "bdet_pascal",
                                                                         "bdet_nyud"};
template <>
inline constexpr std::array<std::string_view, 3> kEnumNames<EightBit>{"edge_sal", "all", "none"};

template <class T>
inline constexpr bool kIsVector = false;
template <class T>
inline constexpr bool kIsVector<std::vector<T>> = true;
template <class T>
inline constexpr bool kIsOptional = false;
template <class T>
inline constexpr bool kIsOptional<std::optional<T>> = true;

/// `Json`: nlohmann::json (keys sorted) or nlohmann::ordered_json (keys in the order of `visit`).
template <class Json, class T>
Json encode(const T& value) {
  if constexpr (std::is_enum_v<T>) {
    return std::string(kEnumNames<T>[static_cast<std::size_t>(value)]);
  } else if constexpr (kIsOptional<T>) {
    return value ? encode<Json>(*value) : Json(nullptr);
  } else if constexpr (kIsVector<T>) {
    Json list = Json::array();
    for (const auto& item : value) list.push_back(encode<Json>(item));
    return list;
  } else if constexpr (std::is_arithmetic_v<T> || std::is_same_v<T, std::string>) {
    return value;
  } else {
    Json object = Json::object();
    T::visit(value, [&](const char* key, const auto& field) { object[key] = encode<Json>(field); });
    return object;
  }
}

/// Fills the fields a preset names; false when there is no such preset.
bool apply_preset(std::string_view name, ModelConfig& model);

}  // namespace m3vit
