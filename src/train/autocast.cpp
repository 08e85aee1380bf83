#include "train/autocast.h"

#include <ATen/autocast_mode.h>
#include <torch/version.h>

namespace m3vit {
namespace {

// The names that Debian 12's libtorch 1.13 knows are deprecated since 2.4.
#if TORCH_VERSION_MAJOR > 2 || (TORCH_VERSION_MAJOR == 2 && TORCH_VERSION_MINOR >= 4)
void enable(c10::DeviceType device, bool on) {
  if (device == c10::kCPU) at::autocast::set_autocast_dtype(device, at::kBFloat16);
  at::autocast::set_autocast_enabled(device, on);
}
#else
void enable(c10::DeviceType device, bool on) {
  if (device == c10::kCPU) {
    at::autocast::set_autocast_cpu_dtype(at::kBFloat16);
    at::autocast::set_cpu_enabled(on);
  } else {
    at::autocast::set_enabled(on);
  }
}
#endif

}  // namespace

Autocast::Autocast(bool on, c10::DeviceType device) : on_(on), device_(device) {
  if (on_) enable(device_, true);
}

Autocast::~Autocast() {
  if (!on_) return;
  at::autocast::clear_cache();
  enable(device_, false);
}

}  // namespace m3vit
