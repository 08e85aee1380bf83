#pragma once
/// libtorch's mixed precision for a scope.
#include <c10/core/Device.h>

namespace m3vit {

/// While it lives, on the device's kind: what multiplies runs in half precision (CUDA: as libtorch is set, float16;
/// CPU: bfloat16), what libtorch knows to need more does not. Nothing where `on` is false.
class Autocast {
 public:
  Autocast(bool on, c10::DeviceType device);
  ~Autocast();
  Autocast(const Autocast&) = delete;
  Autocast& operator=(const Autocast&) = delete;

 private:
  bool on_;
  c10::DeviceType device_;
};

}  // namespace m3vit
