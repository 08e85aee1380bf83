#include "accel/report/published.h"

#include <utility>

namespace m3vit::accel {

Table published_results() {
  return {"published",
          "published by others, second-hand",
          {{"work", "work"}, {"what", "what"}, {"value", "value"}},
          {{words("M³ViT, NeurIPS 2022, ZCU104"), words("memory, less than its baseline"),
            number(kPublishedMemory, How::kPublished, 2, "×")},
           {words("M³ViT, NeurIPS 2022, ZCU104"), words("energy efficiency over its baseline, up to"),
            number(kPublishedEnergy, How::kPublished, 2, "×")},
           {words("Edge-MoE, ICCAD 2023, ZCU102, 300 MHz, 16 to 32 bit"), words("tiny, 128×256, a frame"),
            number(34.64, How::kPublished, 2, " ms")},
           {words("Edge-MoE, ICCAD 2023, ZCU102, 300 MHz, 16 to 32 bit"), words("power"),
            number(14.54, How::kPublished, 2, " W")}},
          {"Other boards, clocks, number formats and baselines: not like for like."}};
}

Table published_ablation() {
  Table t{"published_ablation", "Edge-MoE's ablation, second-hand", {{"step", "with"}, {"ms", "ms"}}, {}, {}};
  const std::pair<const char*, double> steps[] = {
      {"baseline", 650.3},        {"+ expert by expert", 433.4},        {"+ softmax in one pass", 353.4},
      {"+ GELU by table", 212.9}, {"+ one linear unit for all", 104.3}, {"+ attention reordered", 34.6}};
  for (const auto& [name, ms] : steps) t.rows.push_back({words(name), number(ms, How::kPublished, 1)});
  return t;
}

}  // namespace m3vit::accel
