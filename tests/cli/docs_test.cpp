// What the documentation prints must be what the program does.
#include <gtest/gtest.h>

#include <nlohmann/json.hpp>

#include "cli/program.h"
#include "core/config_yaml.h"

namespace m3vit::cli_test {
namespace {

/// The first ```LANGUAGE block of a page.
std::string code_block(const std::string& page, const std::string& language) {
  const std::size_t open = page.find("```" + language + "\n");
  if (open == std::string::npos) return "";
  const std::size_t begin = page.find('\n', open) + 1;
  return page.substr(begin, page.find("```", begin) - begin);
}

std::vector<std::string> pointers(const nlohmann::json& tree) {
  std::vector<std::string> all;
  const nlohmann::json flat = tree.flatten();
  for (const auto& [pointer, value] : flat.items()) all.push_back(pointer);
  return all;
}

TEST(Docs, FormatsListsEveryKeyWithItsDefault) {
  const std::string yaml = code_block(read_text(M3VIT_SOURCE_DIR "/docs/formats.md"), "yaml");
  ASSERT_FALSE(yaml.empty());
  Config defaults;
  defaults.tasks = {{"semseg", 0, 1.0}};
  const Config documented = parse_config(yaml, "docs/formats.md");
  EXPECT_EQ(to_json(documented), to_json(defaults)) << "a documented default is not the program's";
  // parse_config fills what the page leaves out, so the page's own keys are compared too.
  for (const std::string& pointer : pointers(to_json(defaults))) {
    const std::string key = pointer.substr(pointer.rfind('/') + 1);
    if (key.find_first_not_of("0123456789") == std::string::npos) continue;  // list items
    EXPECT_NE(yaml.find(key + ":"), std::string::npos) << pointer << " is not on the page";
  }
}

}  // namespace
}  // namespace m3vit::cli_test
