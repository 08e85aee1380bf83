#include "core/heap.h"

#include <cstdlib>  // defines __GLIBC__
#ifdef __GLIBC__
#include <malloc.h>
#endif

namespace m3vit {

void keep_freed_memory() {
#ifdef __GLIBC__
  // Setting either turns off glibc's own adapting of both. 32 MiB is the largest threshold that it takes.
  mallopt(M_MMAP_THRESHOLD, 32 << 20);
  mallopt(M_TRIM_THRESHOLD, 512 << 20);
#endif
}

}  // namespace m3vit
