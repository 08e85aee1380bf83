#pragma once
/// The one configuration (docs/formats.md): the same object from YAML to C++ to every file's metadata.
/// Each struct lists its keys once, in `visit`; reading, writing, override, unknown-key check and the documentation of
/// defaults all walk that list. This header needs no YAML and no torch; core/config_yaml.h reads files.
#include <array>
#include <cstdint>
#include <map>
#include <nlohmann/json_fwd.hpp>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "core/tasks.h"

namespace m3vit {

enum class Gate { kMulti, kTaskConditioned, kShared };          // multi | task_conditioned | shared
enum class Optimizer { kSgd, kAdamw };                          // sgd | adamw
enum class Schedule { kPoly, kCosine, kConstant };              // poly | cosine | constant
enum class Sharing { kShared, kCrossStitch, kNddrCnn, kMtan };  // shared | cross_stitch | nddr_cnn | mtan
enum class TaskMode { kJoint, kOneByOne };                      // joint | one_by_one
/// fixed | uncertainty | dwa | gradnorm | mgda | pcgrad | cagrad | famo | nash_mtl | aligned_mtl
enum class Weighting { kFixed, kUncertainty, kDwa, kGradnorm, kMgda, kPcgrad, kCagrad, kFamo, kNashMtl, kAlignedMtl };
/// Whose transforms and scores (docs/metrics.md): the survey's and M³ViT's, ATRC's and InvPT's, or MTAN's.
enum class Protocol { kSurvey, kAtrc, kMtan };  // S | A | MTAN
/// Reader, thresholds, radius and truth of the boundary benchmark as one published script has them; custom: the keys.
enum class EdgeSetting { kCustom, kSurvey, kAstmt, kBdetPascal, kBdetNyud };
/// Which predictions go through 8-bit numbers before they are scored.
enum class EightBit { kEdgeSal, kAll, kNone };  // edge_sal | all | none

/// Mixture-of-experts layer in place of every `every`-th block's MLP (blocks every−1, 2·every−1, …).
struct MoeConfig {
  int every = 2;
  int num_experts = 16;
  int top_k = 4;
  int expert_hidden = 0;  ///< hidden units of one expert; 0: embed_dim (the authors' moe_mlp_ratio 1)
  Gate gate = Gate::kMulti;
  int gate_task_dim = 64;  ///< task_conditioned only
  double noise_std = 0.0;  ///< training noise on logits is N(0, (noise_std/num_experts)²)
  double balance_weight = 0.01;
  int experts_per_task = 0;  ///< 0: every router sees all experts; else task t sees its window of this many
  double prune_below = 0.0;  ///< inference: gate weights under this are dropped (authors: 0.1); 0: off

  template <class Self, class V>
  static void visit(Self& c, V&& v) {
    v("every", c.every);
    v("num_experts", c.num_experts);
    v("top_k", c.top_k);
    v("expert_hidden", c.expert_hidden);
    v("gate", c.gate);
    v("gate_task_dim", c.gate_task_dim);
    v("noise_std", c.noise_std);
    v("balance_weight", c.balance_weight);
    v("experts_per_task", c.experts_per_task);
    v("prune_below", c.prune_below);
  }
};

inline constexpr int kResnetStages = 4;

/// A dilated ResNet (output stride 8) in place of the ViT: the encoder of the convolutional rivals.
struct ResnetConfig {
  int depth = 18;  ///< 18 | 50
  int width = 64;  ///< channels of the first stage; each further stage has twice as many
  Sharing sharing = Sharing::kShared;

  int expansion() const { return depth == 50 ? 4 : 1; }
  int blocks(int stage) const { return depth == 18 ? 2 : stage == 1 ? 4 : stage == 2 ? 6 : 3; }
  int stage_width(int stage) const { return width << stage; }
  int stage_channels(int stage) const { return stage_width(stage) * expansion(); }
  int attention_channels(int stage) const { return stage_channels(stage) / 4; }  ///< mtan: hidden in a mask
  int out_channels() const { return stage_channels(kResnetStages - 1); }

