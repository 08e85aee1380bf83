#include "accel/report/report.h"

#include <fmt/format.h>

#include <cmath>
#include <sstream>
#include <utility>

#include "accel/report/published.h"
#include "accel/report/shape_model.h"
#include "core/error.h"

namespace m3vit::accel {
namespace {

struct OrderName {
  const char* name;
  ExpertMode mode;
};
constexpr OrderName kOrders[] = {{"expert order", ExpertMode::kExpert},
                                 {"token order, reload", ExpertMode::kToken},
                                 {"token order, LRU cache", ExpertMode::kTokenCached},
                                 {"token pairs", ExpertMode::kTokenPairs}};
constexpr int kExpertNumbers[] = {8, 16, 32, 64, 128, 256, 512, 1024};
constexpr double kClocks[] = {200e6, 250e6, 300e6, 333e6};
constexpr double kSlack = 1.05;
constexpr double kEfficiencies[] = {0.6, 0.75, 0.8, 0.925};

double milli(double seconds) { return seconds * 1e3; }
double mega(double bytes) { return bytes * 1e-6; }
double kibi(std::int64_t bytes) { return static_cast<double>(bytes) / 1024; }

class Maker {
 public:
  Maker(const ReportOptions& options, const std::function<void()>& progress) : o_(options), progress_(progress) {}

  Report make() {
    report_.title = "m3vit accelerator: expert order beside token order";
    report_.preface = {
        fmt::format("Encoder (patches to the last block), one frame, batch 1; W = {}, {} MAC/cycle at {:.0f} MHz; DDR "
                    "{:.1f} GB/s · {:.3g}; tokens choose their experts uniformly.",
                    o_.array.width, 2 * o_.array.width * o_.array.width, o_.clock_hz * 1e-6, kDdrPeak * 1e-9,
                    o_.ddr_efficiency),
        "Cycles come from the cost model, which tests hold against the RTL's counters; no clock or watt was measured "
        "on a board."};
    for (const ReportModel& m : o_.models) model(m);
    report_.tables.push_back(constants());
    report_.tables.push_back(published_results());
    report_.tables.push_back(published_ablation());
    if (!o_.resources.empty()) report_.tables.push_back(resources());
    return std::move(report_);
  }

 private:
  CostModel cost() const { return cost_at(o_.clock_hz, kDdrPeak * o_.ddr_efficiency); }
  FrameCost frame(const QuantModel& shapes, const CompileOptions& options, const CostModel& at, int chosen = 0) {
    if (progress_) progress_();
    return encoder_cost(shapes, options, at, 0, chosen);
  }
  FrameCost frame(const QuantModel& shapes, ExpertMode mode) {
    return frame(shapes, {.array = o_.array, .mode = mode}, cost());
  }
  double energy(const FrameCost& f, const EnergyModel& model, double clock) const {
    return frame_energy(f.time, model, clock).total();
  }
  double energy(const FrameCost& f) const { return energy(f, o_.energy, o_.clock_hz); }

  void model(const ReportModel& m) {
    const QuantModel shapes = shape_model(m.config);
    const bool moe = m.config.model.moe.has_value();
    std::vector<FrameCost> frames;
    for (const OrderName& order : kOrders) {
      frames.push_back(frame(shapes, order.mode));
      if (!moe) break;  // a dense model has one order
    }
    orders(m, shapes, frames);
    time_of(m, frames);
    if (moe) {
      memory(m, shapes, frames[0]);
      sensitivity(m, frames[0], frames[1]);
      levers(m, shapes);
      experts(m);
    }
    ablation(m, shapes, frames);
    switching(m);
  }

  static std::string id(const ReportModel& m, const std::string& what) { return m.name + '_' + what; }

