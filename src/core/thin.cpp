#include "core/thin.h"

#include <array>

namespace m3vit {
namespace {

using Word = std::uint64_t;

/// Pixels of the word at `p` that the sub-iteration deletes. Neighbours x1 … x8 run counter-clockwise from the east.
Word deletable(const Word* p, std::ptrdiff_t stride, bool second) {
  const auto east = [](const Word* q) { return q[0] >> 1 | q[1] << 63; };
  const auto west = [](const Word* q) { return q[0] << 1 | q[-1] >> 63; };
  const Word* up = p - stride;
  const Word* down = p + stride;
  const Word x1 = east(p), x2 = east(up), x3 = up[0], x4 = west(up);
  const Word x5 = west(p), x6 = west(down), x7 = down[0], x8 = east(down);

  // G1: exactly one of b_i = ¬x_{2i−1} ∧ (x_{2i} ∨ x_{2i+1}): deleting does not change connectivity.
  const Word b1 = ~x1 & (x2 | x3), b2 = ~x3 & (x4 | x5), b3 = ~x5 & (x6 | x7), b4 = ~x7 & (x8 | x1);
  const Word odd = b1 ^ b2 ^ b3 ^ b4;
  const Word pair = (b1 & b2) | (b3 & b4) | ((b1 | b2) & (b3 | b4));
  const Word g1 = odd & ~pair;

  // G2: 2 ≤ min(n1, n2) ≤ 3, where n1 and n2 count neighbours in pairs: no end point, no inner point.
  const auto at_least_two = [](Word a, Word b, Word c, Word d) { return (a & b) | (c & d) | ((a | b) & (c | d)); };
  const Word m1 = x1 | x2, m2 = x3 | x4, m3 = x5 | x6, m4 = x7 | x8;
  const Word n1 = x2 | x3, n2 = x4 | x5, n3 = x6 | x7, n4 = x8 | x1;
  const Word g2 =
      at_least_two(m1, m2, m3, m4) & at_least_two(n1, n2, n3, n4) & ~(m1 & m2 & m3 & m4 & n1 & n2 & n3 & n4);

  // G3: the sides from which this sub-iteration peels.
  const Word g3 = second ? ~((x6 | x7 | ~x4) & x5) : ~((x2 | x3 | ~x8) & x1);
  return p[0] & g1 & g2 & g3;
}

}  // namespace

void thin(Bitmap& image) {
  const std::ptrdiff_t stride = image.stride();
  Word* const first = image.row(0);
  const std::ptrdiff_t end = image.height() > 0 ? image.row(image.height() - 1) - first + image.words() : 0;
  // A word is looked at again only when it or a neighbour changed since the same sub-iteration last saw it. The border
  // words are marked like any other, hold 0 and so are passed over.
  const std::size_t margin = static_cast<std::size_t>(stride) + 1;
  std::array<std::vector<std::uint8_t>, 2> stale;
  for (auto& s : stale) s.assign(static_cast<std::size_t>(end) + 2 * margin, 1);
  struct Change {
    std::ptrdiff_t at;
    Word gone;
  };
  std::vector<Change> changes;
  for (bool changed = true; changed;) {
    changed = false;
    for (const bool second : {false, true}) {
      changes.clear();
      std::uint8_t* flags = stale[second ? 1 : 0].data() + margin;
      for (std::ptrdiff_t i = 0; i < end; ++i) {
        if (flags[i] == 0) continue;
        flags[i] = 0;
        if (first[i] == 0) continue;
        const Word gone = deletable(first + i, stride, second);
        if (gone != 0) changes.push_back({i, gone});
      }
      for (const Change& c : changes) {
        first[c.at] &= ~c.gone;
        for (auto& s : stale) {
          for (const std::ptrdiff_t r : {c.at - stride, c.at, c.at + stride}) {
            std::uint8_t* f = s.data() + margin + r;
            f[-1] = f[0] = f[1] = 1;
          }
        }
      }
      changed = changed || !changes.empty();
    }
  }
}

}  // namespace m3vit
