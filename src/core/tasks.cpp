#include "core/tasks.h"

namespace m3vit {

std::string task_names() {
  std::string all;
  for (const TaskSpec& t : kTasks) all += (all.empty() ? "" : ", ") + std::string(t.name);
  return all;
}

}  // namespace m3vit
