#pragma once
/// Reads, runs and writes frames at the same time: a thread reads ahead, the caller's runs, a thread writes. At most
/// three batches of frames are read ahead and two of predictions exist, whatever the source's length.
#include <cstdint>
#include <vector>

#include "cli/frame_sink.h"
#include "cli/frame_source.h"
#include "cli/latency.h"
#include "m3vit/m3vit.hpp"

namespace m3vit::cli {

struct RunPlan {
  /// Tasks of frame i: all of them, or with `schedule` the one at i modulo their number.
  std::vector<TaskInfo> tasks;
  bool schedule = false;
  /// Keep each output's routing (the session must too): tasks of a frame then run one after another.
  bool routing = false;
  /// Frames that run together, as far as the source has them (the session must allow as many). More than 1: neither
  /// `schedule` nor `routing`.
  int batch = 1;
};

struct RunReport {
  std::int64_t frames = 0;  ///< run and written
  double seconds = 0;       ///< from the first frame's start to the last one's end, reading and writing included
  bool interrupted = false;
  Latencies latencies;  ///< of a frame: its batch's
};

/// Runs every frame of `source` on `session` (made with keep_times) into `sink`. On an interrupt the frame in flight is
/// finished and written. An Error of the source is thrown after all frames before it were written.
RunReport run_frames(FrameSource& source, Session& session, const Model& model, const RunPlan& plan, FrameSink& sink);

}  // namespace m3vit::cli
