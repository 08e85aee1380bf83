#include <matio.h>
#include <zlib.h>

#include <fstream>
#include <iterator>
#include <stdexcept>

#include "data/archive_files.h"

namespace m3vit {
namespace {

/// MATLAB's order: columns.
template <class T>
std::vector<T> columns_of(const ImageF32& values) {
  std::vector<T> out;
  for (int x = 0; x < values.width; ++x) {
    for (int y = 0; y < values.height; ++y) out.push_back(static_cast<T>(values.at(y, x)));
  }
  return out;
}

template <class T>
matvar_t* matrix(const char* name, const ImageF32& values, matio_classes kind, matio_types type) {
  std::vector<T> data = columns_of<T>(values);
  std::size_t dims[2] = {static_cast<std::size_t>(values.height), static_cast<std::size_t>(values.width)};
  return Mat_VarCreate(name, kind, type, 2, dims, data.data(), 0);
}

matvar_t* text(const char* name, std::string value) {
  std::size_t dims[2] = {1, value.size()};
  return Mat_VarCreate(name, MAT_C_CHAR, MAT_T_UINT8, 2, dims, value.data(), 0);
}

void write(const std::filesystem::path& path, matvar_t* variable, bool compressed) {
  mat_t* mat = Mat_CreateVer(path.c_str(), nullptr, MAT_FT_MAT5);
  if (mat == nullptr || variable == nullptr) throw std::runtime_error("cannot write " + path.string());
  Mat_VarWrite(mat, variable, compressed ? MAT_COMPRESSION_ZLIB : MAT_COMPRESSION_NONE);
  Mat_VarFree(variable);
  Mat_Close(mat);
}

/// The only variable of an uncompressed file as one compressed element, as MATLAB writes them. libmatio 1.5.23 writes
/// compressed structures in structures wrongly, though it reads them.
void compress_as_matlab(const std::filesystem::path& path) {
  constexpr std::size_t kHeader = 128;
  std::ifstream in(path, std::ios::binary);
  const std::string file((std::istreambuf_iterator<char>(in)), std::istreambuf_iterator<char>());
  in.close();
  uLongf length = compressBound(file.size() - kHeader);
  std::string packed(length, '\0');
  if (compress(reinterpret_cast<Bytef*>(packed.data()), &length, reinterpret_cast<const Bytef*>(&file[kHeader]),
               file.size() - kHeader) != Z_OK) {
    throw std::runtime_error("zlib");
  }
  const std::uint32_t tag[2] = {15, static_cast<std::uint32_t>(length)};
  std::ofstream out(path, std::ios::binary);
  out.write(file.data(), kHeader);
  out.write(reinterpret_cast<const char*>(tag), sizeof tag);
  out.write(packed.data(), static_cast<std::streamsize>(length));
}

matvar_t* structure(const char* name, std::size_t columns, std::vector<const char*> fields) {
  std::size_t dims[2] = {1, columns};
  return Mat_VarCreateStruct(name, 2, dims, fields.data(), static_cast<unsigned>(fields.size()));
}

}  // namespace

void write_mat(const std::filesystem::path& path, const char* name, const ImageF32& values, MatClass kind,
               bool compressed) {
  matvar_t* variable = kind == MatClass::kDouble   ? matrix<double>(name, values, MAT_C_DOUBLE, MAT_T_DOUBLE)
                       : kind == MatClass::kSingle ? matrix<float>(name, values, MAT_C_SINGLE, MAT_T_SINGLE)
                       : kind == MatClass::kUint8  ? matrix<std::uint8_t>(name, values, MAT_C_UINT8, MAT_T_UINT8)
                                                   : matrix<std::uint16_t>(name, values, MAT_C_UINT16, MAT_T_UINT16);
  write(path, variable, compressed);
}

void write_mat_text(const std::filesystem::path& path, const char* name, const std::string& value) {
  write(path, text(name, value), false);
}

void write_mat_rank3(const std::filesystem::path& path, const char* name, int height, int width) {
  std::size_t dims[3] = {static_cast<std::size_t>(height), static_cast<std::size_t>(width), 2};
  std::vector<double> data(dims[0] * dims[1] * 2, 1.0);
  write(path, Mat_VarCreate(name, MAT_C_DOUBLE, MAT_T_DOUBLE, 3, dims, data.data(), 0), false);
}

void write_anno(const std::filesystem::path& path, const std::vector<AnnotatedObject>& objects, bool with_parts) {
  std::vector<const char*> fields{"class", "class_ind", "mask"};
  if (with_parts) fields.push_back("parts");
  matvar_t* list = structure("objects", objects.size(), fields);
  for (std::size_t i = 0; i < objects.size(); ++i) {
    const AnnotatedObject& object = objects[i];
    Mat_VarSetStructFieldByName(list, "class", i, text("class", object.class_index == 15 ? "person" : "dog"));
    ImageF32 number(1, 1, 1, static_cast<float>(object.class_index));
    Mat_VarSetStructFieldByName(list, "class_ind", i, matrix<double>("class_ind", number, MAT_C_DOUBLE, MAT_T_DOUBLE));
    Mat_VarSetStructFieldByName(list, "mask", i, matrix<std::uint8_t>("mask", object.mask, MAT_C_UINT8, MAT_T_UINT8));
    if (!with_parts) continue;
    if (object.parts.empty()) {
      std::size_t none[2] = {0, 0};
      Mat_VarSetStructFieldByName(list, "parts", i,
                                  Mat_VarCreate("parts", MAT_C_DOUBLE, MAT_T_DOUBLE, 2, none, nullptr, 0));
      continue;
    }
    matvar_t* parts = structure("parts", object.parts.size(), {"part_name", "mask"});
    for (std::size_t k = 0; k < object.parts.size(); ++k) {
      Mat_VarSetStructFieldByName(parts, "part_name", k, text("part_name", object.parts[k].name));
      Mat_VarSetStructFieldByName(parts, "mask", k,
                                  matrix<std::uint8_t>("mask", object.parts[k].mask, MAT_C_UINT8, MAT_T_UINT8));
    }
    Mat_VarSetStructFieldByName(list, "parts", i, parts);
  }
  matvar_t* anno = structure("anno", 1, {"imname", "objects"});
  Mat_VarSetStructFieldByName(anno, "imname", 0, text("imname", path.stem().string()));
  Mat_VarSetStructFieldByName(anno, "objects", 0, list);
  write(path, anno, false);
  compress_as_matlab(path);
}

}  // namespace m3vit
