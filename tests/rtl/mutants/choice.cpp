// Which fault of the mutated RTL is on: its number in list.txt, 0 for none.
#include <cstdlib>

#include "accel8__Dpi.h"

int m3_mutant() {
  const char* chosen = std::getenv("M3VIT_MUTANT");
  return chosen == nullptr ? 0 : static_cast<int>(std::strtol(chosen, nullptr, 10));
}