  std::vector<Cell> order_row(const std::string& name, const FrameCost& f, const FrameCost& expert, double chip) const {
    const Timeline& t = f.time;
    return {words(name),
            number(t.cycles, How::kModelled),
            number(milli(t.cycles / o_.clock_hz), How::kModelled, 2),
            number(t.cycles / expert.time.cycles, How::kModelled, 2, "×"),
            number(100 * t.utilisation(f.array), How::kModelled, 1, " %"),
            number(mega(static_cast<double>(t.ddr_bytes())), How::kCounted, 1),
            number(static_cast<double>(t.tiles_loaded), How::kCounted),
            number(chip / 1024, How::kCounted, 0),
            number(milli(energy(f)), How::kModelled, 1),
            number(energy(f) / energy(expert), How::kModelled, 2, "×")};
  }
  void orders(const ReportModel& m, const QuantModel& shapes, const std::vector<FrameCost>& frames) {
    Table t{id(m, "orders"),
            m.name + ": order of experts",
            {{"order", "order"},
             {"cycles", "cycles"},
             {"ms", "ms"},
             {"time_ratio", "time"},
             {"utilisation", "MACs used"},
             {"ddr_mb", "DDR MB"},
             {"tiles", "tiles loaded"},
             {"chip_kib", "on chip KiB"},
             {"energy_mj", "mJ"},
             {"energy_ratio", "energy"}},
            {},
            {}};
    for (std::size_t i = 0; i < frames.size(); ++i) {
      t.rows.push_back(order_row(kOrders[i].name, frames[i], frames[0], static_cast<double>(frames[i].chip.total())));
    }
    if (frames[0].experts) {
      CostModel resident = cost();
      resident.experts_resident = true;
      const FrameCost all = frame(shapes, {.array = o_.array}, resident);
      const MoeConfig& moe = *m.config.model.moe;
      const ChipBytes layer = all_on_chip(frames[0].chip, *frames[0].experts, moe.num_experts, o_.array);
      int layers = 0;
      for (int b = 0; b < m.config.model.depth; ++b) layers += m.config.model.is_moe(b) ? 1 : 0;
      const double needed =
          static_cast<double>(layer.total()) +
          (layers - 1.0) * static_cast<double>(layer_bytes(*frames[0].experts, moe.num_experts, o_.array));
      t.rows.push_back(order_row("all experts on chip", all, frames[0], needed));
      t.notes.push_back(fmt::format(
          "All experts on chip: {} layers' experts never loaded, {:.1f} MiB; an XCZU7EV has {:.1f} MiB, so it {}.",
          layers, needed / 1048576, static_cast<double>(kXczu7evBytes) / 1048576,
          needed <= static_cast<double>(kXczu7evBytes) ? "fits the device, not the shipped array"
                                                       : "does not fit; what it would gain if it did"));
      t.notes.push_back(
          fmt::format("Energy of token order with reload ÷ expert order: {:.2f}×; M³ViT published up to "
                      "{:.2f}× over its own baseline.",
                      energy(frames[1]) / energy(frames[0]), kPublishedEnergy));
    }
    report_.tables.push_back(std::move(t));
  }

  void time_of(const ReportModel& m, const std::vector<FrameCost>& frames) {
    Table t{id(m, "time"),
            m.name + ": where the cycles go",
            {{"order", "order"},
             {"array", "array multiplies"},
             {"gemm", "GEMM busy"},
             {"wait_tile", "waits for a tile"},
             {"load", "LOAD busy"},
             {"vec", "VEC busy"},
             {"ddr", "DDR in use"}},
            {},
            {}};
    std::string waiting;
    for (std::size_t i = 0; i < frames.size(); ++i) {
      const Timeline& f = frames[i].time;
      const auto share = [&](double cycles) { return number(100 * cycles / f.cycles, How::kModelled, 1, " %"); };
      t.rows.push_back({words(kOrders[i].name), share(f.array_cycles), share(f.busy[1]), share(f.wait_tile),
                        share(f.busy[0]), share(f.busy[2]),
                        share(static_cast<double>(f.ddr_bytes()) / cost().ddr_bytes_per_cycle)});
      if (f.wait_tile > 0.1 * f.cycles) waiting += (waiting.empty() ? "" : "; ") + std::string(kOrders[i].name);
    }
    if (!waiting.empty()) t.notes.push_back("The experts' part waits for DDR in: " + waiting + '.');
    report_.tables.push_back(std::move(t));
  }

