#include "train/losses.h"

#include "data/sample.h"

namespace m3vit {
namespace {

namespace F = torch::nn::functional;
using torch::Tensor;

/// Σ / count with an empty count giving Σ = 0 instead of 0/0.
Tensor mean_of(const Tensor& sum, const Tensor& count) { return sum / count.clamp_min(1).to(sum.scalar_type()); }

Tensor class_loss(const Tensor& raw, const Tensor& label) {
  const Tensor target = label.squeeze(1).to(torch::kLong);
  const auto ignore = static_cast<std::int64_t>(kIgnore);
  const Tensor sum =
      F::cross_entropy(raw, target, F::CrossEntropyFuncOptions().ignore_index(ignore).reduction(torch::kSum));
  return mean_of(sum, (target != ignore).sum());
}

Tensor depth_loss(const Tensor& raw, const Tensor& label) {
  const Tensor valid = label.isfinite() & (label > 0) & (label != kIgnore);
  const Tensor target = label.masked_fill(~valid, 0);
  return mean_of(((raw - target).abs() * valid).sum(), valid.sum());
}

Tensor normals_loss(const Tensor& raw, const Tensor& label) {
  const Tensor valid = label.square().sum(1, /*keepdim=*/true) > 0.25;  // unit or, where unknown, zero
  const Tensor unit = F::normalize(raw, F::NormalizeFuncOptions().dim(1).eps(1e-12));
  return mean_of(((unit - label).abs() * valid).sum(), 3 * valid.sum());
}

/// Balanced logistic loss; `weight` of the positive pixels, a number or (HED) the share of negatives.
Tensor binary_loss(const Tensor& raw, const Tensor& label, std::optional<double> weight) {
  const Tensor valid = label != kIgnore;
  const Tensor target = (label > 0.5).logical_and(valid).to(raw.scalar_type());
  const Tensor mask = valid.to(raw.scalar_type());
  const Tensor count = valid.sum();
  const Tensor w = weight ? torch::full({}, *weight, raw.options()) : mean_of((mask - target).sum(), count);
  const Tensor pixel_weight = (target * w + (mask - target) * (1 - w)).detach();
  const Tensor sum = F::binary_cross_entropy_with_logits(
      raw, target, F::BinaryCrossEntropyWithLogitsFuncOptions().weight(pixel_weight).reduction(torch::kSum));
  return mean_of(sum, count);
}

}  // namespace

Tensor task_loss(TaskId task, const Tensor& raw, const Tensor& label, double edge_weight) {
  TORCH_CHECK(raw.dim() == 4 && label.dim() == 4 && raw.size(0) == label.size(0) && raw.size(2) == label.size(2) &&
                  raw.size(3) == label.size(3),
              "task_loss: want raw [B, C, H, W] and label [B, C', H, W], got ", raw.sizes(), " and ", label.sizes());
  switch (task) {
    case TaskId::kSemseg:
    case TaskId::kHumanParts:
      return class_loss(raw, label);
    case TaskId::kDepth:
      return depth_loss(raw, label);
    case TaskId::kNormals:
      return normals_loss(raw, label);
    case TaskId::kEdge:
      return binary_loss(raw, label, edge_weight);
    case TaskId::kSal:
      return binary_loss(raw, label, std::nullopt);
  }
  TORCH_CHECK(false, "task_loss: no such task");
}

}  // namespace m3vit
