/// `m3vit run` on raw frames from a pipe, and what it says of its speed.
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/wait.h>

#include <algorithm>
#include <array>
#include <cstdlib>
#include <cstring>
#include <filesystem>

#include "cli/program.h"
#include "core/image_io.h"
#include "core/npy.h"
#include "core/rng.h"

namespace m3vit {
namespace {

namespace fs = std::filesystem;
using cli_test::Outcome;
using cli_test::read_text;
using cli_test::Scratch;
using ::testing::HasSubstr;
using ::testing::Not;

constexpr int kHeight = 32, kWidth = 48;  // the network's size: frames reach it untouched
constexpr std::size_t kFrameBytes = 3U * kHeight * kWidth;

struct RunStream : ::testing::Test {
  Scratch folder;
  std::string model = folder / "model.m3v";
  int frames = 0;

  void SetUp() override {
    cli_test::write_model(folder / "model.safetensors", cli_test::tiny_config());
    ASSERT_EQ(cli_test::run({"export", folder / "model.safetensors", "-o", model}).exit_code, 0);
  }
  /// frames.rgb with `count` frames and the same as pictures 0.png, 1.png …; `height` × `width` each.
  void make_frames(int count, int height = kHeight, int width = kWidth) {
    std::string bytes;
    for (int i = 0; i < count; ++i) {
      ImageU8 image(height, width, 3);
      Rng rng(static_cast<std::uint64_t>(i) + 1);
      for (auto& v : image.data) v = static_cast<std::uint8_t>(rng.below(256));
      write_png(folder / (std::to_string(i) + ".png"), image);
      bytes.append(image.data.begin(), image.data.end());
    }
    cli_test::write_text(folder / "frames.rgb", bytes);
    frames = count;
  }
  /// A shell line with $M3VIT for the program, in the scratch folder.
  Outcome shell(const std::string& line) const {
    cli_test::write_text(folder / "line.sh", "cd '" + folder.path().string() + "'\nM3VIT='" M3VIT_PROGRAM "'\n" + line);
    const int status = std::system(
        ("sh '" + (folder / "line.sh") + "' >'" + (folder / "out.txt") + "' 2>'" + (folder / "err.txt") + "'").c_str());
    Outcome outcome;
    outcome.exit_code = WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
    outcome.out = read_text(folder / "out.txt");
    outcome.err = read_text(folder / "err.txt");
    return outcome;
  }
  /// The head's floats of frame `i` given as a picture.
  std::vector<float> raw(int i, const std::string& task) const {
    const Outcome o = shell("$M3VIT run model.m3v -t " + task + " " + std::to_string(i) + ".png --raw alone.npy -q");
    EXPECT_EQ(o.exit_code, 0) << o.err;
    return read_npy(folder / "alone.npy").data;
  }
  std::vector<float> floats_of(const std::string& name) const {
    const std::string bytes = read_text(folder / name);
    std::vector<float> values(bytes.size() / sizeof(float));
    std::memcpy(values.data(), bytes.data(), values.size() * sizeof(float));
    return values;
  }
};

TEST_F(RunStream, FramesOfAPipeAreWhatTheSamePicturesAre) {
  make_frames(3, 40, 61);
  const Outcome o = shell("cat frames.rgb | $M3VIT run model.m3v - --size 61x40 --task normals --out pipe --json");
  ASSERT_EQ(o.exit_code, 0) << o.err;
  ASSERT_EQ(shell("$M3VIT run model.m3v 0.png 1.png 2.png --task normals --out files -q").exit_code, 0);
  const nlohmann::json j = o.json();
  ASSERT_EQ(j["frames"].size(), 3U);
  EXPECT_EQ(j["frames"][1]["input"], "frame_000001");
  for (const int i : {0, 1, 2}) {
    for (const char* kind : {".png", "_map.png"}) {
      const std::string frame = "pipe/frame_00000" + std::to_string(i) + "_normals" + kind;
      EXPECT_EQ(read_map(folder / frame), read_map(folder / ("files/" + std::to_string(i) + "_normals" + kind)));
    }
  }
}

TEST_F(RunStream, LatenciesAreTheFramesOwn) {
  make_frames(5);
  const Outcome o =
      shell("$M3VIT run model.m3v - --size 48x32 --task-schedule edge,sal,sal --raw r.npy --json <frames.rgb");
  ASSERT_EQ(o.exit_code, 0) << o.err;
  const nlohmann::json j = o.json();
  std::vector<double> sal;
  for (const auto& frame : j["frames"]) {
    if (frame["task"] == "sal") sal.push_back(frame["ms"]);
  }
  std::sort(sal.begin(), sal.end());
  ASSERT_EQ(sal.size(), 3U);
  EXPECT_EQ(j["latency_ms"]["sal"]["p50"], sal[1]);
  EXPECT_EQ(j["latency_ms"]["sal"]["p95"], sal[2]);
  EXPECT_EQ(j["latency_ms"]["sal"]["p99"], sal[2]);
  EXPECT_EQ(j["latency_ms"]["sal"]["frames"], 3);
  EXPECT_EQ(j["latency_ms"]["edge"]["frames"], 2);
  EXPECT_GT(j["fps"], 0.0);
  const Outcome text = shell("$M3VIT run model.m3v - --size 48x32 --task sal --raw r.npy <frames.rgb");
  for (const char* said : {"p50 ms", "p95 ms", "p99 ms", "frames/s", "sal"}) EXPECT_THAT(text.err, HasSubstr(said));
}

TEST_F(RunStream, ScheduleTakesTasksInTurn) {
  make_frames(4);
  const Outcome o = shell(
      "$M3VIT run model.m3v - --size 48x32 --task-schedule semseg,depth,depth --out - --format f32 <frames.rgb >all");
  ASSERT_EQ(o.exit_code, 0) << o.err;
  std::vector<float> want;
  for (const auto& [i, task] : {std::pair{0, "semseg"}, {1, "depth"}, {2, "depth"}, {3, "semseg"}}) {
    const std::vector<float> one = raw(i, task);
    want.insert(want.end(), one.begin(), one.end());
  }
  EXPECT_EQ(floats_of("all"), want);
}

TEST_F(RunStream, TasksOfAFrameAreWhatTheyAreAlone) {
  make_frames(2);
  const Outcome o =
      shell("$M3VIT run model.m3v - --size 48x32 --task semseg,depth,edge --out - --format f32 <frames.rgb >all");
  ASSERT_EQ(o.exit_code, 0) << o.err;
  std::vector<float> want;
  for (const int i : {0, 1}) {
    for (const char* task : {"semseg", "depth", "edge"}) {
      const std::vector<float> one = raw(i, task);
      want.insert(want.end(), one.begin(), one.end());
    }
  }
  EXPECT_EQ(floats_of("all"), want);
  ASSERT_EQ(shell("$M3VIT run model.m3v - --size 48x32 --task semseg,depth,edge --batch 2 --out - --format f32 "
                  "<frames.rgb >together")
                .exit_code,
            0);
  EXPECT_EQ(floats_of("together"), want);
}

TEST_F(RunStream, FramesThatRunTogetherAreWhatTheyAreAlone) {
  make_frames(5);
  const std::string run = "$M3VIT run model.m3v - --size 48x32 --task depth,edge --out - --format f32 <frames.rgb ";
  ASSERT_EQ(shell(run + ">one").exit_code, 0);
  for (const char* batch : {"2", "3", "8"}) {  // 5 frames: a last batch that is not full
    const Outcome o = shell(run + "--batch " + batch + " >together");
    ASSERT_EQ(o.exit_code, 0) << o.err;
    EXPECT_EQ(floats_of("together"), floats_of("one")) << batch;
  }
  const Outcome o = shell("$M3VIT run model.m3v 0.png 1.png 2.png --task depth --batch 2 --raw r.npy --json");
  ASSERT_EQ(o.exit_code, 0) << o.err;
  const nlohmann::json j = o.json();
  EXPECT_EQ(j["batch"], 2);
  ASSERT_EQ(j["frames"].size(), 3U);
  EXPECT_EQ(j["frames"][0]["ms"], j["frames"][1]["ms"]) << "both end with their batch";
  for (const int i : {0, 1, 2})
    EXPECT_EQ(read_npy(folder / ("r_" + std::to_string(i) + ".npy")).data, raw(i, "depth")) << i;
}

TEST_F(RunStream, StandardOutputCarriesPicturesAndClasses) {
  make_frames(2, 40, 61);
  ASSERT_EQ(shell("$M3VIT run model.m3v 0.png 1.png --task semseg --out files -q").exit_code, 0);
  const std::string run = "$M3VIT run model.m3v - --size 61x40 --task semseg --out - <frames.rgb";
  const Outcome colors = shell(run + " >colors");
  EXPECT_EQ(colors.exit_code, 0) << colors.err;
  EXPECT_EQ(shell(run + " --format classes >classes").exit_code, 0);
  std::string want_colors, want_classes;
  for (const char* i : {"0", "1"}) {
    const ImageU8 picture = read_rgb(folder / (std::string("files/") + i + "_semseg.png"));
    want_colors.append(picture.data.begin(), picture.data.end());
    for (const std::uint16_t v : read_map(folder / (std::string("files/") + i + "_semseg_map.png")).data) {
      want_classes += static_cast<char>(v);
    }
  }
  EXPECT_EQ(read_text(folder / "colors"), want_colors);
  EXPECT_EQ(read_text(folder / "classes"), want_classes);

  EXPECT_EQ(shell(run + " --output-size network >small").exit_code, 0);
  EXPECT_EQ(fs::file_size(folder / "small"), 2 * kFrameBytes);
  ASSERT_EQ(shell("$M3VIT run model.m3v - --size 61x40 --task sal --out - --format classes <frames.rgb >sal").exit_code,
            0);
  EXPECT_THAT(read_text(folder / "sal"), ::testing::Each(::testing::AnyOf('\0', '\1')));
}

TEST_F(RunStream, PartialLastFrameIsAnErrorAfterTheWholeOnes) {
  make_frames(3);
  fs::resize_file(folder / "frames.rgb", 2 * kFrameBytes + 100);
  const Outcome o = shell("cat frames.rgb | $M3VIT run model.m3v - --size 48x32 --task depth --out pipe");
  EXPECT_EQ(o.exit_code, 2);
  EXPECT_THAT(o.err, HasSubstr("100: " + std::to_string(kFrameBytes - 100) + " bytes are missing"));
  EXPECT_THAT(o.err, HasSubstr("frame 2"));
  for (const char* frame : {"pipe/frame_000000_depth.png", "pipe/frame_000001_depth_map.png"}) {
    EXPECT_TRUE(fs::exists(folder / frame)) << frame;
  }
  EXPECT_FALSE(fs::exists(folder / "pipe/frame_000002_depth.png"));
  EXPECT_EQ(shell("$M3VIT run model.m3v - --size 48x32 --task depth --out none </dev/null").exit_code, 2);
}

TEST_F(RunStream, InterruptFinishesTheFrameAndEndsWell) {
  make_frames(2);
  // Busy: frames without end. Idle: waiting for one that does not come. Interrupted when the frame `seen` is there.
  for (const auto& [out, feed, seen] : {std::array{"busy", "/dev/zero", "0"}, {"idle", "fifo", "1"}}) {
    const bool idle = std::string(out) == "idle";
    const std::string first = std::string(out) + "/frame_00000" + seen + "_depth.png";
    const Outcome o =
        shell("rm -f pid over\n(until [ -e " + first +
              " ]; do sleep 0.05; ! [ -s pid ] || kill -0 $(cat pid) || exit; done\n" +
              " kill -INT $(cat pid)) 2>watched &\n" +
              (idle ? "mkfifo fifo; (cat frames.rgb; until [ -e over ]; do sleep 0.05; done) >fifo &\n" : "") +
              "export M3VIT; sh -c 'echo $$ >pid; exec \"$M3VIT\" run model.m3v - --size 48x32 --task depth --out " +
              out + "' <" + feed + "\ncode=$?; : >over; wait; exit $code\n");
    EXPECT_EQ(o.exit_code, 0) << o.err;
    EXPECT_THAT(o.err, HasSubstr("interrupted after"));
    int files = 0;
    for (const auto& entry : fs::directory_iterator(folder / out)) {
      const std::string name = entry.path().filename().string();
      EXPECT_THAT(name, Not(HasSubstr("tmp")));
      EXPECT_EQ(read_map(entry.path()).height, kHeight) << name;
      ++files;
    }
    EXPECT_EQ(files % 2, 0) << "a frame is a picture and a map";
    EXPECT_TRUE(!idle || files == 4);
    EXPECT_THAT(o.err, HasSubstr("interrupted after " + std::to_string(files / 2) + " frames"));
  }
}

TEST_F(RunStream, AReaderThatLeavesIsAnError) {
  const Outcome o = shell(
      "($M3VIT run model.m3v - --size 48x32 --task depth --out - </dev/zero; echo \"code $?\" >&2) | head -c 5000 "
      ">/dev/null");
  EXPECT_THAT(o.err, HasSubstr("standard output"));
  EXPECT_THAT(o.err, HasSubstr("code 2"));
}

TEST_F(RunStream, RefusalsSayWhatWouldDo) {
  make_frames(1);
  const auto refused = [&](const std::string& arguments, const std::string& said) {
    const Outcome o = shell("$M3VIT run model.m3v " + arguments + " <frames.rgb");
    EXPECT_EQ(o.exit_code, 2) << arguments;
    EXPECT_THAT(o.err, HasSubstr(said));
    EXPECT_EQ(o.out, "");
  };
  refused("- --task depth --out out", "WIDTHxHEIGHT");
  for (const char* size : {"48", "48x", "x32", "48x32x", "0x5", "-4x5", "99999999x99999999", "network"}) {
    refused(std::string("- --task depth --out out --size ") + size, "WIDTHxHEIGHT");
  }
  refused("0.png --task depth --out out --size 48x32", "INPUT -");
  refused("- 0.png --task depth --out out --size 48x32", "alone");
  refused("- --size 48x32 --out out", "--task-schedule");
  refused("- --size 48x32 --out out --task depth --task-schedule depth", "both");
  refused("- --size 48x32 --out out --task-schedule smell", "semseg, depth");
  refused("- --size 48x32 --out - --task depth --format classes", "one of real numbers");
  refused("- --size 48x32 --out - --task depth --json", "--json");
  refused("- --size 48x32 --out out --task depth --format f32", "--out -");
}

}  // namespace
}  // namespace m3vit
