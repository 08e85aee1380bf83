#pragma once
/// One loss a task (docs/model.md, "Losses and recipe").
#include <torch/torch.h>

#include "core/config.h"
#include "core/tasks.h"

namespace m3vit {

/// `raw` [B, C, H, W]: a head's output. `label` [B, label_channels, H, W] of the same float type, as in data/sample.h.
/// Returns a scalar:
///   semseg, human_parts  cross-entropy, mean over labelled pixels (255 is unlabelled)
///   depth                L1, mean over pixels with a finite label > 0 (255 m is the authors' "unknown" and skipped
///   too) normals              L1 between the L2-normalised prediction and the unit label, mean over valid values edge
///   (w·Σ⁺ + (1 − w)·Σ⁻)/labelled pixels of the logistic loss, w = `edge_weight` sal                  the same with w =
///   share of negative pixels in this batch (HED)
/// A batch without any valid pixel gives 0 with a graph, so that its step is a step like any other.
torch::Tensor task_loss(TaskId task, const torch::Tensor& raw, const torch::Tensor& label, double edge_weight);

}  // namespace m3vit
