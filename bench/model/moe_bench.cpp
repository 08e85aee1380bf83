/// Training step (forward and backward) of an MoE block against a dense block of equal active MACs, and of the sorted
/// experts against a naive loop over every token's experts. Each pair first agrees on results where it should, then
/// runs in A B B A order; medians and the ratio of paired runs are printed, as JSON on stdout.
#include <fmt/format.h>

#include <CLI/CLI.hpp>
#include <algorithm>
#include <functional>
#include <iostream>
#include <nlohmann/json.hpp>

#include "model/vit.h"
#include "timing.h"

namespace m3vit {
namespace {

using timing::median;
using timing::seconds_of;

using torch::Tensor;

/// Medians of `a` and `b` and the median of a/b over pairs measured side by side.
nlohmann::json compare(const std::string& name_a, const std::string& name_b, const std::function<void()>& a,
                       const std::function<void()>& b, int pairs) {
  a();
  b();
  std::vector<double> times_a, times_b, ratios;
  for (int i = 0; i < pairs; ++i) {
    double ta = 0, tb = 0;
    if (i % 2 == 0) {
      ta = seconds_of(a);
      tb = seconds_of(b);
    } else {
      tb = seconds_of(b);
      ta = seconds_of(a);
    }
    times_a.push_back(ta);
    times_b.push_back(tb);
    ratios.push_back(ta / tb);
  }
  fmt::print(stderr, "{:<34} {:9.2f} ms   {:<34} {:9.2f} ms   ratio {:.3f}\n", name_a, 1e3 * median(times_a), name_b,
             1e3 * median(times_b), median(ratios));
  return {{"a", name_a},
          {"b", name_b},
          {"a_ms", 1e3 * median(times_a)},
          {"b_ms", 1e3 * median(times_b)},
          {"ratio", median(ratios)},
          {"pairs", pairs}};
}

/// One small product a (token, expert) pair: what a direct reading of the equation does.
Tensor loop_over_tokens(const torch::OrderedDict<std::string, Tensor>& p, const Tensor& x, const Routing& r) {
  const std::vector<Tensor> w1 = p["htoh4.weight"].unbind(), b1 = p["htoh4.bias"].unbind();
  const std::vector<Tensor> w2 = p["h4toh.weight"].unbind(), b2 = p["h4toh.bias"].unbind();
  const std::vector<Tensor> tokens = x.unbind();
  const auto chosen = r.indices.accessor<int64_t, 2>();
  std::vector<Tensor> rows;
  for (std::size_t t = 0; t < tokens.size(); ++t) {
    std::vector<Tensor> outputs;
    for (int64_t k = 0; k < r.indices.size(1); ++k) {
      const auto e = static_cast<std::size_t>(chosen[static_cast<int64_t>(t)][k]);
      outputs.push_back(torch::mv(w2[e], torch::gelu(torch::mv(w1[e], tokens[t]) + b1[e])) + b2[e]);
    }
    rows.push_back(r.weights[static_cast<int64_t>(t)].matmul(torch::stack(outputs)));
  }
  return torch::stack(rows);
}

void require_equal(const Tensor& got, const Tensor& want, const char* what) {
  const double error = ((got - want).abs().max() / want.abs().max()).item<double>();
  if (!(error <= 1e-4)) {
    fmt::print(stderr, "moe_bench: {} differ by {}\n", what, error);
    std::exit(1);
  }
}

int run(int argc, char** argv) {
  CLI::App app{"training step of an MoE block against its rivals"};
  int batch = 2, tokens = 1025, dim = 384, heads = 6, experts = 16, top_k = 4, pairs = 11, threads = 0;
  app.add_option("--batch", batch)->capture_default_str();
  app.add_option("--tokens", tokens, "tokens of one image, CLS included")->capture_default_str();
  app.add_option("--embed-dim", dim)->capture_default_str();
  app.add_option("--num-heads", heads)->capture_default_str();
  app.add_option("--num-experts", experts)->capture_default_str();
  app.add_option("--top-k", top_k, "experts of embed_dim hidden units each; the dense MLP has top_k·embed_dim")
      ->capture_default_str();
  app.add_option("--pairs", pairs)->capture_default_str();
  app.add_option("--threads", threads, "0: all")->capture_default_str();
  CLI11_PARSE(app, argc, argv);
  if (threads > 0) torch::set_num_threads(threads);
  threads = torch::get_num_threads();

  ModelConfig config;
  config.embed_dim = dim;
  config.num_heads = heads;
  config.mlp_ratio = top_k;
  config.moe->num_experts = experts;
  config.moe->top_k = top_k;
  config.moe->gate = Gate::kShared;
  torch::manual_seed(1);
  Block sparse(config, /*index=*/1, /*num_tasks=*/1), dense(config, /*index=*/0, /*num_tasks=*/1);
  const Tensor x = torch::randn({batch, tokens, dim}).requires_grad_(), g = torch::randn({batch, tokens, dim});
  const auto backward = [&](const Tensor& y) {
    sparse->zero_grad();
    dense->zero_grad();
    x.mutable_grad() = Tensor();
    y.backward(g.view(y.sizes()));
  };
  Routing routing;
  nlohmann::json results = nlohmann::json::array();
  fmt::print(stderr, "{} x {} tokens of {}, {} experts, top_k {}, {} threads\n", batch, tokens, dim, experts, top_k,
             threads);
  results.push_back(compare(
      "MoE block", "dense block of equal active MACs",
      [&] { backward(sparse->sparse(sparse->attend(x), 0, {}, routing)); },
      [&] { backward(dense->dense(dense->attend(x))); }, pairs));
  results.push_back(compare(
      "MoE half (norm, router, experts)", "dense half (norm, MLP)",
      [&] { backward(sparse->sparse(x, 0, {}, routing)); }, [&] { backward(dense->dense(x)); }, pairs));

  Experts layer(experts, dim, config.expert_hidden());
  const auto parameters = layer->named_parameters();
  const Tensor flat = x.detach().view({-1, dim}).clone().requires_grad_();
  Routing r = route(torch::randn({flat.size(0), experts}), top_k, 0.0);
  const auto step = [&](const Tensor& y) {
    layer->zero_grad();
    flat.mutable_grad() = Tensor();
    y.backward(g.view(y.sizes()));
  };
  const auto sorted = [&] { return layer->forward(flat, r.indices, r.weights); };
  const auto looped = [&] { return loop_over_tokens(parameters, flat, r); };
  const Tensor y_sorted = sorted(), y_looped = looped();
  require_equal(y_sorted, y_looped, "outputs of sorted and looped experts");
  step(y_sorted);
  const Tensor dx = flat.grad().clone(), dw = parameters["htoh4.weight"].grad().clone();
  step(y_looped);
  require_equal(dx, flat.grad(), "input gradients of sorted and looped experts");
  require_equal(dw, parameters["htoh4.weight"].grad(), "weight gradients of sorted and looped experts");
  results.push_back(compare(
      "loop over tokens' experts", "sorted experts", [&] { step(looped()); }, [&] { step(sorted()); },
      std::min(pairs, 3)));
  std::cout << nlohmann::json{{"threads", threads},     {"batch", batch}, {"tokens", tokens},  {"embed_dim", dim},
                              {"num_experts", experts}, {"top_k", top_k}, {"results", results}}
                   .dump()
            << '\n';
  return 0;
}

}  // namespace
}  // namespace m3vit

int main(int argc, char** argv) { return m3vit::run(argc, argv); }