  template <class Self, class V>
  static void visit(Self& c, V&& v) {
    v("depth", c.depth);
    v("width", c.width);
    v("sharing", c.sharing);
  }
};

/// `stages` 3×3 convolutions of `channels`, ×2 between them and after the 1×1: 2^stages = patch_size.
struct HeadConfig {
  int channels = 256;
  int stages = 4;
  template <class Self, class V>
  static void visit(Self& c, V&& v) {
    v("channels", c.channels);
    v("stages", c.stages);
  }
};

struct ModelConfig {
  std::string preset;                     ///< "", or micro | tiny | small | base: fills embed_dim, depth, num_heads …
  std::vector<int> image_size{512, 512};  ///< H, W; multiples of patch_size
  int patch_size = 16;
  int embed_dim = 384;
  int depth = 12;
  int num_heads = 6;
  double mlp_ratio = 4;
  double drop_path = 0.0;
  std::optional<MoeConfig> moe = MoeConfig{};  ///< null: a dense ViT
  std::optional<ResnetConfig> resnet;          ///< not null: a rival; patch_size is then its output stride, 8
  HeadConfig head;
  bool tam = false;  ///< training-only task-affinity modules

  int height() const { return image_size[0]; }
  int width() const { return image_size[1]; }
  int grid_h() const { return height() / patch_size; }
  int grid_w() const { return width() / patch_size; }
  int tokens() const { return grid_h() * grid_w() + 1; }  ///< with CLS
  int mlp_hidden() const { return static_cast<int>(mlp_ratio * embed_dim); }
  int feature_dim() const { return resnet ? resnet->out_channels() : embed_dim; }  ///< channels a head starts from
  int expert_hidden() const { return moe && moe->expert_hidden > 0 ? moe->expert_hidden : embed_dim; }
  bool is_moe(int block) const { return moe && block % moe->every == moe->every - 1; }
  int first_moe_block() const { return moe ? moe->every - 1 : depth; }  ///< blocks before it do not depend on the task

