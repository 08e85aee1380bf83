/// The accelerator's file: what was written comes back; what was altered does not.
#include <gtest/gtest.h>

#include <cstring>
#include <sstream>

#include "accel/compiler/accel_file.h"
#include "accel/machine_case.h"

namespace m3vit::accel {
namespace {

std::vector<std::byte> written(const Compiled& model) {
  std::ostringstream out;
  write_accel_file(out, model, "test");
  const std::string text = out.str();
  const auto* bytes = reinterpret_cast<const std::byte*>(text.data());
  return {bytes, bytes + text.size()};
}

class AccelFile : public testing::Test {
 protected:
  AccelFile() {
    const QuantisedCase c = quantised_case(naive::random_config(2), 2);
    Array array = small_array(2);
    model_ = compile_for(c.model, array, ExpertMode::kExpert);
    file_ = written(model_);
  }
  Compiled model_;
  std::vector<std::byte> file_;
};

TEST_F(AccelFile, ComesBackAsItWasWritten) {
  const Compiled back = read_accel_file(file_, "test");
  EXPECT_EQ(back.array, model_.array);
  EXPECT_EQ(back.image, model_.image);
  ASSERT_EQ(back.programs.size(), model_.programs.size());
  for (std::size_t i = 0; i < back.programs.size(); ++i) {
    const TaskProgram& a = back.programs[i];
    const TaskProgram& b = model_.programs[i];
    EXPECT_EQ(a.task, b.task);
    EXPECT_EQ(a.scale, b.scale);
    EXPECT_EQ(a.output_pitch, b.output_pitch);
    ASSERT_EQ(a.ops.size(), b.ops.size());
    for (std::size_t j = 0; j < a.ops.size(); ++j) EXPECT_EQ(disassemble(a.ops[j]), disassemble(b.ops[j]));
  }
  EXPECT_EQ(written(back), file_);
}

TEST_F(AccelFile, AnyCutOrFlippedBitIsAnError) {
  for (const std::size_t length :
       {std::size_t{0}, std::size_t{3}, std::size_t{15}, std::size_t{100}, file_.size() - 1}) {
    EXPECT_THROW(read_accel_file(std::span(file_).first(length), "test"), Error) << length;
  }
  Rng rng(1);
  std::uint64_t header = 0;
  std::memcpy(&header, file_.data() + 8, 8);
  const std::size_t image = file_.size() - model_.image.size();
  for (int i = 0; i < 40; ++i) {
    const std::size_t at = i % 2 == 0 ? rng.below(16 + header) : image + rng.below(model_.image.size());
    std::vector<std::byte> damaged = file_;
    damaged[at] ^= static_cast<std::byte>(1U << rng.below(8));
    EXPECT_THROW(read_accel_file(damaged, "test"), Error) << at;
  }
}

}  // namespace
}  // namespace m3vit::accel
