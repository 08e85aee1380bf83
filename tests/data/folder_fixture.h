#pragma once
/// A small right `folder` data set on disk, for tests to break.
#include <gmock/gmock.h>

#include <fstream>
#include <string>

#include "core/error.h"
#include "core/image_io.h"
#include "data/folder.h"
#include "data/scratch.h"

namespace m3vit {

class FolderFixture : public testing::Test {
 protected:
  static constexpr int kHeight = 6;
  static constexpr int kWidth = 9;

  /// Frames a, b (train) and c (test), all with semseg, depth and edge.
  void SetUp() override {
    for (const char* folder : {"images", "semseg", "depth", "edge", "normals", "sal", "human_parts", "splits"}) {
      std::filesystem::create_directories(root() / folder);
    }
    text("dataset.yaml", "name: mine\ntasks: [semseg, depth, edge]\nsemseg: {classes: [floor, wall, robot]}\n");
    text("splits/train.txt", "a\nb\n");
    text("splits/test.txt", "c\n");
    for (const std::string id : {"a", "b", "c"}) {
      write_png(root() / "images" / (id + ".png"), ImageU8(kHeight, kWidth, 3, 50));
      write_png(root() / "semseg" / (id + ".png"), ImageU8(kHeight, kWidth, 1, 2));
      write_png(root() / "depth" / (id + ".png"), ImageU16(kHeight, kWidth, 1, 1500));
      write_png(root() / "edge" / (id + ".png"), ImageU8(kHeight, kWidth, 1, 255));
    }
  }

  std::filesystem::path root() const { return scratch_.path(); }
  void text(const std::string& name, const std::string& content) { std::ofstream(root() / name) << content; }
  void remove(const std::string& name) { ASSERT_TRUE(std::filesystem::remove(root() / name)) << name; }
  Folder open(const std::string& split = "train", bool deep = false) const { return Folder(root(), split, 0, deep); }

  /// What the constructor says, or "" when it is content.
  std::string complaint(const std::string& split = "train", bool deep = false) const {
    try {
      open(split, deep);
    } catch (const Error& e) {
      return e.what();
    }
    return "";
  }

 private:
  Scratch scratch_;
};

}  // namespace m3vit
