#include "cli/memory_report.h"

#include <fmt/format.h>

#include <algorithm>
#include <opencv2/imgproc.hpp>
#include <vector>

namespace m3vit::cli {
namespace {

using nlohmann::json;

constexpr const char* kWeights = "weights: ";  // as memory_plan.cpp names their buffers

std::size_t resident_count(const MemoryLayout& layout, const WeightGroup& group) {
  return static_cast<std::size_t>(std::count_if(group.sections.begin(), group.sections.end(),
                                                [&](std::size_t s) { return layout.resident[s] != 0; }));
}

std::string state(const MemoryLayout& layout, const WeightGroup& group) {
  const std::size_t kept = resident_count(layout, group);
  if (kept == group.sections.size()) return "resident";
  if (group.sections.size() == 1) return "streamed";
  if (kept == 0) return fmt::format("{} streamed", group.sections.size());
  return fmt::format("{} resident, {} streamed", kept, group.sections.size() - kept);
}

std::string steps(int first, int last) {
  return first == last ? std::to_string(first) : fmt::format("{}-{}", first, last);
}

}  // namespace

CLI::Option* add_memory_option(CLI::App& command, std::size_t& bytes) {
  return command
      .add_option("--memory", bytes,
                  "hard limit on weights, activations and buffers (bytes, or as 8MiB); what does not fit is read from "
                  "the file while a frame runs")
      ->transform(CLI::AsSizeValue(false))
      ->type_name("SIZE");
}

std::string bytes_text(std::size_t bytes) {
  constexpr const char* kUnit[] = {"B", "KiB", "MiB", "GiB", "TiB"};
  auto size = static_cast<double>(bytes);
  std::size_t i = 0;
  for (; size >= 1024 && i < 4; ++i) size /= 1024;
  return i == 0 ? fmt::format("{} B", bytes) : fmt::format("{:.2f} {}", size, kUnit[i]);
}

std::string memory_text(const MemoryPlan& plan, std::string_view io) {
  std::string text = fmt::format("memory plan: {} = arena {} + weights {} ({})", bytes_text(plan.total()),
                                 bytes_text(plan.arena), bytes_text(plan.weights), io);
  if (plan.streamed > 0) {
    text += fmt::format("; {} streamed through at most {} of the arena", bytes_text(plan.streamed),
                        bytes_text(plan.stream_buffers));
  }
  return text + fmt::format("; smallest possible {}", bytes_text(plan.smallest));
}

json memory_json(const MemoryPlan& plan, std::string_view io) {
  return {{"total", plan.total()},
          {"arena", plan.arena},
          {"weights", plan.weights},
          {"streamed", plan.streamed},
          {"smallest", plan.smallest},
          {"stream_buffers", plan.stream_buffers},
          {"io", io}};
}

std::string layout_table(const MemoryLayout& layout) {
  std::string out = fmt::format("  {:<28}{:>26}{:>14}{:>12}\n", "weights", "", "buffers", "steps");
  for (const WeightGroup& g : layout.groups) {
    out += fmt::format("  {:<28}{:>26}{:>14}{:>12}\n", g.name, state(layout, g),
                       g.slots == 0 ? std::string("-") : fmt::format("{} x {}", g.slots, bytes_text(g.slot_bytes)),
                       steps(g.slots == 0 ? g.use : g.first, g.last));
  }
  out += fmt::format("\n  {:<40}{:>14}{:>14}{:>12}\n", "arena", "bytes", "offset", "steps");
  for (const PlannedBuffer& b : layout.frame.planner.buffers()) {
    out += fmt::format("  {:<40}{:>14}{:>14}{:>12}\n", b.name, b.bytes, b.offset, steps(b.first, b.last));
  }
  return out;
}

json layout_json(const MemoryLayout& layout) {
  json groups = json::array();
  for (const WeightGroup& g : layout.groups) {
    groups.push_back({{"name", g.name},
                      {"sections", g.sections.size()},
                      {"resident", resident_count(layout, g)},
                      {"buffers", g.slots},
                      {"buffer_bytes", g.slots == 0 ? 0 : g.slot_bytes},
                      {"steps", {g.slots == 0 ? g.use : g.first, g.last}}});
  }
  json buffers = json::array();
  for (const PlannedBuffer& b : layout.frame.planner.buffers()) {
    buffers.push_back({{"name", b.name}, {"bytes", b.bytes}, {"offset", b.offset}, {"steps", {b.first, b.last}}});
  }
  return {{"total", layout.total()},
          {"arena", layout.frame.planner.arena_bytes()},
          {"weights", layout.resident_bytes},
          {"streamed", layout.streamed_bytes},
          {"stream_buffers", layout.stream_buffers},
          {"smallest", layout.smallest},
          {"groups", std::move(groups)},
          {"buffers", std::move(buffers)}};
}

ImageU8 layout_picture(const MemoryLayout& layout) {
  constexpr int kStep = 24;
  constexpr int kHeight = 720;
  constexpr int kMargin = 28;
  const int step_count = layout.frame.last_step() + 1;
  ImageU8 image(kHeight + 2 * kMargin, kStep * step_count + 2 * kMargin, 3, 255);
  cv::Mat canvas(image.height, image.width, CV_8UC3, image.data.data());  // RGB throughout
  const auto row = [&](std::size_t bytes) {
    const double part = static_cast<double>(bytes) / static_cast<double>(std::max<std::size_t>(layout.total(), 1));
    return kMargin + kHeight - static_cast<int>(part * kHeight);
  };
  const auto box = [&](int first, int last, std::size_t from, std::size_t to, const cv::Scalar& color,
                       const std::string& name) {
    const cv::Point a(kMargin + first * kStep, row(to));
    const cv::Point b(kMargin + (last + 1) * kStep - 1, row(from) - 1);
    if (b.y < a.y) return;
    cv::rectangle(canvas, a, b, color, cv::FILLED);
    cv::rectangle(canvas, a, b, cv::Scalar(70, 70, 70));
    if (b.y - a.y < 12) return;
    const std::size_t letters = static_cast<std::size_t>(std::max(b.x - a.x - 4, 0)) / 6;
    cv::putText(canvas, name.substr(0, letters), {a.x + 3, a.y + 11}, cv::FONT_HERSHEY_PLAIN, 0.7,
                cv::Scalar(20, 20, 20), 1, cv::LINE_AA);
  };
  const std::size_t kept = layout.resident_bytes;
  if (kept > 0) {
    box(0, step_count - 1, 0, kept, cv::Scalar(205, 205, 205), "resident weights, " + bytes_text(kept));
  }
  for (const PlannedBuffer& b : layout.frame.planner.buffers()) {
    const bool weights = b.name.starts_with(kWeights);
    box(b.first, b.last, kept + b.offset, kept + b.offset + b.bytes,
        weights ? cv::Scalar(246, 178, 107) : cv::Scalar(140, 190, 230), weights ? b.name.substr(9) : b.name);
  }
  cv::putText(canvas, fmt::format("{} in all; steps 0 to {}", bytes_text(layout.total()), step_count - 1),
              {kMargin, kMargin - 10}, cv::FONT_HERSHEY_PLAIN, 1.0, cv::Scalar(20, 20, 20), 1, cv::LINE_AA);
  return image;
}

}  // namespace m3vit::cli
