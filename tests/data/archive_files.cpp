#include "data/archive_files.h"

#include <cmath>
#include <fstream>

#include "core/image_io.h"
#include "core/npy.h"
#include "core/rng.h"

namespace m3vit {
namespace {

namespace fs = std::filesystem;

constexpr int kH = kArchiveHeight;
constexpr int kW = kArchiveWidth;

void save_npy(const fs::path& path, const ImageF32& map, bool with_channel) {
  std::vector<std::int64_t> shape{map.height, map.width};
  if (with_channel || map.channels > 1) shape.push_back(map.channels);
  write_npy(path, shape, map.data);
}

void save_png(const fs::path& path, const ImageF32& values) {
  ImageU8 bytes(values.height, values.width, values.channels);
  for (std::size_t i = 0; i < values.data.size(); ++i) bytes.data[i] = static_cast<std::uint8_t>(values.data[i]);
  write_png(path, bytes);
}

/// Whole numbers from `low` to `high`.
ImageF32 random_numbers(Rng& rng, int channels, int low, int high) {
  ImageF32 map(kH, kW, channels);
  for (float& v : map.data)
    v = static_cast<float>(low + static_cast<int>(rng.below(static_cast<unsigned>(high - low + 1))));
  return map;
}

ImageU8 random_photo(Rng& rng) {
  ImageU8 photo(kH, kW, 3);
  for (auto& v : photo.data) v = static_cast<std::uint8_t>(rng.below(256));
  return photo;
}

ImageF32 random_depth(Rng& rng) {
  ImageF32 map(kH, kW, 1);
  for (float& v : map.data) v = rng.coin(0.2) ? 0.0F : static_cast<float>(rng.uniform(0.5, 10.0));
  return map;
}

void to_unit(ImageF32& normals) {
  for (std::size_t i = 0; i < normals.data.size(); i += 3) {
    float* n = &normals.data[i];
    const float norm = std::hypot(n[0], n[1], n[2]);
    for (int c = 0; c < 3; ++c) n[c] = norm < 0.1F ? 0.0F : n[c] / norm;
  }
}

/// Unit vectors, some of them 0.
ImageF32 random_normals(Rng& rng) {
  ImageF32 map(kH, kW, 3);
  for (std::size_t i = 0; i < map.data.size(); i += 3) {
    if (rng.coin(0.2)) continue;
    for (std::size_t c = 0; c < 3; ++c) map.data[i + c] = static_cast<float>(rng.uniform(0.2, 1.0));
  }
  to_unit(map);
  return map;
}

/// What bytes stand for.
ImageF32 decoded_normals(const ImageF32& bytes) {
  ImageF32 map = bytes;
  for (float& v : map.data) v = 2 * v / 255 - 1;
  to_unit(map);
  return map;
}

ImageF32 relabelled(const ImageF32& stored, float first, float unlabelled) {
  ImageF32 map = stored;
  for (float& v : map.data) v = v == unlabelled ? 255.0F : v - first;
  return map;
}

void write_nyud_frame(ArchiveKind kind, const fs::path& root, Sample& s, Rng& rng) {
  const bool atrc = kind == ArchiveKind::kAtrc;
  const bool astmt = kind == ArchiveKind::kAstmt;
  write_png(root / "images" / (s.id + (atrc ? ".png" : ".jpg")), s.image);
  const ImageF32 classes = random_numbers(rng, 1, 0, 40);
  s.label(TaskId::kSemseg) = relabelled(classes, 1, 0);
  s.label(TaskId::kDepth) = random_depth(rng);
  const ImageF32 edge = random_numbers(rng, 1, 0, 1);
  s.label(TaskId::kEdge) = edge;
  ImageF32 edge_bytes = edge;
  for (float& v : edge_bytes.data) v *= 255;
  if (astmt) {
    write_mat(root / "segmentation" / (s.id + ".mat"), "segmentation", classes, MatClass::kUint8);
    write_mat(root / "depth" / (s.id + ".mat"), "depth", s.label(TaskId::kDepth), MatClass::kSingle);
  } else {
    save_png(root / "segmentation" / (s.id + ".png"), classes);
    save_npy(root / "depth" / (s.id + ".npy"), s.label(TaskId::kDepth), false);
  }
  if (atrc || astmt) {
    const ImageF32 bytes = random_numbers(rng, 3, 0, 255);
    save_png(root / "normals" / (s.id + (atrc ? ".png" : ".jpg")), bytes);
    s.label(TaskId::kNormals) = decoded_normals(bytes);
    save_png(root / "edge" / (s.id + ".png"), edge_bytes);
  } else {
    s.label(TaskId::kNormals) = random_normals(rng);
    save_npy(root / "normals" / (s.id + ".npy"), s.label(TaskId::kNormals), false);
    save_npy(root / "edge" / (s.id + ".npy"), edge, false);
  }
}

void write_mtan_frame(ArchiveKind kind, const fs::path& split, Sample& s, Rng& rng) {
  const bool nyud = kind == ArchiveKind::kMtan;
  ImageF32 photo(kH, kW, 3);
  for (std::size_t i = 0; i < photo.data.size(); ++i) photo.data[i] = static_cast<float>(s.image.data[i]) / 255.0F;
  save_npy(split / "image" / (s.id + ".npy"), photo, false);
  const ImageF32 classes = random_numbers(rng, 1, -1, nyud ? 12 : 6);
  save_npy(split / (nyud ? "label" : "label_7") / (s.id + ".npy"), classes, false);
  s.label(TaskId::kSemseg) = relabelled(classes, 0, -1);
  s.label(TaskId::kDepth) = random_depth(rng);
  save_npy(split / "depth" / (s.id + ".npy"), s.label(TaskId::kDepth), true);
  if (!nyud) return;
  s.label(TaskId::kNormals) = random_normals(rng);
  save_npy(split / "normal" / (s.id + ".npy"), s.label(TaskId::kNormals), false);
}

/// A rectangle of ones.
ImageF32 box(int top, int left, int bottom, int right) {
  ImageF32 mask(kH, kW, 1);
  for (int y = top; y < bottom; ++y) {
    for (int x = left; x < right; ++x) mask.at(y, x) = 1;
  }
  return mask;
}

/// `frame` counts from 0 over both splits; frames 1 and 4 show no person.
void write_pascal_frame(const fs::path& root, Sample& s, int frame, Rng& rng) {
  write_png(root / "JPEGImages" / (s.id + ".jpg"), s.image);
  ImageF32 classes = random_numbers(rng, 1, 0, 21);
  for (float& v : classes.data) v = v == 21 ? 255.0F : v;
  save_png(root / "semseg" / (frame % 2 == 0 ? "VOC12" : "pascal-context") / (s.id + ".png"), classes);
  if (frame == 0) save_png(root / "semseg" / "pascal-context" / (s.id + ".png"), ImageF32(kH, kW, 1, 3));  // not taken
  s.label(TaskId::kSemseg) = classes;

  // Left of column 8 "wall" (440, NYUD has it too), right of it "grass" (187, it has not). The Laplacian marks columns
  // 7 and 8; of a line two pixels wide thinning leaves one.
  ImageF32 label_map(kH, kW, 1, 440);
  for (int y = 0; y < kH; ++y) {
    for (int x = 8; x < kW; ++x) label_map.at(y, x) = 187;
  }
  write_mat(root / "pascal-context" / "trainval" / (s.id + ".mat"), "LabelMap", label_map,
            frame % 2 == 0 ? MatClass::kUint16 : MatClass::kDouble, frame != 2);
  const ImageF32 bytes = random_numbers(rng, 3, 0, 255);
  save_png(root / "normals_distill" / (s.id + ".png"), bytes);
  ImageF32 normals = decoded_normals(bytes);
  for (int y = 0; y < kH; ++y) {
    for (int x = 8; x < kW; ++x) {
      for (int c = 0; c < 3; ++c) normals.at(y, x, c) = 0;
    }
  }
  s.label(TaskId::kNormals) = normals;

  const ImageF32 saliency = random_numbers(rng, 1, 0, 255);
  save_png(root / "sal_distill" / (s.id + ".png"), saliency);
  ImageF32& sal = s.label(TaskId::kSal) = saliency;
  for (float& v : sal.data) v = v / 255.0F > 0.5F ? 1.0F : 0.0F;

  const fs::path parts = root / "human_parts" / (s.id + ".mat");
  ImageF32& human_parts = s.label(TaskId::kHumanParts) = ImageF32(kH, kW, 1, 255);
  const AnnotatedObject dog{.class_index = 12, .mask = box(0, 0, 3, 3), .parts = {{"head", box(0, 0, 2, 2)}}};
  if (frame == 1 || frame == 4) {
    write_anno(parts, {dog});
    return;
  }
  // The arm is painted over the torso; "tail" is no human part and paints background.
  write_anno(parts, {dog,
                     {.class_index = 15,
                      .mask = box(2, 2, 12, 10),
                      .parts = {{"torso", box(4, 2, 8, 8)}, {"luarm", box(4, 6, 8, 8)}, {"tail", box(5, 2, 6, 3)}}},
                     {.class_index = 15, .mask = box(0, 12, 4, 16), .parts = {}},
                     {.class_index = 15, .mask = box(8, 12, 12, 16), .parts = {{"rlleg", box(8, 12, 12, 16)}}}});
  human_parts = ImageF32(kH, kW, 1);
  for (int y = 0; y < kH; ++y) {
    for (int x = 0; x < kW; ++x) {
      if (y >= 4 && y < 8 && x >= 2 && x < 8) human_parts.at(y, x) = x >= 6 ? 3 : 2;
      if (y >= 8 && x >= 12) human_parts.at(y, x) = 6;
    }
  }
  human_parts.at(5, 2) = 0;
}

}  // namespace

std::string_view archive_kind_name(ArchiveKind kind) {
  constexpr std::string_view kNames[] = {"survey", "atrc", "astmt", "mtan", "pascal", "cityscapes"};
  return kNames[static_cast<std::size_t>(kind)];
}

std::string archive_dataset(ArchiveKind kind) {
  return kind == ArchiveKind::kPascal ? "pascal_context" : kind == ArchiveKind::kCityscapes ? "cityscapes" : "nyud";
}

std::map<std::string, std::vector<Sample>> write_archive(ArchiveKind kind, const fs::path& root) {
  Rng rng{77, static_cast<std::uint64_t>(kind)};
  const bool numbered = kind == ArchiveKind::kMtan || kind == ArchiveKind::kCityscapes;
  const bool pascal = kind == ArchiveKind::kPascal;
  std::vector<std::string> folders;
  if (pascal) {
    folders = {"ImageSets/Context",       "JPEGImages",  "semseg/VOC12",    "semseg/pascal-context",
               "pascal-context/trainval", "human_parts", "normals_distill", "sal_distill"};
  } else if (numbered) {
    for (const std::string split : {"train/", "val/"}) {
      for (const std::string folder : {"image", "depth"}) folders.push_back(split + folder);
      folders.push_back(split + (kind == ArchiveKind::kMtan ? "label" : "label_7"));
      if (kind == ArchiveKind::kMtan) folders.push_back(split + "normal");
    }
  } else {
    folders = {"gt_sets", "images", "segmentation", "depth", "normals", "edge"};
  }
  for (const std::string& folder : folders) fs::create_directories(root / folder);

  std::map<std::string, std::vector<Sample>> splits;
  int frame = 0;
  for (const std::string split : {"train", "val"}) {
    std::string list;
    for (int i = 0; i < (split == "train" ? 3 : 2); ++i, ++frame) {
      Sample& s = splits[split].emplace_back();
      s.id = numbered ? std::to_string(i) : std::string(1, static_cast<char>('a' + frame));
      s.image = random_photo(rng);
      if (pascal) {
        write_pascal_frame(root, s, frame, rng);
      } else if (numbered) {
        write_mtan_frame(kind, root / split, s, rng);
      } else {
        write_nyud_frame(kind, root, s, rng);
      }
      list += s.id + "\n";
    }
    if (!numbered) write_text(root / (pascal ? "ImageSets/Context" : "gt_sets") / (split + ".txt"), list);
  }
  return splits;
}

void write_text(const fs::path& path, std::string_view text) { std::ofstream(path, std::ios::binary) << text; }

}  // namespace m3vit
