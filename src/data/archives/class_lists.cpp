#include "data/archives/class_lists.h"

#include <algorithm>

namespace m3vit {
namespace {

/// PASCAL-Context's numbers of the names that stand in both lists of the survey's code (db_info/nyu_classes.json and
/// context_classes.json), without "unknown", and of tvmonitor (427). Ascending.
constexpr auto kNormalsValid = std::to_array<std::int16_t>(
    {3,   4,   6,   9,   10,  11,  13,  15,  17,  18,  22,  23,  29,  30,  33,  34,  36,  37,  38,  39,  41,  43,
     46,  49,  50,  51,  53,  55,  56,  59,  61,  62,  65,  66,  68,  69,  72,  73,  78,  83,  84,  85,  87,  88,
     95,  96,  101, 104, 105, 107, 111, 113, 115, 122, 124, 135, 141, 142, 143, 146, 150, 154, 157, 158, 159, 165,
     172, 174, 181, 183, 184, 191, 193, 195, 197, 199, 202, 213, 215, 216, 219, 220, 223, 225, 228, 230, 232, 233,
     238, 239, 242, 243, 246, 250, 251, 252, 255, 260, 261, 263, 269, 272, 273, 275, 281, 283, 284, 285, 286, 287,
     288, 290, 291, 292, 293, 295, 304, 307, 309, 310, 314, 315, 319, 323, 329, 330, 331, 336, 342, 345, 349, 350,
     351, 352, 355, 357, 368, 370, 371, 374, 379, 380, 383, 384, 397, 401, 403, 405, 407, 408, 411, 412, 413, 414,
     417, 419, 421, 423, 427, 429, 430, 432, 440, 441, 442, 443, 444, 446, 454, 457});

template <std::size_t N>
std::vector<std::string> strings(const std::array<std::string_view, N>& names) {
  return {names.begin(), names.end()};
}

}  // namespace

std::vector<std::string> pascal_classes() {
  return strings(std::to_array<std::string_view>(
      {"background", "aeroplane", "bicycle",     "bird",  "boat",        "bottle", "bus",
       "car",        "cat",       "chair",       "cow",   "diningtable", "dog",    "horse",
       "motorbike",  "person",    "pottedplant", "sheep", "sofa",        "train",  "tvmonitor"}));
}

std::vector<std::string> nyud_classes() {
  return strings(std::to_array<std::string_view>({"wall",       "floor",          "cabinet",        "bed",
                                                  "chair",      "sofa",           "table",          "door",
                                                  "window",     "bookshelf",      "picture",        "counter",
                                                  "blinds",     "desk",           "shelves",        "curtain",
                                                  "dresser",    "pillow",         "mirror",         "floor mat",
                                                  "clothes",    "ceiling",        "books",          "refridgerator",
                                                  "television", "paper",          "towel",          "shower curtain",
                                                  "box",        "whiteboard",     "person",         "night stand",
                                                  "toilet",     "sink",           "lamp",           "bathtub",
                                                  "bag",        "otherstructure", "otherfurniture", "otherprop"}));
}

std::vector<std::string> nyud13_classes() {
  return strings(std::to_array<std::string_view>({"bed", "books", "ceiling", "chair", "floor", "furniture", "objects",
                                                  "picture", "sofa", "table", "tv", "wall", "window"}));
}

std::vector<std::string> cityscapes_classes() {
  return strings(
      std::to_array<std::string_view>({"flat", "construction", "object", "nature", "sky", "human", "vehicle"}));
}

bool pascal_normals_valid(std::int32_t id) {
  return std::binary_search(kNormalsValid.begin(), kNormalsValid.end(), id);
}

}  // namespace m3vit
