#include "data/dataset.h"

#include <gmock/gmock.h>

#include "core/error.h"
#include "data/folder.h"
#include "data/random_sample.h"
#include "data/scratch.h"

namespace m3vit {
namespace {

using testing::HasSubstr;
using Color = std::array<std::uint8_t, 3>;

Config small_rooms() {
  Config config;
  config.model.image_size = {32, 48};
  config.data.dataset = "rooms";
  return config;
}

TEST(MakeDataset, RoomsComeAtTheModelsSizeWithTheirDefaultFrames) {
  const Config config = small_rooms();
  const auto train = make_dataset(config, Split::kTrain);
  const auto test = make_dataset(config, Split::kTest);
  EXPECT_EQ(train->size(), 1000);
  EXPECT_EQ(test->size(), 200);
  const Sample s = train->get(0);
  EXPECT_EQ(s.image.height, 32);
  EXPECT_EQ(s.image.width, 48);
}

TEST(MakeDataset, RoomsOfTrainAndTestAreDifferentScenes) {
  Config config = small_rooms();
  const Sample train = make_dataset(config, Split::kTrain)->get(0);
  EXPECT_NE(train.image, make_dataset(config, Split::kTest)->get(0).image);
  config.data.test.seed = 1;
  EXPECT_EQ(train.image, make_dataset(config, Split::kTest)->get(0).image);
  config.data.train.seed = 7;
  config.data.train.frames = 12;
  EXPECT_NE(train.image, make_dataset(config, Split::kTrain)->get(0).image);
  EXPECT_EQ(make_dataset(config, Split::kTrain)->size(), 12);
}

TEST(MakeDataset, FolderTakesItsSplitNamesFromTheConfiguration) {
  const Scratch scratch;
  DatasetInfo info;
  info.name = "mine";
  info.tasks = {TaskId::kDepth};
  FolderWriter writer(scratch.path(), info);
  for (std::uint64_t i = 0; i < 3; ++i) writer.add(random_sample(i, 4, 5), i < 2 ? Split::kTrain : Split::kTest);
  writer.finish();
  Config config;
  config.data.dataset = "folder";
  config.data.root = scratch.path().string();
  EXPECT_EQ(make_dataset(config, Split::kTrain)->size(), 2);
  EXPECT_EQ(make_dataset(config, Split::kTest)->size(), 1);
  config.data.test.split = "train";
  EXPECT_EQ(make_dataset(config, Split::kTest)->size(), 2);
  config.data.test.frames = 1;
  EXPECT_EQ(make_dataset(config, Split::kTest)->size(), 1);
}

TEST(MakeDataset, FolderWithoutARootIsAnErrorThatNamesTheKey) {
  Config config;
  config.data.dataset = "folder";
  try {
    make_dataset(config, Split::kTrain);
    ADD_FAILURE();
  } catch (const Error& e) {
    EXPECT_EQ(e.parts().field, "data.root");
  }
  config.data.dataset = "imagenet";
  EXPECT_THROW(make_dataset(config, Split::kTrain), Error);
}

DatasetInfo three_classes() {
  DatasetInfo info;
  info.name = "mine";
  info.tasks = {TaskId::kSemseg, TaskId::kDepth, TaskId::kNormals};
  info.classes[static_cast<std::size_t>(TaskId::kSemseg)] = {"floor", "wall", "robot"};
  return info;
}

TEST(ResolveOutputs, FillsWhatIsLeftOpen) {
  Config config;
  config.tasks = {{.name = "semseg"}, {.name = "normals"}, {.name = "depth"}};
  resolve_outputs(config, three_classes(), "x.yaml");
  EXPECT_EQ(config.tasks[0].outputs, 3);
  EXPECT_EQ(config.tasks[1].outputs, 3);
  EXPECT_EQ(config.tasks[2].outputs, 1);
  resolve_outputs(config, three_classes(), "x.yaml");  // and accepts its own answer
}

TEST(ResolveOutputs, RefusesWhatTheDataCannotGive) {
  const auto message = [](const TaskConfig& task) {
    Config config;
    config.tasks = {task};
    try {
      resolve_outputs(config, three_classes(), "x.yaml");
    } catch (const Error& e) {
      return std::string(e.what());
    }
    return std::string("accepted");
  };
  EXPECT_THAT(message({.name = "semseg", .outputs = 21}),
              AllOf(HasSubstr("x.yaml"), HasSubstr("tasks.0.outputs"), HasSubstr("3"), HasSubstr("21")));
  EXPECT_THAT(message({.name = "sal"}), AllOf(HasSubstr("semseg, depth, normals"), HasSubstr("sal")));
  EXPECT_THAT(message({.name = "depht"}), HasSubstr("depht"));
}

TEST(DefaultPalette, IsPascalVocs) {
  const auto palette = default_palette();
  ASSERT_EQ(palette.size(), 256U);
  EXPECT_EQ(palette[0], (Color{0, 0, 0}));
  EXPECT_EQ(palette[1], (Color{128, 0, 0}));        // aeroplane
  EXPECT_EQ(palette[3], (Color{128, 128, 0}));      // bird
  EXPECT_EQ(palette[15], (Color{192, 128, 128}));   // person
  EXPECT_EQ(palette[20], (Color{0, 64, 128}));      // tvmonitor
  EXPECT_EQ(palette[255], (Color{224, 224, 192}));  // void
}

}  // namespace
}  // namespace m3vit
