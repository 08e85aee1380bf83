#include "core/thin.h"

#include <gtest/gtest.h>

#include <algorithm>

#include "eval_testing.h"

namespace m3vit {

/// bwmorph's documentation, literally: x1 … x8 counter-clockwise from the east.
Grid naive_thin(Grid image) {
  const int height = static_cast<int>(image.size());
  const int width = static_cast<int>(image.front().size());
  for (bool changed = true; changed;) {
    changed = false;
    for (int sub = 0; sub < 2; ++sub) {
      Grid next = image;
      for (int y = 0; y < height; ++y) {
        for (int x = 0; x < width; ++x) {
          if (at(image, y, x) == 0) continue;
          const int n[10] = {0,
                             at(image, y, x + 1),
                             at(image, y - 1, x + 1),
                             at(image, y - 1, x),
                             at(image, y - 1, x - 1),
                             at(image, y, x - 1),
                             at(image, y + 1, x - 1),
                             at(image, y + 1, x),
                             at(image, y + 1, x + 1),
                             at(image, y, x + 1)};
          int crossings = 0;
          int n1 = 0;
          int n2 = 0;
          for (int i = 1; i <= 4; ++i) {
            crossings += n[2 * i - 1] == 0 && (n[2 * i] == 1 || n[2 * i + 1] == 1);
            n1 += n[2 * i - 1] | n[2 * i];
            n2 += n[2 * i] | n[2 * i + 1];
          }
          const int least = std::min(n1, n2);
          const int side = sub == 0 ? (n[2] | n[3] | (1 - n[8])) & n[1] : (n[6] | n[7] | (1 - n[4])) & n[5];
          if (crossings == 1 && least >= 2 && least <= 3 && side == 0) {
            next[static_cast<std::size_t>(y)][static_cast<std::size_t>(x)] = 0;
            changed = true;
          }
        }
      }
      image = next;
    }
  }
  return image;
}

namespace {

int components(Grid g) {
  const int height = static_cast<int>(g.size());
  const int width = static_cast<int>(g.front().size());
  int count = 0;
  for (int y = 0; y < height; ++y) {
    for (int x = 0; x < width; ++x) {
      if (at(g, y, x) == 0) continue;
      ++count;
      std::vector<std::pair<int, int>> stack{{y, x}};
      g[static_cast<std::size_t>(y)][static_cast<std::size_t>(x)] = 0;
      while (!stack.empty()) {
        const auto [cy, cx] = stack.back();
        stack.pop_back();
        for (int dy = -1; dy <= 1; ++dy) {
          for (int dx = -1; dx <= 1; ++dx) {
            if (at(g, cy + dy, cx + dx) == 0) continue;
            g[static_cast<std::size_t>(cy + dy)][static_cast<std::size_t>(cx + dx)] = 0;
            stack.emplace_back(cy + dy, cx + dx);
          }
        }
      }
    }
  }
  return count;
}

TEST(Thin, ReproducesTheExampleOfScikitImagesDocumentation) {
  Bitmap image = bitmap_of({{0, 1, 0, 0, 0, 0, 0},
                            {0, 0, 1, 1, 1, 0, 0},
                            {0, 0, 1, 1, 1, 0, 0},
                            {0, 0, 1, 1, 1, 0, 0},
                            {0, 0, 1, 1, 1, 0, 0},
                            {0, 0, 1, 1, 1, 0, 0},
                            {0, 0, 0, 0, 0, 0, 0}});
  thin(image);
  EXPECT_EQ(grid_of(image), (Grid{{0, 1, 0, 0, 0, 0, 0},
                                  {0, 0, 1, 0, 0, 0, 0},
                                  {0, 0, 0, 1, 0, 0, 0},
                                  {0, 0, 0, 1, 0, 0, 0},
                                  {0, 0, 0, 1, 0, 0, 0},
                                  {0, 0, 0, 0, 0, 0, 0},
                                  {0, 0, 0, 0, 0, 0, 0}}));
}

TEST(Thin, EqualsThePixelByPixelDefinitionOnRandomImagesOfEveryWordWidth) {
  Rng rng(1);
  for (const int width : {1, 2, 3, 31, 63, 64, 65, 127, 128, 130}) {
    for (const int height : {1, 2, 17}) {
      for (const double density : {0.1, 0.5, 0.8, 0.97, 1.0}) {
        const Grid grid = random_grid(rng, height, width, density);
        Bitmap image = bitmap_of(grid);
        thin(image);
        ASSERT_EQ(grid_of(image), naive_thin(grid)) << height << "×" << width << " density " << density;
      }
    }
  }
}

TEST(Thin, EqualsTheDefinitionOnLargeBlobsThatNeedManyRounds) {
  Rng rng(2);
  Grid grid(90, std::vector<int>(150));
  for (int blob = 0; blob < 6; ++blob) {
    const double cy = rng.uniform(0, 90), cx = rng.uniform(0, 150), r = rng.uniform(8, 35);
    for (int y = 0; y < 90; ++y) {
      for (int x = 0; x < 150; ++x) {
        if (std::hypot(y - cy, x - cx) < r) grid[static_cast<std::size_t>(y)][static_cast<std::size_t>(x)] = 1;
      }
    }
  }
  Bitmap image = bitmap_of(grid);
  thin(image);
  EXPECT_EQ(grid_of(image), naive_thin(grid));
}

TEST(Thin, KeepsConnectedComponentsRemovesOnlyPixelsAndIsIdempotent) {
  Rng rng(3);
  for (int round = 0; round < 30; ++round) {
    const Grid grid = random_grid(rng, 20, 70, rng.uniform(0.05, 0.9));
    Bitmap once = bitmap_of(grid);
    thin(once);
    EXPECT_EQ(components(grid_of(once)), components(grid));
    Bitmap outside = once;
    outside.subtract(bitmap_of(grid));
    EXPECT_EQ(outside.count(), 0);
    Bitmap twice = once;
    thin(twice);
    EXPECT_EQ(twice, once);
  }
}

TEST(Thin, LeavesAOnePixelLineAndAnEmptyImageAlone) {
  Bitmap line(9, 100);
  for (int x = 0; x < 100; ++x) line.set(4, x);
  Bitmap copy = line;
  thin(copy);
  EXPECT_EQ(copy, line);
  Bitmap empty(0, 0);
  thin(empty);
  EXPECT_EQ(empty.count(), 0);
}

}  // namespace
}  // namespace m3vit
