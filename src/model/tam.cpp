#include "model/tam.h"

#include <algorithm>
#include <string>

namespace m3vit {

torch::nn::Conv2d TamImpl::conv(const std::string& name, int64_t in, int64_t out, int64_t stride) {
  return register_module(name, torch::nn::Conv2d(torch::nn::Conv2dOptions(in, out, 3).stride(stride).padding(1)));
}

torch::nn::BatchNorm2d TamImpl::norm(const std::string& name, int64_t channels) {
  return register_module(name, torch::nn::BatchNorm2d(channels));
}

TamImpl::TamImpl(int64_t channels, const std::vector<TaskConfig>& tasks) {
  const int64_t all = static_cast<int64_t>(tasks.size()) * channels;
  const auto up = [&](const std::string& name) {
    return register_module(name, torch::nn::ConvTranspose2d(
                                     torch::nn::ConvTranspose2dOptions(channels, channels, 3).stride(2).padding(1)));
  };
  conv0_ = conv("conv0", all, channels, 1);
  conv0_bn_ = norm("conv0_bn", channels);
  conv1_ = conv("conv1", channels, channels, 1);
  conv1_bn_ = norm("conv1_bn", channels);
  conv2_ = conv("conv2", all, channels, 1);
  conv2_bn_ = norm("conv2_bn", channels);
  down0_ = conv("down0", channels, channels, 2);
  down0_bn_ = norm("down0_bn", channels);
  down1_ = conv("down1", channels, channels, 2);
  down1_bn_ = norm("down1_bn", channels);
  up0_ = up("up0");
  up0_bn_ = norm("up0_bn", channels);
  up1_ = up("up1");
  up1_bn_ = norm("up1_bn", channels);
  for (const TaskConfig& task : tasks) {
    task_conv_.push_back(conv("conv_" + task.name, all, channels, 1));
    task_bn_.push_back(norm("bn_" + task.name, channels));
    task_out_.push_back(
        register_module("out_" + task.name, torch::nn::Conv2d(torch::nn::Conv2dOptions(channels, task.outputs, 1))));
  }
}

std::vector<torch::Tensor> TamImpl::forward(const std::vector<torch::Tensor>& features) {
  // Balance map B: the first half of the tasks is weighted by B, the others by 1 − B, each half by its mean.
  const torch::Tensor mixed = conv0_bn_(conv0_(torch::cat(features, 1))).relu_();
  const torch::Tensor balance = torch::sigmoid(conv1_bn_(conv1_(mixed)));
  const std::size_t first = std::max<std::size_t>(1, features.size() / 2), rest = features.size() - first;
  std::vector<torch::Tensor> weighted;
  for (std::size_t t = 0; t < features.size(); ++t) {
    weighted.push_back(t < first ? features[t] * balance / static_cast<double>(first)
                                 : features[t] * (1.0 - balance) / static_cast<double>(rest));
  }
  // Affinity map M from an hourglass over the weighted mix; each task's features are raised by it.
  const torch::Tensor full = conv2_bn_(conv2_(torch::cat(weighted, 1))).relu_();
  const torch::Tensor half = down0_bn_(down0_(full)).relu_();
  const torch::Tensor quarter = down1_bn_(down1_(half)).relu_();
  const auto size_of = [](const torch::Tensor& x) { return std::vector<int64_t>{x.size(2), x.size(3)}; };
  const torch::Tensor up = up0_bn_(up0_->forward(quarter, at::IntArrayRef(size_of(half)))).relu_();
  const torch::Tensor affinity = torch::sigmoid(up1_bn_(up1_->forward(up, at::IntArrayRef(size_of(full)))));
  std::vector<torch::Tensor> raised;
  for (const torch::Tensor& f : features) raised.push_back(f * (1.0 + affinity));
  const torch::Tensor all = torch::cat(raised, 1);
  std::vector<torch::Tensor> predictions;
  for (std::size_t t = 0; t < features.size(); ++t) {
    predictions.push_back(task_out_[t](task_bn_[t](task_conv_[t](all)).relu_()));
  }
  return predictions;
}

}  // namespace m3vit
