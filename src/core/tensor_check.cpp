#include "core/tensor_check.h"

#include <functional>
#include <set>

#include "core/json_text.h"
#include "core/model_cost.h"

namespace m3vit {

std::string shape_text(const std::vector<std::int64_t>& shape) {
  std::string text = "[";
  for (const std::int64_t d : shape) text += (text.size() > 1 ? ", " : "") + std::to_string(d);
  return text + "]";
}

std::vector<std::string> tensor_problems(const SafetensorsFile& file, const Config& config) {
  std::vector<std::string> problems;
  std::set<std::string, std::less<>> expected;
  for (const TensorSpec& spec : expected_tensors(config)) {
    expected.insert(spec.name);
    const TensorView* tensor = file.find(spec.name);
    if (tensor == nullptr) {
      problems.push_back("missing " + spec.name + " " + shape_text(spec.shape));
    } else if (tensor->shape != spec.shape) {
      problems.push_back(spec.name + ": want " + shape_text(spec.shape) + ", found " + shape_text(tensor->shape));
    }
  }
  for (const TensorView& tensor : file.tensors()) {
    const bool training_only = tensor.name.starts_with("tam.") || tensor.name.ends_with(".num_batches_tracked");
    if (!training_only && !expected.contains(tensor.name)) problems.push_back("unexpected " + printable(tensor.name));
  }
  return problems;
}

}  // namespace m3vit
