#pragma once
/// One-to-one matching of boundary pixels within a distance: the counts behind odsF, oisF and AP.
#include <cstdint>
#include <vector>

#include "core/bitmap.h"

namespace m3vit {

/// Maximum-cardinality matching between the pixels of a fixed truth and of one prediction after another, where a pair
/// may match when its distance is ≤ `max_distance` pixels. The number of matches does not depend on the order of
/// predictions; each search starts from what is left of the matching before, which makes a sweep over thresholds cheap.
/// Among the maximum matchings it prefers close pairs but does not minimise the sum of distances (docs/metrics.md says
/// why the counts still are those of the published assignment).
class BoundaryMatcher {
 public:
  BoundaryMatcher(const Bitmap& truth, double max_distance);

  /// Number of matched pairs. `prediction` has the truth's size. `from_scratch` forgets the earlier matching, so that
  /// `matched` depends on this prediction alone.
  std::int64_t match(const Bitmap& prediction, bool from_scratch = false);
  /// Predicted pixels that the last `match` paired.
  Bitmap matched() const;
  std::int64_t truth_pixels() const { return static_cast<std::int64_t>(truth_.size()); }

 private:
  struct Pixel {
    int y, x;
  };
  struct Step {
    int truth;  ///< index into truth_
    int via;    ///< predicted pixel through which it was reached: its mate so far; −1 for the root
  };

  int first_near(const Bitmap& bits, Pixel centre) const;
  void pair_up(int truth, int pixel);
  void keep_valid_pairs(const Bitmap& prediction, bool from_scratch);
  void pair_closest();
  bool augment(int root);

  int height_, width_;
  std::vector<Pixel> truth_;
  std::vector<int> half_width_;     ///< of the disk's rows −radius … radius
  std::vector<Pixel> by_distance_;  ///< offsets of the disk
  std::vector<int> mate_;           ///< of a truth pixel: y·width + x of the predicted one, or −1
  std::vector<int> mate_of_pixel_;  ///< of a predicted pixel: truth index or −1
  Bitmap free_;                     ///< predicted and unpaired
  Bitmap unvisited_;                ///< predicted and not yet seen in this round
  std::vector<int> waiting_;        ///< unpaired truth pixels that still may find a pair
  std::vector<Step> path_;
};

}  // namespace m3vit
