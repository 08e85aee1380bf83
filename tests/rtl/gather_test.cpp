// Rows of a 3x3 convolution: addresses and zeros against the definition.
#include "gather.h"

#include "rtl/rtl_testing.h"

namespace m3vit::rtl {
namespace {

TEST(Gather, GivesTheNineNeighboursOfEveryPixelOfAnyStrip) {
  for (const std::uint32_t seed : seeds(60)) {
    Random rng(seed);
    Bench<::gather> bench;
    bench.reset();
    for (int op = 0; op < 2; ++op) {
      const int width = static_cast<int>(rng.in(1, 7)), height = static_cast<int>(rng.in(1, 6));
      const int stride = static_cast<int>(rng.in(1, 4)), first = static_cast<int>(rng.in(0, height - 1));
      const int src_first = std::max(0, first - static_cast<int>(rng.in(1, 2)));
      const int src = static_cast<int>(rng.in(0, 500));
      bench->src_i = static_cast<std::uint16_t>(src);
      bench->stride_i = static_cast<std::uint16_t>(stride);
      bench->width_i = static_cast<std::uint16_t>(width);
      bench->height_i = static_cast<std::uint16_t>(height);
      bench->src_first_i = static_cast<std::uint16_t>(src_first);
      bench->first_i = static_cast<std::uint16_t>(first);
      bench->next_i = 0;
      bench->start_i = 1;
      bench.tick();
      bench->start_i = 0;
      for (int i = 0; i < 3; ++i) bench.tick();
      EXPECT_TRUE(bench->ready_o);
      std::int64_t index = 0;
      for (int y = first; y < height; ++y)
        for (int x = 0; x < width; ++x)
          for (int tap = 0; tap < 9; ++tap)
            for (int k = 0; k < stride; ++k, ++index) {
              bench->next_i = 0;
              while (rng.coin(0.3)) bench.tick();
              const int sy = y + tap / 3 - 1, sx = x + tap % 3 - 1;
              const bool outside = sy < 0 || sy >= height || sx < 0 || sx >= width;
              ASSERT_TRUE(same(static_cast<int>(bench->zero_o), int{outside}, bench.cycle(), "zero", index, seed));
              if (!outside) {
                ASSERT_TRUE(same(static_cast<int>(bench->addr_o), src + ((sy - src_first) * width + sx) * stride + k,
                                 bench.cycle(), "address", index, seed));
              }
              bench->next_i = 1;
              bench.tick();
            }
    }
  }
}

}  // namespace
}  // namespace m3vit::rtl