  void memory(const ReportModel& m, const QuantModel& shapes, const FrameCost& expert) {
    const int n = m.config.model.moe->num_experts;
    const Array least = least_array(shapes, o_.array, cost(), kSlack);
    const FrameCost small = frame(shapes, {.array = least}, cost());
    const ChipBytes all = all_on_chip(small.chip, *small.experts, n, least);
    const double ratio = static_cast<double>(all.total()) / static_cast<double>(small.chip.total());
    Table t{id(m, "memory"),
            m.name + ": bytes on chip",
            {{"what", "KiB"},
             {"in_use", "in use on this array"},
             {"expert_order", "expert order, at least"},
             {"all", "one layer's experts on chip, at least"}},
            {},
            {}};
    const std::pair<const char*, std::int64_t ChipBytes::*> parts[] = {
        {"weights", &ChipBytes::weights},        {"parameters", &ChipBytes::params},
        {"activations", &ChipBytes::act},        {"residual", &ChipBytes::res},
        {"lists of experts", &ChipBytes::lists}, {"buffers and tables", &ChipBytes::fixed}};
    for (const auto& [name, part] : parts) {
      t.rows.push_back({words(name), number(kibi(expert.chip.*part), How::kCounted),
                        number(kibi(small.chip.*part), How::kCounted), number(kibi(all.*part), How::kCounted)});
    }
    t.rows.push_back({words("total"), number(kibi(expert.chip.total()), How::kCounted),
                      number(kibi(small.chip.total()), How::kCounted), number(kibi(all.total()), How::kCounted)});
    t.notes.push_back(fmt::format("{:.2f}× less than with one layer's experts on chip; M³ViT published {:.2f}×.", ratio,
                                  kPublishedMemory));
    t.notes.push_back(
        fmt::format("A program spreads over the memory there is. At least: the smallest memories with which "
                    "the model still compiles and its encoder takes at most {:.0f} % more cycles.",
                    100 * (kSlack - 1)));
    report_.tables.push_back(std::move(t));
  }

  void sensitivity(const ReportModel& m, const FrameCost& expert, const FrameCost& token) {
    Table t{id(m, "sensitivity"),
            m.name + ": energy of token order ÷ expert order, one constant at a time",
            {{"constant", "constant"}, {"low", "low"}, {"at_low", "ratio"}, {"high", "high"}, {"at_high", "ratio"}},
            {},
            {}};
    const auto ratio = [&](const EnergyModel& e) {
      return energy(token, e, o_.clock_hz) / energy(expert, e, o_.clock_hz);
    };
    for (std::size_t i = 0; i < EnergyModel::kConstants; ++i) {
      const auto which = static_cast<EnergyModel::Which>(i);
      const EnergyConstant& c = o_.energy.constants[i];
      t.rows.push_back({words(c.name), words(fmt::format("{:g} {}", c.low, c.unit)),
                        number(ratio(o_.energy.with(which, c.low)), How::kModelled, 2, "×"),
                        words(fmt::format("{:g} {}", c.high, c.unit)),
                        number(ratio(o_.energy.with(which, c.high)), How::kModelled, 2, "×")});
    }
    t.notes.push_back(fmt::format("At the central constants {:.2f}×; time alone {:.2f}×.", ratio(o_.energy),
                                  token.time.cycles / expert.time.cycles));
    report_.tables.push_back(std::move(t));
    Line line{m.name, {}, {}};
    for (double watts = 0.5; watts <= 10; watts += 0.5) {
      line.x.push_back(watts);
      line.y.push_back(ratio(o_.energy.with(EnergyModel::kStatic, watts)));
    }
    figure("static_power", "Energy of token order ÷ expert order", "static power, W", "ratio", false)
        .lines.push_back(std::move(line));
  }

  void levers(const ReportModel& m, const QuantModel& shapes) {
    Table t{
        id(m, "levers"),
        m.name + ": what moves the ratio",
        {{"what", "clock, DDR, array"},
         {"expert_ms", "expert order ms"},
         {"token_ms", "token order ms"},
         {"time_ratio", "time"},
         {"energy_ratio", "energy"}},
        {},
        {"Token order waits for DDR, expert order for the array: whatever makes the array faster against DDR makes the "
         "ratio larger."}};
    const auto row = [&](const std::string& name, const Array& array, double clock, double efficiency) {
      const CostModel at = cost_at(clock, kDdrPeak * efficiency);
      const FrameCost expert = frame(shapes, {.array = array}, at);
      const FrameCost token = frame(shapes, {.array = array, .mode = ExpertMode::kToken}, at);
      t.rows.push_back(
          {words(name), number(milli(expert.time.cycles / clock), How::kModelled, 2),
           number(milli(token.time.cycles / clock), How::kModelled, 2),
           number(token.time.cycles / expert.time.cycles, How::kModelled, 2, "×"),
           number(energy(token, o_.energy, clock) / energy(expert, o_.energy, clock), How::kModelled, 2, "×")});
    };
    for (const double clock : kClocks) {
      row(fmt::format("{:.0f} MHz", clock * 1e-6), o_.array, clock, o_.ddr_efficiency);
    }
    for (const double efficiency : kEfficiencies) {
      row(fmt::format("DDR {:g} %", 100 * efficiency), o_.array, o_.clock_hz, efficiency);
    }
    if (o_.array.width == 32) {
      row("W = 16, 512 MAC/cycle", at_width(o_.array, 16), o_.clock_hz, o_.ddr_efficiency);
    }
    report_.tables.push_back(std::move(t));
  }

