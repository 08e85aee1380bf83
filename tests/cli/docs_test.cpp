// What the documentation prints must be what the program does.
#include <gtest/gtest.h>

#include <map>
#include <nlohmann/json.hpp>
#include <regex>
#include <sstream>

#include "cli/program.h"
#include "core/config_yaml.h"

namespace m3vit::cli_test {
namespace {

namespace fs = std::filesystem;

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

/// README, CONTRIBUTING … and docs/*.md.
std::vector<fs::path> pages() {
  std::vector<fs::path> all;
  for (const char* folder : {M3VIT_SOURCE_DIR, M3VIT_SOURCE_DIR "/docs"}) {
    for (const auto& entry : fs::directory_iterator(folder)) {
      if (entry.path().extension() == ".md") all.push_back(entry.path());
    }
  }
  return all;
}

TEST(Docs, RelativeLinksLeadSomewhere) {
  const std::regex link(R"(\]\(([^)#\s]+)[^)]*\))");
  for (const fs::path& page : pages()) {
    const std::string text = read_text(page);
    for (std::sregex_iterator it(text.begin(), text.end(), link), end; it != end; ++it) {
      const std::string target = (*it)[1];
      if (target.find("://") != std::string::npos) continue;
      EXPECT_TRUE(fs::exists(page.parent_path() / target)) << page.filename() << " links to " << target;
    }
  }
}

TEST(Docs, CommandsInCodeBlocksUseOptionsThatExist) {
  std::map<std::string, std::string> help;  // by command
  const std::regex option(R"((^|[\s\[(|])(--[a-z][a-z-]*))");
  int commands = 0;
  for (const fs::path& page : pages()) {
    std::istringstream lines(read_text(page));
    bool code = false;
    for (std::string line; std::getline(lines, line);) {
      if (line.starts_with("```")) code = !code;
      if (!code || !line.starts_with("m3vit ")) continue;
      line = line.substr(0, line.find('#'));
      std::istringstream words(line);
      std::string program, command, sub;
      words >> program >> command >> sub;
      if (command.starts_with("m3vit") || command.empty() || command == "COMMAND") continue;
#ifndef M3VIT_WITH_TRAIN
      if (command == "train" || command == "import" || command == "reproduce") continue;
#endif
      const bool nested = command == "data" || command == "accel";
      std::string key = command;
      if (nested) key.append(" ").append(sub);
      if (!help.contains(key)) {
        std::vector<std::string> arguments{command, "--help"};
        if (nested) arguments.insert(arguments.begin() + 1, sub);
        help[key] = run(arguments).out + "--json --help --version";
      }
      EXPECT_NE(help[key].find("m3vit " + key), std::string::npos) << page.filename() << ": no command " << key;
      for (std::sregex_iterator it(line.begin(), line.end(), option), end; it != end; ++it) {
        EXPECT_NE(help[key].find((*it)[2]), std::string::npos) << page.filename() << ": " << line;
      }
      ++commands;
    }
  }
  EXPECT_GT(commands, 20);
}

}  // namespace
}  // namespace m3vit::cli_test