  template <class Self, class V>
  static void visit(Self& c, V&& v) {
    v("preset", c.preset);
    v("image_size", c.image_size);
    v("patch_size", c.patch_size);
    v("embed_dim", c.embed_dim);
    v("depth", c.depth);
    v("num_heads", c.num_heads);
    v("mlp_ratio", c.mlp_ratio);
    v("drop_path", c.drop_path);
    v("moe", c.moe);
    v("resnet", c.resnet);
    v("head", c.head);
    v("tam", c.tam);
  }
};

/// Order of `tasks` = router index.
struct TaskConfig {
  std::string name;  ///< one of core/tasks.h
  int outputs = 0;   ///< head channels; 0: the task's default, or the data set's classes
  double loss_weight = 1.0;
  TaskId id() const { return *find_task(name); }
  template <class Self, class V>
  static void visit(Self& c, V&& v) {
    v("name", c.name);
    v("outputs", c.outputs);
    v("loss_weight", c.loss_weight);
  }
};

/// One split of a data set.
struct SplitConfig {
  std::string split;        ///< "": "train" or "test" ("val" in the published archives) by position
  std::int64_t frames = 0;  ///< rooms: frames an epoch; others: the first N; 0: all (rooms: 1000)
  std::int64_t seed = -1;   ///< rooms: scene seed; −1: 1 for train, 1000003 for test (never shared)
  template <class Self, class V>
  static void visit(Self& c, V&& v) {
    v("split", c.split);
    v("frames", c.frames);
    v("seed", c.seed);
  }
};

/// Training augmentation (model.md, "Losses and recipe").
struct AugmentConfig {
  double flip = 0.5;                    ///< probability of a horizontal flip
  double rotate = 0.0;                  ///< degrees, U(−rotate, rotate)
  std::vector<double> scale{1.0, 1.0};  ///< U(lo, hi) …
  std::vector<double> scales{};         ///< … or one of these, when not empty
  bool divide_depth = true;             ///< depth / scale (geometrically right); false: the authors' behaviour
  double brightness = 0.0;              ///< photometric jitter, U(1−b, 1+b) factor on the image
  template <class Self, class V>
  static void visit(Self& c, V&& v) {
    v("flip", c.flip);
    v("rotate", c.rotate);
    v("scale", c.scale);
    v("scales", c.scales);
    v("divide_depth", c.divide_depth);
    v("brightness", c.brightness);
  }
};

/// What `data.dataset` may be; all but `rooms` lie in a directory, `data.root`.
inline constexpr std::array<std::string_view, 5> kDatasetNames{"rooms", "folder", "nyud", "pascal_context",
                                                               "cityscapes"};

struct DataConfig {
  std::string dataset = "rooms";  ///< one of kDatasetNames
  std::string root;               ///< its directory
  bool fresh = true;              ///< rooms: new scenes every epoch (infinite); false: the same `frames` each epoch
  SplitConfig train;
  SplitConfig test;
  AugmentConfig augment;
  int workers = 2;   ///< loader threads
  int prefetch = 4;  ///< batches made ahead
  template <class Self, class V>
  static void visit(Self& c, V&& v) {
    v("dataset", c.dataset);
    v("root", c.root);
    v("fresh", c.fresh);
    v("train", c.train);
    v("test", c.test);
    v("augment", c.augment);
    v("workers", c.workers);
    v("prefetch", c.prefetch);
  }
};

/// How the tasks' losses become one update (docs/training.md, "Task weighting"). Each loss is first multiplied by its
/// task's loss_weight.
struct WeightingConfig {
  Weighting method = Weighting::kFixed;
  double lr = 0.025;         ///< uncertainty, gradnorm, famo: the weights' own rate
  double temperature = 2.0;  ///< dwa
  double alpha = 1.5;        ///< gradnorm: how strongly slow tasks are favoured
  double c = 0.4;            ///< cagrad: radius around the mean gradient, in its length
  double decay = 1e-5;       ///< famo: decay of the logits
  template <class Self, class V>
  static void visit(Self& c, V&& v) {
    v("method", c.method);
    v("lr", c.lr);
    v("temperature", c.temperature);
    v("alpha", c.alpha);
    v("c", c.c);
    v("decay", c.decay);
  }
};

struct TrainConfig {
  std::int64_t seed = 1;
  int epochs = 100;
  int batch_size = 8;
  int accumulate = 1;  ///< micro-batches a step
  Optimizer optimizer = Optimizer::kSgd;
  double lr = 0.002;
  double momentum = 0.9;  ///< sgd; adamw's beta1
  double beta2 = 0.999;
  double weight_decay = 1e-4;
  Schedule schedule = Schedule::kPoly;
  double poly_power = 0.9;
  double warmup_epochs = 0.0;  ///< linear from 0
  double min_lr = 0.0;         ///< cosine floor
  double clip_norm = 0.0;      ///< global gradient norm; 0: off
  TaskMode mode = TaskMode::kJoint;
  WeightingConfig weighting;
  int conflict_every = 0;       ///< steps between measurements of the tasks' gradient conflict; 0: off
  double ema = 0.0;             ///< decay of the weight average used for eval and export; 0: off
  bool amp = false;             ///< CUDA only
  std::string device = "auto";  ///< auto | cpu | cuda
  int threads = 0;              ///< 0: all cores
  double edge_weight = 0.95;    ///< the loss's fixed w
  int eval_every = 1;           ///< epochs; 0: only at the end
  int save_every = 0;           ///< steps between extra `last` checkpoints; 0: each epoch
  std::string init;             ///< .safetensors to start from; "": random
  template <class Self, class V>
  static void visit(Self& c, V&& v) {
    v("seed", c.seed);
    v("epochs", c.epochs);
    v("batch_size", c.batch_size);
    v("accumulate", c.accumulate);
    v("optimizer", c.optimizer);
    v("lr", c.lr);
    v("momentum", c.momentum);
    v("beta2", c.beta2);
    v("weight_decay", c.weight_decay);
    v("schedule", c.schedule);
    v("poly_power", c.poly_power);
    v("warmup_epochs", c.warmup_epochs);
    v("min_lr", c.min_lr);
    v("clip_norm", c.clip_norm);
    v("mode", c.mode);
    v("weighting", c.weighting);
    v("conflict_every", c.conflict_every);
    v("ema", c.ema);
    v("amp", c.amp);
    v("device", c.device);
    v("threads", c.threads);
    v("edge_weight", c.edge_weight);
    v("eval_every", c.eval_every);
    v("save_every", c.save_every);
    v("init", c.init);
  }
};

struct EvalConfig {
  double edge_max_dist = 0.0075;  ///< matching radius, share of the image diagonal (seism default)
  int edge_thresholds = 99;       ///< k/(n+1)
  bool edge_nms = false;          ///< thin the prediction by non-maximum suppression before thresholding
  EdgeSetting edge_setting = EdgeSetting::kCustom;  ///< another than custom replaces the three keys above
  EightBit eight_bit = EightBit::kEdgeSal;          ///< all: normals too, as the survey's files; none: no rounding
  bool depth_astmt = false;  ///< adds ASTMT's rmse: mean over images, unknown depth counted as 1e-9 m
  bool sal_invpt = false;    ///< adds InvPT's maxF: a second sigmoid on top of the probability
  template <class Self, class V>
  static void visit(Self& c, V&& v) {
    v("edge_max_dist", c.edge_max_dist);
    v("edge_thresholds", c.edge_thresholds);
    v("edge_nms", c.edge_nms);
    v("edge_setting", c.edge_setting);
    v("eight_bit", c.eight_bit);
    v("depth_astmt", c.depth_astmt);
    v("sal_invpt", c.sal_invpt);
  }
};

struct Config {
  Protocol protocol = Protocol::kSurvey;
  ModelConfig model;
  std::vector<TaskConfig> tasks;
  DataConfig data;
  TrainConfig train;
  EvalConfig eval;

