#pragma once
/// CPU threads for libtorch.
#include <string>

namespace m3vit {

/// Sets libtorch's intra-op threads (`threads` 0: all cores this process may use) and one inter-op thread; returns the
/// number set. Call before the first tensor operation.
int set_threads(int threads);

/// "2 threads, OpenMP, BLAS libopenblas0-openmp": what runs, and a remedy when OpenBLAS brings its own thread pool,
/// which fights with OpenMP's (docs/training.md, "Threads").
std::string describe_threads(int threads);

}  // namespace m3vit
