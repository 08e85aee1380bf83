#pragma once
/// What others published, beside which ours is put. Second-hand: read in abstracts and notes, not remeasured.
#include "accel/report/table.h"

namespace m3vit::accel {

/// M³ViT (NeurIPS 2022), ZCU104: against its own baseline without reordering.
inline constexpr double kPublishedMemory = 2.40;
inline constexpr double kPublishedEnergy = 9.23;

Table published_results();
/// Edge-MoE's own ablation (ICCAD 2023).
Table published_ablation();

}  // namespace m3vit::accel
