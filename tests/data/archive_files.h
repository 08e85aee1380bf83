#pragma once
/// Small archives of the published data sets, in every layout, with the samples that their loaders must give back.
/// Pictures are PNG whatever their name says: the reader goes by the first bytes, and PNG keeps every value.
#include <cstdint>
#include <filesystem>
#include <map>
#include <string>
#include <string_view>
#include <vector>

#include "core/image.h"
#include "data/sample.h"

namespace m3vit {

enum class ArchiveKind { kSurvey, kAtrc, kAstmt, kMtan, kPascal, kCityscapes };
inline constexpr ArchiveKind kArchiveKinds[] = {ArchiveKind::kSurvey, ArchiveKind::kAtrc,   ArchiveKind::kAstmt,
                                                ArchiveKind::kMtan,   ArchiveKind::kPascal, ArchiveKind::kCityscapes};
std::string_view archive_kind_name(ArchiveKind kind);
/// The name for data.dataset.
std::string archive_dataset(ArchiveKind kind);

inline constexpr int kArchiveHeight = 12;
inline constexpr int kArchiveWidth = 16;

/// Three frames of train and two of val; in named layouts "a", "b", "c" and "d", "e". The samples by split, edges as
/// training takes them.
std::map<std::string, std::vector<Sample>> write_archive(ArchiveKind kind, const std::filesystem::path& root);

/// MATLAB v5 files through libmatio.
enum class MatClass { kDouble, kSingle, kUint8, kUint16 };
void write_mat(const std::filesystem::path& path, const char* name, const ImageF32& values, MatClass kind,
               bool compressed = true);
void write_mat_text(const std::filesystem::path& path, const char* name, const std::string& text);
/// [height, width, 2] of doubles.
void write_mat_rank3(const std::filesystem::path& path, const char* name, int height, int width);

struct PartOfObject {
  std::string name;
  ImageF32 mask;
};
struct AnnotatedObject {
  int class_index = 15;
  ImageF32 mask{};
  std::vector<PartOfObject> parts{};
};
/// PASCAL-Parts' `anno`. `with_parts` false leaves the fourth field out of every object.
void write_anno(const std::filesystem::path& path, const std::vector<AnnotatedObject>& objects, bool with_parts = true);

void write_text(const std::filesystem::path& path, std::string_view text);

}  // namespace m3vit
