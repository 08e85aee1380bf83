#include "model/baselines/encoders.h"

#include <string>

namespace m3vit {

namespace nn = torch::nn;
using torch::Tensor;

namespace {

/// Own share of a task at the start of Cross-Stitch and NDDR; the others share the rest (the survey's code).
constexpr double kOwn = 0.9;

double share(int to, int from, int tasks) {
  if (tasks == 1) return 1.0;
  return to == from ? kOwn : (1.0 - kOwn) / (tasks - 1);
}

nn::Sequential conv_bn(int64_t in, int64_t out, int64_t kernel) {
  return nn::Sequential(plain_conv(in, out, kernel), nn::BatchNorm2d(out));
}

}  // namespace

SharedEncoderImpl::SharedEncoderImpl(const ResnetConfig& config) {
  resnet_ = register_module("encoder", Resnet(config));
}

Tensor SharedEncoderImpl::forward(const Tensor& images) { return resnet_(images).unsqueeze(0); }

MixedEncodersImpl::MixedEncodersImpl(const ResnetConfig& config, int num_tasks)
    : nddr_(config.sharing == Sharing::kNddrCnn) {
  nn::ModuleList encoders, fuse;
  for (int t = 0; t < num_tasks; ++t) {
    encoders_.emplace_back(config);
    encoders->push_back(encoders_.back());
  }
  register_module("encoders", encoders);
  for (int s = 0; s < kResnetStages; ++s) {
    const int64_t channels = config.stage_channels(s);
    if (!nddr_) {
      Tensor alpha = torch::empty({num_tasks, num_tasks, channels});
      for (int to = 0; to < num_tasks; ++to) {
        for (int from = 0; from < num_tasks; ++from) alpha[to][from].fill_(share(to, from, num_tasks));
      }
      alpha_.push_back(register_parameter("cross_stitch_" + std::to_string(s), alpha));
      continue;
    }
    fuse_.emplace_back();
    norm_.emplace_back();
    nn::ModuleList convs, norms;
    for (int to = 0; to < num_tasks; ++to) {
      nn::Conv2d conv = plain_conv(num_tasks * channels, channels, 1);
      const torch::NoGradGuard no_grad;
      conv->weight.zero_();
      for (int from = 0; from < num_tasks; ++from) {
        conv->weight.narrow(1, from * channels, channels)
            .copy_((share(to, from, num_tasks) * torch::eye(channels)).reshape({channels, channels, 1, 1}));
      }
      fuse_.back().push_back(conv);
      norm_.back().emplace_back(nn::BatchNorm2dOptions(channels).momentum(0.05));
      convs->push_back(conv);
      norms->push_back(norm_.back().back());
    }
    register_module("nddr_conv_" + std::to_string(s), convs);
    register_module("nddr_bn_" + std::to_string(s), norms);
  }
}

std::vector<Tensor> MixedEncodersImpl::cross_stitch(int stage, const std::vector<Tensor>& maps) {
  // out[to, b, c, h, w] = Σ_from alpha[to, from, c] · maps[from, b, c, h, w]
  const Tensor all = torch::stack(maps);
  return torch::einsum("tfc,fbchw->tbchw", {alpha_[static_cast<std::size_t>(stage)], all}).unbind(0);
}

std::vector<Tensor> MixedEncodersImpl::nddr(int stage, const std::vector<Tensor>& maps) {
  const auto s = static_cast<std::size_t>(stage);
  const Tensor all = torch::cat(maps, 1);
  std::vector<Tensor> result;
  for (std::size_t t = 0; t < maps.size(); ++t) result.push_back(norm_[s][t](fuse_[s][t](all)).relu_());
  return result;
}

Tensor MixedEncodersImpl::forward(const Tensor& images) {
  std::vector<Tensor> maps;
  for (Resnet& encoder : encoders_) maps.push_back(encoder->stem(images));
  for (int s = 0; s < kResnetStages; ++s) {
    for (std::size_t t = 0; t < maps.size(); ++t) maps[t] = encoders_[t]->stage(s, maps[t]);
    maps = nddr_ ? nddr(s, maps) : cross_stitch(s, maps);
  }
  return torch::stack(maps);
}

AttendedEncoderImpl::AttendedEncoderImpl(const ResnetConfig& config, int num_tasks) {
  resnet_ = register_module("encoder", Resnet(config));
  for (int s = 0; s < kResnetStages; ++s) {
    const int64_t channels = config.stage_channels(s), middle = config.attention_channels(s);
    attend_.emplace_back();
    nn::ModuleList attend, refine;
    for (int t = 0; t < num_tasks; ++t) {
      // The stage's shared map beside what this task's branch brings along from the stage before.
      nn::Sequential mask = conv_bn(channels + (s > 0 ? channels : 0), middle, 1);
      mask->push_back(nn::ReLU());
      mask->push_back(plain_conv(middle, channels, 1));
      mask->push_back(nn::BatchNorm2d(channels));
      mask->push_back(nn::Sigmoid());
      attend_.back().push_back(mask);
      attend->push_back(mask);
    }
    register_module("attend_" + std::to_string(s), attend);
    if (s + 1 == kResnetStages) break;
    refine_.emplace_back();
    for (int t = 0; t < num_tasks; ++t) {
      nn::Sequential next = conv_bn(channels, config.stage_channels(s + 1), 3);
      next->push_back(nn::ReLU());
      if (s == 0) next->push_back(nn::MaxPool2d(nn::MaxPool2dOptions(2).stride(2)));
      refine_.back().push_back(next);
      refine->push_back(next);
    }
    register_module("refine_" + std::to_string(s), refine);
  }
}

Tensor AttendedEncoderImpl::forward(const Tensor& images) {
  const std::size_t tasks = attend_.front().size();
  Tensor x = resnet_->stem(images);
  std::vector<Tensor> branch(tasks);
  for (int s = 0; s < kResnetStages; ++s) {
    const auto stage = static_cast<std::size_t>(s);
    const auto [out, before_last] = resnet_->stage_in_two(s, x);
    for (std::size_t t = 0; t < tasks; ++t) {
      const Tensor seen = s == 0 ? before_last : torch::cat({before_last, branch[t]}, 1);
      const Tensor attended = attend_[stage][t]->forward(seen) * out;
      branch[t] = s + 1 == kResnetStages ? attended : refine_[stage][t]->forward(attended);
    }
    x = out;
  }
  return torch::stack(branch);
}

std::shared_ptr<MultiTaskEncoderImpl> make_encoder(const ResnetConfig& config, int num_tasks) {
  switch (config.sharing) {
    case Sharing::kShared:
      return std::make_shared<SharedEncoderImpl>(config);
    case Sharing::kMtan:
      return std::make_shared<AttendedEncoderImpl>(config, num_tasks);
    case Sharing::kCrossStitch:
    case Sharing::kNddrCnn:
      break;
  }
  return std::make_shared<MixedEncodersImpl>(config, num_tasks);
}

}  // namespace m3vit
