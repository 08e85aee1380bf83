#pragma once
/// Float model and ranges → the accelerator's integers (docs/accelerator.md §2). Weights: int8, a scale an output
/// channel. Activations: int8, static scales chosen for the least squared error on the samples; where a tensor is made
/// by a unit with parameters of its own for each channel (norms, convolutions, q and k), its channels are first
/// balanced against the weights that read them, which costs the hardware nothing (SmoothQuant, Xiao et al. 2023).
#include "accel/golden/calibrate.h"
#include "accel/golden/quant_model.h"

namespace m3vit::accel {

/// Every task of `model`. Throws Error when a value cannot be represented (a bias beyond int32 …).
QuantModel quantise(const FloatModel& model, const Ranges& ranges);

/// gain ≈ mul / 2^shift, mul of 16 significant bits; 0 for gain 0. Clamps at 65535.
Param encode_gain(double gain);

/// round(2^15 · 2^(−f/256)).
GateTable gate_table();

}  // namespace m3vit::accel
