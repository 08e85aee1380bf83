#pragma once
/// The processes that train one model together ("ranks"), each on its share of every step's micro-batches.
/// They are told of each other by torchrun's variables (RANK, WORLD_SIZE, LOCAL_WORLD_SIZE, MASTER_ADDR, MASTER_PORT)
/// or by mpirun's (OMPI_COMM_WORLD_RANK, …_SIZE, …_LOCAL_SIZE; PMI_RANK, PMI_SIZE); the messages go through c10d with
/// Gloo.
#include <torch/torch.h>

#include <memory>
#include <string>
#include <vector>

namespace m3vit {

struct Rank {
  int rank = 0, size = 1;
  int local_size = 1;                 ///< processes on this machine, which share its cores
  std::string address = "127.0.0.1";  ///< where rank 0 listens
  int port = 29500;
};

/// What the launcher says; one process alone without a launcher. Throws Error for numbers that make no sense.
Rank launched_rank();

/// Whether this build can train in several processes (it found Gloo's headers).
bool has_gloo();

/// All members are collective: every rank calls the same ones in the same order. With one process they do nothing.
/// A rank that is lost makes the others' next call throw std::runtime_error.
class World {
 public:
  /// Waits until all ranks are there. Throws Error when this build has no Gloo, and std::runtime_error when they do not
  /// come.
  explicit World(const Rank& rank);
  ~World();
  World(const World&) = delete;
  World& operator=(const World&) = delete;

  int rank() const { return rank_.rank; }
  int size() const { return rank_.size; }
  bool first() const { return rank_.rank == 0; }

  /// Adds up over the ranks, in place and bit-equal on all of them: through flat buffers of at most 25 MiB, so that
  /// many small tensors are few messages. Floating-point tensors of any device.
  void sum(const std::vector<torch::Tensor>& tensors);
  void sum(std::vector<double>& values);
  /// Makes every rank's tensors those of rank 0.
  void copy_from_first(const std::vector<torch::Tensor>& tensors);
  /// Whether it is true on any rank.
  bool any(bool value);

 private:
  struct Group;
  template <class Message>
  void in_buckets(const std::vector<torch::Tensor>& tensors, const Message& message);

  Rank rank_;
  std::unique_ptr<Group> group_;
};

/// Adds up all parameters' gradients. A parameter that no rank has a gradient for keeps none: optimizers skip it.
void sum_gradients(const torch::nn::Module& network, World& world);

}  // namespace m3vit
