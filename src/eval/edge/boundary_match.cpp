#include "eval/edge/boundary_match.h"

#include <algorithm>
#include <cmath>

namespace m3vit {

BoundaryMatcher::BoundaryMatcher(const Bitmap& truth, double max_distance)
    : height_(truth.height()),
      width_(truth.width()),
      mate_of_pixel_(static_cast<std::size_t>(truth.height()) * static_cast<std::size_t>(truth.width()), -1) {
  assert(max_distance >= 0);
  truth.for_each([&](int y, int x) { truth_.push_back({y, x}); });
  mate_.assign(truth_.size(), -1);
  const double squared = max_distance * max_distance;
  const int radius = std::min(static_cast<int>(max_distance), std::max(height_, width_));
  for (int dy = -radius; dy <= radius; ++dy) {
    int half = 0;
    while (half < width_ && static_cast<double>(dy) * dy + (half + 1.0) * (half + 1.0) <= squared) ++half;
    half_width_.push_back(half);
    for (int dx = -half; dx <= half; ++dx) by_distance_.push_back({dy, dx});
  }
  std::stable_sort(by_distance_.begin(), by_distance_.end(),
                   [](Pixel a, Pixel b) { return a.y * a.y + a.x * a.x < b.y * b.y + b.x * b.x; });
}

/// A set pixel within the radius of `centre`, as y·width + x, or −1.
int BoundaryMatcher::first_near(const Bitmap& bits, Pixel centre) const {
  const int radius = static_cast<int>(half_width_.size()) / 2;
  const int top = std::max(centre.y - radius, 0);
  const int bottom = std::min(centre.y + radius, height_ - 1);
  for (int y = top; y <= bottom; ++y) {
    const int half = half_width_[static_cast<std::size_t>(y - centre.y + radius)];
    const int right = std::min(centre.x + half, width_ - 1);
    const std::uint64_t* row = bits.row(y);
    for (int x = std::max(centre.x - half, 0); x <= right; x += 64) {
      const int shift = x & 63;
      std::uint64_t window = row[x >> 6] >> shift;
      if (shift != 0) window |= row[(x >> 6) + 1] << (64 - shift);
      const int length = right - x + 1;
      if (length < 64) window &= (std::uint64_t{1} << length) - 1;
      if (window != 0) return y * width_ + x + std::countr_zero(window);
    }
  }
  return -1;
}

void BoundaryMatcher::pair_up(int truth, int pixel) {
  mate_[static_cast<std::size_t>(truth)] = pixel;
  mate_of_pixel_[static_cast<std::size_t>(pixel)] = truth;
}

void BoundaryMatcher::keep_valid_pairs(const Bitmap& prediction, bool from_scratch) {
  free_ = prediction;
  for (int& pixel : mate_) {
    if (pixel < 0) continue;
    const int y = pixel / width_;
    const int x = pixel % width_;
    if (!from_scratch && prediction.get(y, x)) {
      free_.clear(y, x);
    } else {
      mate_of_pixel_[static_cast<std::size_t>(pixel)] = -1;
      pixel = -1;
    }
  }
}

/// Greedy start: the closest free pairs first.
void BoundaryMatcher::pair_closest() {
  waiting_.clear();
  std::vector<int> hungry;
  for (std::size_t t = 0; t < truth_.size(); ++t) {
    if (mate_[t] >= 0) continue;
    if (first_near(free_, truth_[t]) >= 0) {
      hungry.push_back(static_cast<int>(t));
    } else {
      waiting_.push_back(static_cast<int>(t));
    }
  }
  for (const Pixel offset : by_distance_) {
    if (hungry.empty()) break;
    std::erase_if(hungry, [&](int t) {
      const int y = truth_[static_cast<std::size_t>(t)].y + offset.y;
      const int x = truth_[static_cast<std::size_t>(t)].x + offset.x;
      if (y < 0 || y >= height_ || x < 0 || x >= width_ || !free_.get(y, x)) return false;
      free_.clear(y, x);
      pair_up(t, y * width_ + x);
      return true;
    });
  }
  waiting_.insert(waiting_.end(), hungry.begin(), hungry.end());
}

/// Depth-first search for an alternating path from the unpaired truth pixel `root` to an unpaired predicted one; flips
/// it when found. Pixels seen by any search of the round are not tried again.
bool BoundaryMatcher::augment(int root) {
  path_.assign(1, {root, -1});
  bool entered = true;
  while (!path_.empty()) {
    const Pixel here = truth_[static_cast<std::size_t>(path_.back().truth)];
    if (entered) {
      int pixel = first_near(free_, here);
      if (pixel >= 0) {
        free_.clear(pixel / width_, pixel % width_);
        unvisited_.clear(pixel / width_, pixel % width_);
        for (std::size_t i = path_.size(); i-- > 0;) {
          pair_up(path_[i].truth, pixel);
          pixel = path_[i].via;
        }
        return true;
      }
    }
    const int next = first_near(unvisited_, here);
    entered = next >= 0;
    if (entered) {
      unvisited_.clear(next / width_, next % width_);
      path_.push_back({mate_of_pixel_[static_cast<std::size_t>(next)], next});
    } else {
      path_.pop_back();
    }
  }
  return false;
}

std::int64_t BoundaryMatcher::match(const Bitmap& prediction, bool from_scratch) {
  assert(prediction.height() == height_ && prediction.width() == width_);
  keep_valid_pairs(prediction, from_scratch);
  pair_closest();
  // Rounds of disjoint searches (Pothen and Fan 1990) until one finds nothing: the matching is then maximum (Berge).
  for (bool found = true; found && !waiting_.empty();) {
    unvisited_ = prediction;
    found = std::erase_if(waiting_, [this](int t) { return augment(t); }) > 0;
  }
  return truth_pixels() - std::count(mate_.begin(), mate_.end(), -1);
}

Bitmap BoundaryMatcher::matched() const {
  Bitmap paired(height_, width_);
  for (const int pixel : mate_) {
    if (pixel >= 0) paired.set(pixel / width_, pixel % width_);
  }
  return paired;
}

}  // namespace m3vit
