// Exists to carry the precompiled torch/torch.h; see torch.cmake.