  void experts(const ReportModel& m) {
    Table t{id(m, "experts"),
            m.name + ": number of experts",
            {{"num_experts", "experts"},
             {"cycles", "expert order cycles"},
             {"part", "of these in experts"},
             {"ddr_mb", "DDR MB"},
             {"chip_kib", "on chip KiB"},
             {"all_kib", "one layer on chip KiB"},
             {"token_cycles", "token order cycles"},
             {"time_ratio", "time"},
             {"energy_ratio", "energy"}},
            {},
            {"Bytes on chip do not grow with the experts; DDR bytes do until every expert is chosen by some token. At "
             "equal choices the experts' part takes the same cycles, for 16 experts or for 1024. What "
             "else grows is the router, which scores every expert for every token."}};
    Line cycles{m.name + ", expert order", {}, {}};
    Line token_cycles{m.name + ", token order", {}, {}};
    const auto row = [&](const std::string& name, int n, int chosen) {
      Config config = m.config;
      config.model.moe->num_experts = n;
      config.model.moe->experts_per_task = 0;
      const QuantModel shapes = shape_model(config);
      const FrameCost expert = frame(shapes, {.array = o_.array}, cost(), chosen);
      const FrameCost token = frame(shapes, {.array = o_.array, .mode = ExpertMode::kToken}, cost(), chosen);
      const ChipBytes all = all_on_chip(expert.chip, *expert.experts, n, o_.array);
      t.rows.push_back({words(name), number(expert.time.cycles, How::kModelled),
                        number(expert.time.expert_cycles, How::kModelled),
                        number(mega(static_cast<double>(expert.time.ddr_bytes())), How::kCounted, 1),
                        number(kibi(expert.chip.total()), How::kCounted), number(kibi(all.total()), How::kCounted),
                        number(token.time.cycles, How::kModelled),
                        number(token.time.cycles / expert.time.cycles, How::kModelled, 2, "×"),
                        number(energy(token) / energy(expert), How::kModelled, 2, "×")});
      return std::pair{expert.time.cycles, token.time.cycles};
    };
    for (const int n : kExpertNumbers) {
      if (m.config.model.moe->top_k > n) continue;
      const auto [by_expert, by_token] = row(std::to_string(n), n, 0);
      cycles.x.push_back(std::log2(n));
      cycles.y.push_back(by_expert);
      token_cycles.x.push_back(std::log2(n));
      token_cycles.y.push_back(by_token);
    }
    row("1024, 16 of them chosen", 1024, 16);
    report_.tables.push_back(std::move(t));
    Figure& f = figure("experts", "Cycles of a frame's encoder", "log2 of the number of experts", "cycles", true);
    f.lines.push_back(std::move(cycles));
    f.lines.push_back(std::move(token_cycles));
  }

