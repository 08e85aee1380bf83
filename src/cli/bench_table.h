#pragma once
#include <nlohmann/json_fwd.hpp>
#include <string>

namespace m3vit::cli {

/// The document of `m3vit bench` for people.
std::string bench_table(const nlohmann::json& document);

}  // namespace m3vit::cli
