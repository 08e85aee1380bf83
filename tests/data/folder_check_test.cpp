// What the folder data set finds wrong, and how it says so.
#include "data/folder_fixture.h"
#include "data/folder_spec.h"

namespace m3vit {
namespace {

using testing::AllOf;
using testing::HasSubstr;
using testing::Not;

class FolderCheck : public FolderFixture {};

TEST_F(FolderCheck, RightFolderIsAccepted) {
  EXPECT_EQ(complaint("train", true), "");
  EXPECT_EQ(complaint("test", true), "");
  EXPECT_EQ(open().size(), 2);
  EXPECT_EQ(open().info().name, "mine");
}

TEST_F(FolderCheck, AllProblemsAreListedAtOnce) {
  text("dataset.yaml", "name: mine\ntasks: [semseg, depth, edge, sal]\nsemseg: {classes: [floor, wall], colours: 3}\n");
  text("splits/train.txt", "a\nb\nd\na\n../etc/passwd\n");
  text("images/b.png", "not an image");
  write_png(root() / "semseg" / "a.png", ImageU8(kHeight, kWidth + 1, 1));
  write_png(root() / "depth" / "a.png", ImageU8(kHeight, kWidth, 3));
  const std::string all = complaint();
  EXPECT_THAT(all, HasSubstr("8 problems"));
  EXPECT_THAT(all, AllOf(HasSubstr("dataset.yaml:3:34"), HasSubstr("semseg.colours"), HasSubstr("classes, colors")));
  EXPECT_THAT(all, AllOf(HasSubstr("images/d{.jpg,.jpeg,.png}"), HasSubstr("splits/train.txt:3")));
  EXPECT_THAT(all, AllOf(HasSubstr("train.txt:4"), HasSubstr("'a' again (first in line 1)")));
  EXPECT_THAT(all, AllOf(HasSubstr("train.txt:5"), HasSubstr("'../etc/passwd'")));
  EXPECT_THAT(all, AllOf(HasSubstr("images/b.png"), HasSubstr("JPEG or PNG")));
  EXPECT_THAT(all, AllOf(HasSubstr("semseg/a.png"), HasSubstr("its image's 9x6"), HasSubstr("10x6")));
  EXPECT_THAT(all, AllOf(HasSubstr("depth/a.png"), HasSubstr("1 channel of 8 or 16 bits"), HasSubstr("3 channels")));
  EXPECT_THAT(all, HasSubstr("a label for at least one image of split 'train'"));
}

TEST_F(FolderCheck, LongListsAreCutAndCounted) {
  std::string ids;
  for (int i = 0; i < 300; ++i) ids += "missing" + std::to_string(i) + "\n";
  text("splits/train.txt", ids);
  const std::string all = complaint();
  EXPECT_THAT(all, AllOf(HasSubstr("300 problems"), HasSubstr("missing49{"), HasSubstr("and 250 more")));
  EXPECT_THAT(all, Not(HasSubstr("missing50{")));
}

TEST_F(FolderCheck, ProblemsComeInTheSplitsOrder) {
  std::string ids;
  for (int i = 0; i < 200; ++i) {
    const std::string id = "x" + std::to_string(1000 + i);
    ids += id + "\n";
    text("images/" + id + ".png", "broken");
  }
  text("splits/train.txt", ids);
  const std::string first = complaint();
  EXPECT_LT(first.find("x1000"), first.find("x1049"));
  for (int i = 0; i < 5; ++i) EXPECT_EQ(complaint(), first);
}

TEST_F(FolderCheck, MissingPieces) {
  EXPECT_THAT(complaint("validation"), HasSubstr("splits/validation.txt"));
  EXPECT_THAT(complaint("../train"), HasSubstr("a file name"));
  text("splits/train.txt", "\n \n");
  EXPECT_THAT(complaint(), HasSubstr("at least one ID"));
  remove("dataset.yaml");
  EXPECT_THAT(complaint("test"), HasSubstr("dataset.yaml"));
  try {
    const Folder folder(root() / "nowhere", "train", 0);
    ADD_FAILURE();
  } catch (const Error& e) {
    EXPECT_THAT(e.what(), AllOf(HasSubstr("nowhere"), HasSubstr("a directory")));
  }
}

TEST_F(FolderCheck, SomeLabelsMayBeMissingButNotAll) {
  remove("depth/a.png");
  EXPECT_EQ(complaint(), "");
  const Folder folder = open();
  EXPECT_TRUE(folder.get(0).label(TaskId::kDepth).empty());
  EXPECT_FALSE(folder.get(1).label(TaskId::kDepth).empty());
  remove("depth/b.png");
  EXPECT_THAT(complaint(), AllOf(HasSubstr("1 problem"), HasSubstr("/depth:"), HasSubstr("take depth out of `tasks`")));
}

TEST_F(FolderCheck, FormatOfEachTask) {
  text("dataset.yaml", "tasks: [normals, sal, human_parts, edge]\n");
  for (const std::string task : {"normals", "sal", "human_parts"}) {
    write_png(root() / task / "a.png", ImageU8(kHeight, kWidth, task == "normals" ? 3 : 1));
  }
  EXPECT_EQ(complaint(), "");
  write_png(root() / "normals" / "a.png", ImageU16(kHeight, kWidth, 3));
  EXPECT_EQ(complaint(), "");
  write_png(root() / "normals" / "a.png", ImageU8(kHeight, kWidth, 1));
  write_png(root() / "sal" / "a.png", ImageU16(kHeight, kWidth, 1));
  write_png(root() / "human_parts" / "a.png", ImageU16(kHeight, kWidth, 1));
  write_png(root() / "edge" / "a.png", ImageU8(kHeight, kWidth, 3));
  const std::string all = complaint();
  EXPECT_THAT(all, HasSubstr("4 problems"));
  EXPECT_THAT(all, HasSubstr("normals: want 3 channels of 8 or 16 bits, found 1 channel of 8 bits"));
  EXPECT_THAT(all, HasSubstr("sal: want 1 channel of 8 bits, found 1 channel of 16 bits"));
  EXPECT_THAT(all, HasSubstr("human_parts: want 1 channel of 8 bits, found 1 channel of 16 bits"));
  EXPECT_THAT(all, HasSubstr("edge: want 1 channel of 8 bits, found 3 channels of 8 bits"));
}

TEST_F(FolderCheck, TwoFilesForOneThing) {
  write_png(root() / "images" / "a.jpg.png", ImageU8(2, 2, 3));  // another ID: no problem
  EXPECT_EQ(complaint(), "");
  text("images/a.jpg", "");
  write_png(root() / "edge" / "b_1.png", ImageU8(kHeight, kWidth, 1));
  const std::string all = complaint();
  EXPECT_THAT(all, AllOf(HasSubstr("one image per ID"), HasSubstr("a.png as well")));
  EXPECT_THAT(all, AllOf(HasSubstr("edge/b.png"), HasSubstr("b_1.png as well")));
}

TEST_F(FolderCheck, DeepFindsClassesOutOfRangeAndBrokenPixels) {
  ImageU8 labels(kHeight, kWidth, 1);
  labels.at(4, 7) = 3;
  labels.at(0, 0) = 255;
  write_png(root() / "semseg" / "b.png", labels);
  std::filesystem::resize_file(root() / "images" / "a.png",
                               std::filesystem::file_size(root() / "images" / "a.png") - 20);
  EXPECT_EQ(complaint("train", /*deep=*/false), "");
  const std::string all = complaint("train", /*deep=*/true);
  EXPECT_THAT(all, HasSubstr("2 problems"));
  EXPECT_THAT(all, AllOf(HasSubstr("semseg/b.png"), HasSubstr("0 to 2, or 255"), HasSubstr("3 at x 7, y 4")));
  EXPECT_THAT(all, HasSubstr("images/a.png"));
  try {
    open().get(1);
    ADD_FAILURE();
  } catch (const Error& e) {
    EXPECT_THAT(e.what(), AllOf(HasSubstr("semseg/b.png"), HasSubstr("3 at x 7, y 4")));
  }
}

TEST_F(FolderCheck, FileChangedAfterTheCheckIsAnErrorThatNamesIt) {
  const Folder folder = open();
  write_png(root() / "depth" / "a.png", ImageU16(kHeight + 1, kWidth, 1));
  remove("edge/b.png");
  EXPECT_THAT([&] { folder.get(0); }, testing::ThrowsMessage<Error>(HasSubstr("depth/a.png")));
  EXPECT_THAT([&] { folder.get(1); }, testing::ThrowsMessage<Error>(HasSubstr("edge/b.png")));
}

std::string spec_complaint(const std::string& yaml) {
  Problems problems;
  parse_folder_spec(yaml, "d.yaml", problems);
  try {
    problems.throw_if_any("here");
  } catch (const Error& e) {
    return e.what();
  }
  return "";
}

TEST(FolderSpecCheck, SaysLineAndKey) {
  EXPECT_EQ(spec_complaint("tasks: [depth]\ndepth: {scale: 1.0e-3}\n"), "");
  EXPECT_EQ(spec_complaint("tasks: [human_parts]\n"), "");
  EXPECT_EQ(spec_complaint("tasks: [human_parts]\nhuman_parts: {classes: [background, head, torso, upper_arms, "
                           "lower_arms, upper_legs, lower_legs]}\n"),
            "");
  const std::vector<std::pair<std::string, std::string>> cases{
      {"", "want a map with name, tasks"},
      {"[1, 2]", "d.yaml:1:1: want a map"},
      {"name: x\n", "tasks: want a list of semseg"},
      {"tasks: []\n", "d.yaml:1:8: tasks"},
      {"tasks: depth\n", "found 'depth'"},
      {"tasks:\n- depth\n- dpeth\n", "d.yaml:3:3: tasks: want one of semseg"},
      {"tasks: [depth, depth]\n", "each task once"},
      {"tasks: [depth]\ntaks: [depth]\n",
       "d.yaml:2:1: taks: want name, tasks, semseg, human_parts, depth, found an unknown key (did you mean 'tasks'?)"},
      {"tasks: [depth]\ntasks: [sal]\n", "each key once"},
      {"tasks: [depth]\ndepth: {scale: 0}\n", "d.yaml:2:16: depth.scale"},
      {"tasks: [depth]\ndepth: {scale: -1}\n", "depth.scale"},
      {"tasks: [depth]\ndepth: {scale: .inf}\n", "depth.scale"},
      {"tasks: [depth]\ndepth: {scale: 1mm}\n", "found '1mm'"},
      {"tasks: [depth]\ndepth: 0.001\n", "a map with scale"},
      {"tasks: [depth]\nname: [a]\n", "name: want a name"},
      {"tasks: [semseg]\n", "semseg.classes: want the class names"},
      {"tasks: [semseg]\nsemseg: {classes: []}\n", "1 to 255 names"},
      {"tasks: [semseg]\nsemseg: {classes: [a, a]}\n", "each name once"},
      {"tasks: [semseg]\nsemseg: {classes: [a, [b]]}\n", "want a name"},
      {"tasks: [semseg]\nsemseg: {classes: [a, b], colors: [[0, 0, 0]]}\n", "one [r, g, b] per class (2)"},
      {"tasks: [semseg]\nsemseg: {colors: [[0, 0, 256], [1, 2]], classes: [a, b]}\n", "2 problems"},
      {"tasks: [semseg]\nsemseg: {colors: [[0, 0, 1.5]], classes: [a]}\n", "each 0 to 255"},
      {"tasks: [human_parts]\nhuman_parts: {classes: [a, b]}\n", "exactly [background, head"},
      {"tasks: [semseg]\nsemseg: {classes: [a, \"\xFF\"]}\n", "semseg.classes: want a name"},
      {"tasks: [semseg]\nsemseg: {classes: [\"a\\nb\"]}\n", "semseg.classes: want a name"},
      {"tasks: [depth\n", "d.yaml:2:1: want YAML"},
      {"tasks: *nowhere\n", "want YAML"},
  };
  for (const auto& [yaml, said] : cases) EXPECT_THAT(spec_complaint(yaml), HasSubstr(said)) << yaml;
}

TEST(FolderSpecCheck, SurvivesDeepNesting) {
  EXPECT_THAT(spec_complaint("tasks: " + std::string(100000, '[')), HasSubstr("want YAML"));
}

TEST(FolderSpecCheck, WrittenSpecReadsBackWithoutAName) {
  FolderSpec spec;
  spec.info.tasks = {TaskId::kSal};
  EXPECT_EQ(spec_complaint(folder_spec_yaml(spec)), "");
}

TEST(FolderSpecCheck, WrittenSpecReadsBack) {
  FolderSpec spec;
  spec.info.name = "no: \"quotes\" \xC3\xA9";
  spec.info.tasks = {TaskId::kSemseg, TaskId::kDepth, TaskId::kHumanParts, TaskId::kSal};
  spec.info.classes[static_cast<std::size_t>(TaskId::kSemseg)] = {"no", "null", "~", "3", "a, b", "#x", "{", "a: b"};
  spec.info.classes[static_cast<std::size_t>(TaskId::kHumanParts)].assign(kHumanParts.begin(), kHumanParts.end());
  for (int i = 0; i < 8; ++i) spec.info.semseg_colors.push_back({static_cast<std::uint8_t>(32 * i), 0, 255});
  spec.depth_scale = 1.0 / 3;
  Problems problems;
  const FolderSpec back = parse_folder_spec(folder_spec_yaml(spec), "x", problems);
  problems.throw_if_any("x");
  EXPECT_EQ(back.info.name, spec.info.name);
  EXPECT_EQ(back.info.tasks, spec.info.tasks);
  EXPECT_EQ(back.info.classes, spec.info.classes);
  EXPECT_EQ(back.info.semseg_colors, spec.info.semseg_colors);
  EXPECT_DOUBLE_EQ(back.depth_scale, spec.depth_scale);
}

TEST(FolderSplit, IdsAreFileNamesAndNothingElse) {
  for (const char* good : {"a", "0001", "img 1", "caf\xC3\xA9", "a.b", "2024-01-01_x"}) EXPECT_TRUE(is_safe_id(good));
  for (const char* bad : {"", ".", "..", ".hidden", "a/b", "/etc/passwd", "..\\x", "a..b", "C:x", "a\nb", "\x7F",
                          "\xFF", "\xC0\xAF", "\xE2\x82", "\xED\xA0\x80"}) {
    EXPECT_FALSE(is_safe_id(bad)) << bad;
  }
  EXPECT_TRUE(is_safe_id(std::string(200, 'x')));
  EXPECT_FALSE(is_safe_id(std::string(201, 'x')));
  EXPECT_FALSE(is_safe_id(std::string_view("a\0b", 3)));
}

TEST(FolderSplit, TakesEveryLineEnding) {
  Problems problems;
  const auto entries = parse_split("a\r\n\nb \t\n\r\nc", "s.txt", problems);
  ASSERT_EQ(entries.size(), 3U);
  EXPECT_EQ(entries[0].id, "a");
  EXPECT_EQ(entries[1].id, "b");
  EXPECT_EQ(entries[2].id, "c");
  EXPECT_EQ(entries[2].line, 5);
  EXPECT_EQ(problems.count(), 0U);
}

}  // namespace
}  // namespace m3vit
