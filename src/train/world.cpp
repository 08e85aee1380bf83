#include "train/world.h"

#include <charconv>
#include <chrono>
#include <cstdlib>
#include <optional>

#include "core/error.h"

// M3VIT_GLOO: Gloo's headers are there. USE_C10D_GLOO: libtorch was built with it (its CMake files say so).
#if defined(M3VIT_GLOO) && !defined(USE_C10D_GLOO)
#undef M3VIT_GLOO
#endif
#ifdef M3VIT_GLOO
#include <torch/csrc/distributed/c10d/ProcessGroupGloo.hpp>
#include <torch/csrc/distributed/c10d/TCPStore.hpp>
#endif

namespace m3vit {
namespace {

using torch::Tensor;

constexpr std::int64_t kBucketBytes = 25LL << 20;
#ifdef M3VIT_GLOO
constexpr std::chrono::minutes kToAssemble{5};
/// A rank that dies is noticed at once by its closed connection; this bounds the silence while rank 0 evaluates.
constexpr std::chrono::hours kForAMessage{24};
#endif

/// The first of these variables that is set.
std::optional<int> number(std::initializer_list<const char*> names, int low, int high) {
  for (const char* name : names) {
    const char* text = std::getenv(name);
    if (text == nullptr || *text == '\0') continue;
    int value = 0;
    const std::string_view all(text);
    const auto [end, error] = std::from_chars(all.data(), all.data() + all.size(), value);
    if (error != std::errc{} || end != all.data() + all.size() || value < low || value > high) {
      throw Error{{.where = "environment",
                   .field = name,
                   .wanted = std::to_string(low) + " … " + std::to_string(high),
                   .found = text}};
    }
    return value;
  }
  return std::nullopt;
}

}  // namespace

Rank launched_rank() {
  constexpr int kMany = 1 << 20;
  Rank r;
  r.size = number({"WORLD_SIZE", "OMPI_COMM_WORLD_SIZE", "PMI_SIZE"}, 1, kMany).value_or(1);
  const std::optional<int> rank = number({"RANK", "OMPI_COMM_WORLD_RANK", "PMI_RANK"}, 0, r.size - 1);
  if (r.size > 1 && !rank) {
    throw Error{{.where = "environment",
                 .field = "RANK",
                 .wanted = "this process's number, as WORLD_SIZE says there are " + std::to_string(r.size),
                 .found = "nothing"}};
  }
  r.rank = rank.value_or(0);
  r.local_size =
      number({"LOCAL_WORLD_SIZE", "OMPI_COMM_WORLD_LOCAL_SIZE", "MPI_LOCALNRANKS"}, 1, kMany).value_or(r.size);
  if (const char* address = std::getenv("MASTER_ADDR"); address != nullptr && *address != '\0') r.address = address;
  r.port = number({"MASTER_PORT"}, 1, 65535).value_or(r.port);
  return r;
}

#ifdef M3VIT_GLOO

bool has_gloo() { return true; }

struct World::Group {
  explicit Group(const Rank& rank) {
    c10d::TCPStoreOptions options;
    options.port = static_cast<std::uint16_t>(rank.port);
    options.isServer = rank.rank == 0;
    options.numWorkers = static_cast<std::size_t>(rank.size);
    options.timeout = kToAssemble;
    store = c10::make_intrusive<c10d::TCPStore>(rank.address, options);
    auto gloo_options = c10d::ProcessGroupGloo::Options::create(kForAMessage);
    gloo_options->devices.push_back(rank.local_size == rank.size
                                        ? c10d::ProcessGroupGloo::createDeviceForHostname("127.0.0.1")
                                        : c10d::ProcessGroupGloo::createDefaultDevice());
    gloo_options->threads = 2;
    gloo = c10::make_intrusive<c10d::ProcessGroupGloo>(store, rank.rank, rank.size, gloo_options);
  }
  void sum(Tensor& flat) {
    std::vector<Tensor> one{flat};
    gloo->allreduce(one)->wait();
  }
  void broadcast(Tensor& flat) {
    std::vector<Tensor> one{flat};
    gloo->broadcast(one)->wait();
  }
  c10::intrusive_ptr<c10d::Store> store;
  c10::intrusive_ptr<c10d::ProcessGroupGloo> gloo;
};

#else

bool has_gloo() { return false; }

struct World::Group {
  explicit Group(const Rank& rank) {
    throw Error{{.where = "environment",
                 .field = "WORLD_SIZE",
                 .wanted = "1, as this build has no Gloo",
                 .found = std::to_string(rank.size),
                 .hint = "install libgloo-dev and configure again"}};
  }
  void sum(Tensor&) {}
  void broadcast(Tensor&) {}
};

#endif

World::World(const Rank& rank) : rank_(rank) {
  if (rank_.size > 1) group_ = std::make_unique<Group>(rank_);
}

World::~World() = default;

/// Packs tensors of one kind into flat CPU buffers, sends each, unpacks it.
template <class Message>
void World::in_buckets(const std::vector<Tensor>& tensors, const Message& message) {
  if (!group_) return;
  const torch::NoGradGuard no_grad;
  for (std::size_t begin = 0; begin < tensors.size();) {
    const auto kind = tensors[begin].scalar_type();
    std::vector<Tensor> parts;
    std::int64_t bytes = 0;
    std::size_t end = begin;
    for (; end < tensors.size() && tensors[end].scalar_type() == kind; ++end) {
      bytes += static_cast<std::int64_t>(tensors[end].nbytes());
      if (end > begin && bytes > kBucketBytes) break;
      parts.push_back(tensors[end].reshape({-1}));
    }
    Tensor flat = torch::cat(parts).to(torch::kCPU).contiguous();
    message(flat);
    std::int64_t at = 0;
    for (std::size_t i = begin; i < end; ++i) {
      tensors[i].copy_(flat.narrow(0, at, tensors[i].numel()).view(tensors[i].sizes()));
      at += tensors[i].numel();
    }
    begin = end;
  }
}

void World::sum(const std::vector<Tensor>& tensors) {
  in_buckets(tensors, [this](Tensor& flat) { group_->sum(flat); });
}

void World::sum(std::vector<double>& values) {
  if (!group_ || values.empty()) return;
  Tensor flat = torch::from_blob(values.data(), {static_cast<std::int64_t>(values.size())}, torch::kDouble);
  group_->sum(flat);
}

void World::copy_from_first(const std::vector<Tensor>& tensors) {
  in_buckets(tensors, [this](Tensor& flat) { group_->broadcast(flat); });
}

bool World::any(bool value) {
  std::vector<double> flag{value ? 1.0 : 0.0};
  sum(flag);
  return flag[0] > 0;
}

void sum_gradients(const torch::nn::Module& network, World& world) {
  if (world.size() == 1) return;
  std::vector<torch::Tensor> parameters = network.parameters();
  std::vector<double> used;
  for (const torch::Tensor& p : parameters) used.push_back(p.grad().defined() ? 1 : 0);
  world.sum(used);
  std::vector<torch::Tensor> gradients;
  for (std::size_t i = 0; i < parameters.size(); ++i) {
    if (used[i] == 0) continue;
    if (!parameters[i].grad().defined()) parameters[i].mutable_grad() = torch::zeros_like(parameters[i]);
    gradients.push_back(parameters[i].grad());
  }
  world.sum(gradients);
}

}  // namespace m3vit
