#pragma once
/// From the numbers that an archive stores to label maps in the terms of data/sample.h. Values are untrusted: what a
/// label cannot be is an Error with file, field and pixel.
#include <string>

#include "core/image.h"

namespace m3vit {

/// Numbers of a `.npy` array [H, W] or [H, W, C], or of an 8-bit PNG or JPEG with C channels, as they are stored. The
/// file's name decides. Throws Error naming `field`.
ImageF32 read_numbers(const std::string& path, int channels, const std::string& field);

/// How class indices are stored: `first` is class 0, `unlabelled` becomes 255.
struct ClassCode {
  int first = 0, classes = 0, unlabelled = 255;
};
ImageF32 class_map(ImageF32 stored, const ClassCode& code, const std::string& path, const std::string& field);
/// Metres, finite and ≥ 0; 0 is unknown.
ImageF32 depth_map(ImageF32 stored, const std::string& path, const std::string& field);
/// Vectors of components in −1 … 1, made unit vectors. Shorter than 0.1 has no direction: unknown.
ImageF32 normals_map(ImageF32 stored, const std::string& path, const std::string& field);
/// The same from bytes: n = 2·v/255 − 1.
ImageF32 normals_of_bytes(ImageF32 stored, const std::string& path, const std::string& field);
/// stored / full > 0.5 → 1, else 0; values in 0 … full.
ImageF32 binary_map(ImageF32 stored, float full, const std::string& path, const std::string& field);
/// A photograph stored as [H, W, 3] in 0 … 1.
ImageU8 photo_of_numbers(const ImageF32& stored, const std::string& path);

}  // namespace m3vit
