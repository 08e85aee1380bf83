#include "model/routing.h"

#include <cmath>

namespace m3vit {
namespace {

/// P(token's expert is in the top_k if only its own noise were redrawn), summed over tokens: [width].
torch::Tensor smooth_load(const torch::Tensor& clean, const torch::Tensor& noisy, const torch::Tensor& order,
                          int64_t top_k, double stddev) {
  const torch::Tensor last_in = noisy.gather(1, order.narrow(1, top_k - 1, 1));  // k-th largest
  const torch::Tensor first_out = noisy.gather(1, order.narrow(1, top_k, 1));    // (k+1)-th largest
  // An expert that is in must beat the best one outside; one that is out must beat the last one inside.
  const torch::Tensor threshold = torch::where(noisy > first_out, first_out, last_in);
  const torch::Tensor z = (clean - threshold) / (stddev * std::sqrt(2.0));
  return (0.5 * (1.0 + torch::erf(z))).sum(0);
}

}  // namespace

torch::Tensor top_k_first(const torch::Tensor& values, int64_t k) {
  TORCH_CHECK(values.dim() == 2 && k >= 1 && k <= values.size(1), "top_k_first: want [rows, n >= ", k, "], got ",
              values.sizes());
  const torch::NoGradGuard no_grad;
  torch::Tensor rest = values.detach().clone();
  std::vector<torch::Tensor> chosen;
  for (int64_t i = 0; i < k; ++i) {
    chosen.push_back(rest.argmax(1, /*keepdim=*/true));  // documented to give the first of equal maxima
    if (i + 1 < k) rest.scatter_(1, chosen.back(), -std::numeric_limits<double>::infinity());
  }
  return torch::cat(chosen, 1);
}

torch::Tensor cv_squared(const torch::Tensor& x) {
  if (x.numel() == 1) return torch::zeros({}, x.options());
  return x.var(/*unbiased=*/true) / (x.mean().square() + 1e-10);
}

Routing route(const torch::Tensor& clean, int64_t top_k, double noise_std) {
  TORCH_CHECK(clean.dim() == 2, "route: want logits [tokens, num_experts], got ", clean.sizes());
  const int64_t width = clean.size(1);
  const double stddev = noise_std / static_cast<double>(width);
  const bool noisy = noise_std > 0.0;
  const torch::Tensor logits = noisy ? clean + torch::randn_like(clean) * stddev : clean;
  const torch::Tensor p = logits.softmax(1);
  const torch::Tensor order = top_k_first(p, std::min(top_k + (noisy ? 1 : 0), width));

  Routing r;
  r.indices = order.narrow(1, 0, top_k).contiguous();
  r.weights = p.gather(1, r.indices);
  const torch::Tensor chosen = torch::zeros(p.sizes(), p.options().requires_grad(false)).scatter_(1, r.indices, 1.0);
  const torch::Tensor importance = (p * chosen).sum(0);
  const torch::Tensor count = chosen.sum(0);
  const torch::Tensor load = noisy && top_k < width ? smooth_load(clean, logits, order, top_k, stddev) : count;
  r.balance_loss = cv_squared(importance) + cv_squared(load);
  r.load = count.to(torch::kFloat);
  r.importance = importance.detach().to(torch::kFloat);
  const torch::Tensor q = p.detach();
  r.entropy = -torch::xlogy(q, q).sum(1).mean().to(torch::kFloat);
  return r;
}

}  // namespace m3vit
