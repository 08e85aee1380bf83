#pragma once
/// What one core's multipliers can do: loops that touch registers only.
#include <string_view>

#include "runtime/precision.h"

namespace m3vit {

/// Runs the multiply-accumulate of `isa` in `precision` for about a millisecond; returns operations (two a
/// multiply-accumulate) a second, or 0 where no such loop is written. For bf16 and int8 without dot products the loop
/// is what those widen to.
double measured_peak(std::string_view isa, Precision precision);

}  // namespace m3vit
