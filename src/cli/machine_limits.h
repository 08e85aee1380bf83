#pragma once
/// What this machine could do at best, measured: the roof over every bench row.
#include <string_view>

#include "runtime/precision.h"

namespace m3vit::cli {

/// Multiply-accumulates a second of `threads` threads that touch registers only; takes about a millisecond. 0 where no
/// loop is written for the instruction set.
double peak_macs(std::string_view isa, Precision precision, int threads);

/// Bytes a second that `threads` threads read from memory beyond the caches: the best of three passes.
double read_bandwidth(int threads);

}  // namespace m3vit::cli
