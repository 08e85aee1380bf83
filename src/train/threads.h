#pragma once
/// CPU threads for libtorch.
#include <string>

namespace m3vit {

/// Restarts this process once with OMP_WAIT_POLICY=passive, unless the user chose OMP_WAIT_POLICY or GOMP_SPINCOUNT:
/// OpenMP reads them while the program loads, so it is too late to set them from inside. Idle threads then sleep in
/// place of spinning on cores that the loader or another program needs (docs/training.md, "Threads"). Process id, open
/// files and signals stay; returns where it cannot restart. For programs, before their first output.
void wait_passively();

/// Cores this process may use (its affinity), at least 1.
int usable_cores();

/// Sets libtorch's intra-op threads (`threads` 0: all cores this process may use) and one inter-op thread; returns the
/// number set. Call before the first tensor operation.
int set_threads(int threads);

/// "2 threads, OpenMP, BLAS libopenblas0-openmp": what runs, and a remedy when OpenBLAS brings its own thread pool,
/// which fights with OpenMP's (docs/training.md, "Threads").
std::string describe_threads(int threads);

}  // namespace m3vit
