#include "data/rooms_render.h"

namespace m3vit::rooms {
namespace {

constexpr int kWallRegion = -1;

const Solid* solid_of(const Scene& s, const Hit& hit) {
  return hit.solid >= 0 ? &s.solids[static_cast<std::size_t>(hit.solid)] : nullptr;
}

Class label_of(const Scene& s, const Hit& hit) {
  const Solid* solid = solid_of(s, hit);
  return solid != nullptr ? s.objects[solid->object].label : Scene::plane_label(-1 - hit.solid);
}

/// Instance for the edge label; all of wall (planes, skirting, pillars) is one.
int region_of(const Scene& s, const Hit& hit) {
  const Class label = label_of(s, hit);
  if (label == Class::kWall) return kWallRegion;
  const Solid* solid = solid_of(s, hit);
  return solid != nullptr ? solid->object : hit.solid;  // floor, ceiling: −3, −4
}

bool is_creased(const Scene& s, const Hit& hit) {
  const Solid* solid = solid_of(s, hit);
  return solid == nullptr || solid->creased;
}

Vec3 crease_normal(const Scene& s, const Surfaces& g, std::size_t i) {
  const Solid* solid = solid_of(s, g.hit[i]);
  if (solid == nullptr || g.surface[i].face == kCurved) return g.normal[i];
  return face_normal(solid->shape, g.surface[i].face);
}

bool boundary(const Scene& s, const Surfaces& g, std::size_t i, std::size_t j) {
  if (g.patch[i] == g.patch[j]) return false;
  const Hit& a = g.hit[i];
  const Hit& b = g.hit[j];
  if (region_of(s, a) != region_of(s, b)) return true;
  if (is_creased(s, a) && is_creased(s, b)) {
    constexpr float kCos40 = 0.766F;
    if (dot(crease_normal(s, g, i), crease_normal(s, g, j)) < kCos40) return true;
  }
  if (a.solid == b.solid) return false;  // one convex solid hides nothing of itself
  const Vec3 step = g.point[j] - g.point[i];
  const float gap = std::min(std::fabs(dot(g.normal[i], step)), std::fabs(dot(g.normal[j], step)));
  return gap > std::max(0.05F, 0.02F * std::min(a.depth, b.depth));
}

/// Thins lines to one pixel: Guo and Hall, "Parallel thinning with two-subiteration algorithms", CACM 1989, until
/// nothing changes. Two passes a round, each deleting all at once what its rule allows.
void thin(ImageF32* edge) {
  const auto h = static_cast<std::size_t>(edge->height);
  const auto w = static_cast<std::size_t>(edge->width) + 2;
  std::vector<std::uint8_t> on((h + 2) * w, 0);  // with a border of zeros
  std::vector<std::size_t> pixels;
  for (std::size_t y = 0; y < h; ++y) {
    for (std::size_t x = 0; x + 2 < w; ++x) {
      if (edge->data[y * (w - 2) + x] == 0) continue;
      on[(y + 1) * w + x + 1] = 1;
      pixels.push_back((y + 1) * w + x + 1);
    }
  }
  std::vector<std::size_t> gone;
  for (bool changed = true; changed;) {
    changed = false;
    for (int pass = 0; pass < 2; ++pass) {
      gone.clear();
      for (const std::size_t i : pixels) {
        if (on[i] == 0) continue;
        const int n = on[i - w];
        const int ne = on[i - w + 1];
        const int e = on[i + 1];
        const int se = on[i + w + 1];
        const int s = on[i + w];
        const int sw = on[i + w - 1];
        const int west = on[i - 1];
        const int nw = on[i - w - 1];
        const int groups =
            ((n ^ 1) & (ne | e)) + ((e ^ 1) & (se | s)) + ((s ^ 1) & (sw | west)) + ((west ^ 1) & (nw | n));
        const int pairs =
            std::min((nw | n) + (ne | e) + (se | s) + (sw | west), (n | ne) + (e | se) + (s | sw) + (west | nw));
        const int keep = pass == 0 ? ((s | sw | (nw ^ 1)) & west) : ((n | ne | (se ^ 1)) & e);
        if (groups == 1 && pairs >= 2 && pairs <= 3 && keep == 0) gone.push_back(i);
      }
      for (const std::size_t i : gone) on[i] = 0;
      changed = changed || !gone.empty();
    }
  }
  for (std::size_t y = 0; y < h; ++y) {
    for (std::size_t x = 0; x + 2 < w; ++x) edge->data[y * (w - 2) + x] = on[(y + 1) * w + x + 1];
  }
}

/// People always; else the one thing that stands out most.
void mark_salient(const Scene& s, const Surfaces& g, const ImageU8& image, ImageF32* sal) {
  struct Stat {
    double count = 0, x = 0, y = 0;
    double color[3] = {0, 0, 0};
  };
  std::vector<Stat> stats(s.objects.size());
  Stat all;
  for (int y = 0; y < g.height; ++y) {
    for (int x = 0; x < g.width; ++x) {
      const Solid* solid = solid_of(s, g.hit[g.index(y, x)]);
      const auto add = [&](Stat* t) {
        t->count += 1;
        t->x += x;
        t->y += y;
        for (int c = 0; c < 3; ++c) t->color[c] += image.at(y, x, c);
      };
      add(&all);
      if (solid != nullptr) add(&stats[solid->object]);
    }
  }
  std::vector<bool> chosen(s.objects.size(), false);
  double best_score = 0;
  std::size_t best = s.objects.size();
  bool person = false;
  for (std::size_t i = 0; i < stats.size(); ++i) {
    const Stat& t = stats[i];
    const double share = t.count / all.count;
    const Class label = s.objects[i].label;
    if (label == Class::kPerson && share > 0.002) {
      chosen[i] = true;
      person = true;
    }
    const bool stuff = label == Class::kWall || label == Class::kWindow || label == Class::kDoor ||
                       label == Class::kCurtain || label == Class::kRug || label == Class::kPerson;
    if (stuff || share < 0.004) continue;
    const double dx = (t.x / t.count - 0.5 * g.width) / g.width;
    const double dy = (t.y / t.count - 0.5 * g.height) / g.height;
    double contrast = 0;
    for (int c = 0; c < 3; ++c) {
      const double d = (t.color[c] / t.count - all.color[c] / all.count) / 255.0;
      contrast += d * d;
    }
    const double score = std::sqrt(share) * std::exp(-(dx * dx + dy * dy) / 0.18) * (0.15 + std::sqrt(contrast));
    if (score > best_score) {
      best_score = score;
      best = i;
    }
  }
  if (!person && best < chosen.size()) chosen[best] = true;
  for (std::size_t i = 0; i < g.hit.size(); ++i) {
    const Solid* solid = solid_of(s, g.hit[i]);
    sal->data[i] = solid != nullptr && chosen[solid->object] ? 1.0F : 0.0F;
  }
}

}  // namespace

ImageF32 edge_map(const Scene& s, const Surfaces& g) {
  ImageF32 edge(g.height, g.width, 1);
  for (int y = 0; y < g.height; ++y) {
    for (int x = 0; x < g.width; ++x) {
      const std::size_t i = g.index(y, x);
      const bool right = x + 1 < g.width && boundary(s, g, i, g.index(y, x + 1));
      const bool below = y + 1 < g.height && boundary(s, g, i, g.index(y + 1, x));
      edge.data[i] = right || below ? 1.0F : 0.0F;
    }
  }
  thin(&edge);
  return edge;
}

void make_labels(const Scene& s, const Surfaces& g, const ImageU8& image, Sample* sample) {
  ImageF32 semseg(g.height, g.width, 1);
  ImageF32 depth(g.height, g.width, 1);
  ImageF32 normals(g.height, g.width, 3);
  ImageF32 parts(g.height, g.width, 1);
  ImageF32 sal(g.height, g.width, 1);
  for (std::size_t i = 0; i < g.hit.size(); ++i) {
    const Solid* solid = solid_of(s, g.hit[i]);
    semseg.data[i] = static_cast<float>(label_of(s, g.hit[i]));
    depth.data[i] = g.hit[i].depth;
    normals.data[3 * i] = dot(g.normal[i], s.camera.right);
    normals.data[3 * i + 1] = dot(g.normal[i], s.camera.up);
    normals.data[3 * i + 2] = dot(g.normal[i], s.camera.back);
    parts.data[i] = solid != nullptr ? static_cast<float>(solid->part) : 0.0F;
  }
  mark_salient(s, g, image, &sal);
  sample->label(TaskId::kSemseg) = std::move(semseg);
  sample->label(TaskId::kDepth) = std::move(depth);
  sample->label(TaskId::kNormals) = std::move(normals);
  sample->label(TaskId::kEdge) = edge_map(s, g);
  sample->label(TaskId::kSal) = std::move(sal);
  sample->label(TaskId::kHumanParts) = std::move(parts);
}

}  // namespace m3vit::rooms