  /// Router index of a task, or nullopt when this model does not have it.
  std::optional<int> task_index(std::string_view name) const;

  template <class Self, class V>
  static void visit(Self& c, V&& v) {
    v("protocol", c.protocol);
    v("model", c.model);
    v("tasks", c.tasks);
    v("data", c.data);
    v("train", c.train);
    v("eval", c.eval);
  }
};

/// Where each value of a JSON tree was written, keyed by JSON pointer ("/model/moe/top_k" → "rooms.yaml:7:12").
struct SourceMap {
  std::string file;  ///< used where a pointer has no entry of its own
  std::map<std::string, std::string> places;
  std::string at(const std::string& pointer) const;
};

/// Decodes strictly and validates. Throws Error naming place, key, expectation and nearest valid key for: an unknown
/// key, a wrong type, a value out of range or impossible together (embed_dim % num_heads ≠ 0 …). A `model.preset` is
/// applied first, explicit keys win.
Config config_from_json(const nlohmann::json& json, const SourceMap& source);

/// As config_from_json for text that lies in a file's metadata; `where` names that file.
Config config_from_text(std::string_view json_text, const std::string& where);

/// The resolved configuration; config_from_json(to_json(c)) == c.
nlohmann::json to_json(const Config& config);

/// Range and consistency checks; called by config_from_json, for use on a Config made in code.
void validate(const Config& config, const SourceMap& source);

/// Names accepted by `model.preset`.
std::vector<std::string> preset_names();

}  // namespace m3vit
