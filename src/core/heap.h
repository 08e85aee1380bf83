#pragma once

namespace m3vit {

/// Tells the C library to keep freed memory for the next request instead of giving it back to the system: a loop that
/// makes and frees pictures and tensors of a few hundred KB otherwise faults every page in anew each time round (a
/// seventh of a `rooms` frame's time at 128×160). For programs that own the process, before their threads start; the
/// process then stays at its peak size. Does nothing where the C library is not glibc.
void keep_freed_memory();

}  // namespace m3vit
