#include "cli/bench_table.h"

#include <fmt/format.h>

#include <nlohmann/json.hpp>

namespace m3vit::cli {

using nlohmann::json;

namespace {

std::string percent(const json& share) {
  return share.is_number() ? fmt::format("{:.0f} %", 100 * share.get<double>()) : std::string("–");
}
double mib(const json& bytes) { return bytes.get<double>() / (1024.0 * 1024.0); }

std::string one_isa(const json& d) {
  std::string text;
  const json& roof = d.at("roofline");
  text += fmt::format(
      "\n{}: peak {:.1f} GMAC/s, memory read {:.1f} GB/s, a frame {:.2f} GMAC (direct algorithm at peak: {})\n",
      d.at("isa").get<std::string>(), roof.at("macs_per_s").get<double>() / 1e9,
      roof.at("bytes_per_s").get<double>() / 1e9, roof.at("frame_macs").get<double>() / 1e9,
      roof.at("direct_ms").is_number() ? fmt::format("{:.2f} ms", roof.at("direct_ms").get<double>())
                                       : std::string("no peak known"));
  text += fmt::format("  {:<14} {:>10} {:>10} {:>10}\n", "task", "median ms", "p10", "p90");
  for (const auto& [task, ms] : d.at("latency_ms").items()) {
    text += fmt::format("  {:<14} {:>10.2f} {:>10.2f} {:>10.2f}\n", task, ms.at("median").get<double>(),
                        ms.at("p10").get<double>(), ms.at("p90").get<double>());
  }
  text += fmt::format("  {:<14} {:>10} {:>10} {:>10} {:>12}\n", "part of " + d.at("parts_task").get<std::string>(),
                      "ms", "GMAC", "GMAC/s", "of peak");
  for (const char* name : {"input", "embed", "attention", "dense_mlp", "router", "experts", "head"}) {
    const json& part = d.at("parts").at(name);
    text += fmt::format("  {:<14} {:>10.3f} {:>10.3f} {:>10.1f} {:>12}\n", name, part.at("ms").get<double>(),
                        part.at("macs").get<double>() / 1e9, part.at("macs_per_s").get<double>() / 1e9,
                        percent(part.at("fraction")));
  }
  for (const auto& [name, rival] : d.at("ratio").items()) {
    text += fmt::format("  {} takes {:.2f}× as long ({:.2f} ms; {})\n", name, rival.at("ratio").get<double>(),
                        rival.at("ms").get<double>(), rival.at("equal").get<std::string>());
  }
  if (d.contains("switch")) {
    text += fmt::format("  first frame after a task switch ÷ the next: {:.3f}\n",
                        d.at("switch").at("first_over_steady").get<double>());
  }
  if (d.contains("shared_prefix")) {
    const json& s = d.at("shared_prefix");
    text += fmt::format("  {} tasks of one frame: {:.2f} ms together, {:.2f} ms one after another ({:.2f}×)\n",
                        s.at("tasks").size(), s.at("shared_ms").get<double>(), s.at("separate_ms").get<double>(),
                        s.at("separate_over_shared").get<double>());
  }
  const json& m = d.at("memory");
  text += fmt::format("  memory: {:.2f} MiB of activations and {:.2f} MiB of weights planned, {:.2f} MiB measured\n",
                      mib(m.at("arena")), mib(m.at("weights")), mib(m.at("measured")));
  if (m.at("streamed") != 0) {
    text += fmt::format("  {:.2f} MiB of weights streamed ({}), {:.2f} MiB read a frame\n", mib(m.at("streamed")),
                        m.at("io").get<std::string>(), mib(m.at("bytes_read")));
    text += fmt::format("  the drive alone needs {:.1f} ms for them, a section at a time at {:.2f} GB/s\n",
                        m.at("reading_alone_ms").get<double>(), m.at("drive_bytes_per_s").get<double>() * 1e-9);
  }
  return text;
}

}  // namespace

std::string bench_table(const json& document) {
  std::string text = fmt::format("{}: {}, {} threads, {} rounds\n", document.at("model").get<std::string>(),
                                 document.at("dtype").get<std::string>(), document.at("threads").get<int>(),
                                 document.at("pairs").get<int>());
  for (const json& isa : document.at("isas")) text += one_isa(isa);
  for (const auto& [name, difference] : document.at("isa_difference").items()) {
    text += fmt::format("\n{} differs from the first by at most {:.1e} of the largest value\n", name,
                        difference.get<double>());
  }
  return text;
}

}  // namespace m3vit::cli