  void ablation(const ReportModel& m, const QuantModel& shapes, const std::vector<FrameCost>& frames) {
    Table t{
        id(m, "ablation"),
        m.name + ": switches of compiler and RTL",
        {{"switch", "switch"}, {"cycles", "cycles"}, {"time_ratio", "time"}, {"energy_ratio", "energy"}},
        {},
        {"One machine for all linear layers and convolutions, attention that keeps K and V in the lanes, softmax in "
         "one pass over stored scores and activations by table are built in: not switches of this RTL."}};
    const auto row = [&](const std::string& name, const FrameCost& f) {
      t.rows.push_back({words(name), number(f.time.cycles, How::kModelled),
                        number(f.time.cycles / frames[0].time.cycles, How::kModelled, 3, "×"),
                        number(energy(f) / energy(frames[0]), How::kModelled, 3, "×")});
    };
    const auto with = [&](const std::string& name, const CompileOptions& options) {
      row(name, frame(shapes, options, cost()));
    };
    row("as shipped", frames[0]);
    with("no chasing: norms by whole ops", {.array = o_.array, .chase = false});
    if (frames[0].experts) with("one expert tile at a time", {.array = o_.array, .expert_slots = 1});
    with("no overlap of load, compute and store", {.array = o_.array, .overlap = false});
    if (frames[0].experts) {
      row("token order", frames[1]);
      with("token order without overlap", {.array = o_.array, .mode = ExpertMode::kToken, .overlap = false});
    }
    report_.tables.push_back(std::move(t));
  }

  void switching(const ReportModel& m) {
    Config config = m.config;
    if (config.tasks.size() == 1) {
      TaskConfig other = config.tasks[0];
      other.name = other.name == "normals" ? "depth" : "normals";
      config.tasks.push_back(other);
    }
    const QuantModel shapes = shape_model(config);
    Table t{
        id(m, "switch"),
        m.name + ": switching tasks",
        {{"task", "task"}, {"cycles", "encoder cycles"}, {"ddr_mb", "DDR MB"}},
        {},
        {"A task is a program's address. Nothing on chip outlives a run and every run loads what it uses, so the first "
         "frame after a switch costs what every frame costs: no cycles, no bytes."}};
    for (std::size_t task = 0; task < config.tasks.size(); ++task) {
      const FrameCost f = encoder_cost(shapes, {.array = o_.array}, cost(), task);
      t.rows.push_back({words(config.tasks[task].name), number(f.time.cycles, How::kModelled),
                        number(mega(static_cast<double>(f.time.ddr_bytes())), How::kCounted, 1)});
    }
    report_.tables.push_back(std::move(t));
  }

  Table constants() const {
    Table t{
        "energy_constants",
        "constants of the energy model",
        {{"constant", "constant"}, {"value", "central"}, {"range", "range"}, {"source", "source"}},
        {},
        {fmt::format("DDR: {:.1f} GB/s peak, {:.3g} of it usable: accelerators on a ZCU102 reached 75 % of the "
                     "theoretical rate, on an Ultra96 92.5 % (Manev, Vaishnav, Koch, FPT 2019); no ZCU104 measured.",
                     kDdrPeak * 1e-9, o_.ddr_efficiency)}};
    for (const EnergyConstant& c : o_.energy.constants) {
      t.rows.push_back({words(c.name), words(fmt::format("{:g} {}", c.value, c.unit)),
                        words(fmt::format("{:g} … {:g}", c.low, c.high))});
      t.notes.push_back(c.name + ": " + c.source + '.');
    }
    return t;
  }

  Table resources() const {
    Table t{
        "resources", "resources, counted by Yosys after synthesis, neither placed nor routed", {{"line", ""}}, {}, {}};
    std::istringstream lines(o_.resources);
    for (std::string line; std::getline(lines, line);) t.rows.push_back({words(line)});
    return t;
  }

  Figure& figure(const std::string& name, const std::string& title, const std::string& x, const std::string& y,
                 bool log_y) {
    for (Figure& f : report_.figures) {
      if (f.id == name) return f;
    }
    return report_.figures.emplace_back(Figure{name, title, x, y, log_y, {}});
  }

  const ReportOptions& o_;
  const std::function<void()>& progress_;
  Report report_;
};

}  // namespace

int report_stages(const ReportOptions& options) {
  constexpr std::size_t kLevers = std::size(kClocks) + std::size(kEfficiencies) + 1;  // and half the width
  constexpr std::size_t kMoe = std::size(kOrders) + 1 /* all on chip */ + 1 /* least memory */ + 2 * kLevers +
                               2 * (std::size(kExpertNumbers) + 1) + 4 /* ablation */;
  constexpr std::size_t kDense = 1 + 2 /* ablation */;
  std::size_t stages = 0;
  for (const ReportModel& m : options.models) stages += m.config.model.moe ? kMoe : kDense;
  return static_cast<int>(stages);
}

Report make_report(const ReportOptions& options, const std::function<void()>& progress) {
  return Maker(options, progress).make();
}

}  // namespace m3vit::accel
