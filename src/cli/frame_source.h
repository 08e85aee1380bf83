#pragma once
/// Where `m3vit run` gets its frames: pictures and planes from files, or raw RGB from a pipe.
#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "core/image.h"
#include "m3vit/m3vit.hpp"

namespace m3vit::cli {

/// One input at the network's size.
struct Frame {
  std::string input;          ///< as given, for reports
  std::string name;           ///< of its outputs; unique
  ImageU8 image;              ///< the network's input as a picture; empty where planes were given
  std::vector<float> planes;  ///< normalised [3, H, W]; empty where a picture was given
  int height = 0, width = 0;  ///< of the input
};

class FrameSource {
 public:
  virtual ~FrameSource() = default;
  /// False after the last one. Throws Error for one that cannot be read. Ends early once interrupted().
  virtual bool next(Frame& frame) = 0;
  /// How many there are; 0 when unknown.
  virtual std::int64_t total() const = 0;
};

/// Pictures, folders of them, `.npy` planes. Looks at every one before returning: a missing or wrong one is an Error
/// before the first output is written.
std::unique_ptr<FrameSource> open_files(const std::vector<std::string>& inputs, const Model& model);

/// Raw frames, 8-bit RGB, height · width · 3 bytes each, back to back until the end of file. An end inside a frame is
/// an Error that says how many bytes are missing; so is an end before the first. Reads only what it is asked for.
std::unique_ptr<FrameSource> open_raw(int descriptor, int height, int width, const Model& model);

}  // namespace m3vit::cli
