#include "cli/frame_source.h"

#include <fmt/format.h>
#include <poll.h>
#include <unistd.h>

#include <algorithm>
#include <cctype>
#include <cerrno>
#include <cstring>
#include <filesystem>
#include <set>
#include <string_view>
#include <utility>

#include "cli/commands.h"
#include "core/error.h"
#include "core/image_io.h"
#include "core/npy.h"

namespace m3vit::cli {
namespace {

namespace fs = std::filesystem;

bool has_extension(const fs::path& path, std::initializer_list<std::string_view> list) {
  std::string extension = path.extension().string();
  std::transform(extension.begin(), extension.end(), extension.begin(),
                 [](unsigned char c) { return static_cast<char>(std::tolower(c)); });
  return std::find(list.begin(), list.end(), extension) != list.end();
}

/// Files as given, folders' pictures in name order.
std::vector<fs::path> expand(const std::vector<std::string>& inputs) {
  std::vector<fs::path> files;
  for (const std::string& input : inputs) {
    if (!fs::is_directory(input)) {
      files.emplace_back(input);
      continue;
    }
    std::vector<fs::path> found;
    for (const fs::directory_entry& entry : fs::directory_iterator(input)) {
      if (entry.is_regular_file() && has_extension(entry.path(), {".jpg", ".jpeg", ".png", ".npy"})) {
        found.push_back(entry.path());
      }
    }
    if (found.empty()) {
      throw Error{{.where = input, .wanted = "a folder with .jpg, .png or .npy files", .found = "none"}};
    }
    std::sort(found.begin(), found.end());
    files.insert(files.end(), found.begin(), found.end());
  }
  return files;
}

/// Normalised planes of a `.npy`, checked against the network's size.
std::vector<float> read_planes(const fs::path& path, const Model& model) {
  NpyArray array = read_npy(path);
  const std::vector<std::int64_t> wanted{3, model.height(), model.width()};
  if (array.shape != wanted) {
    throw Error{{.where = path.string(),
                 .field = "shape",
                 .wanted = fmt::format("[{}]", fmt::join(wanted, ", ")),
                 .found = fmt::format("[{}]", fmt::join(array.shape, ", "))}};
  }
  return std::move(array.data);
}

class Files : public FrameSource {
 public:
  Files(const std::vector<fs::path>& files, const Model& model) : model_(model) {
    std::vector<std::string> problems;
    std::set<std::string> names;
    for (const fs::path& path : files) {
      Input input{path, path.stem().string(), has_extension(path, {".npy"})};
      for (int n = 2; !names.insert(input.name).second; ++n) {
        input.name = path.stem().string() + "_" + std::to_string(n);
      }
      try {
        if (input.planes) {
          read_planes(path, model);
        } else {
          read_image_size(path);
        }
      } catch (const Error& e) {
        problems.emplace_back(e.what());
      }
      inputs_.push_back(std::move(input));
    }
    if (problems.empty()) return;
    throw Error{{.where = problems.size() == 1 ? problems.front()
                                               : fmt::format("{} unreadable inputs:\n  {}", problems.size(),
                                                             fmt::join(problems, "\n  "))}};
  }

  bool next(Frame& frame) override {
    if (done_ == inputs_.size() || interrupted()) return false;
    const Input& input = inputs_[done_++];
    frame = {.input = input.path.string(), .name = input.name, .image = {}, .planes = {}};
    if (input.planes) {
      frame.planes = read_planes(input.path, model_);
      frame.height = model_.height();
      frame.width = model_.width();
      return true;
    }
    const ImageU8 image = read_rgb(input.path);
    frame.height = image.height;
    frame.width = image.width;
    frame.image = resize_rgb(image, model_.height(), model_.width());
    return true;
  }
  std::int64_t total() const override { return static_cast<std::int64_t>(inputs_.size()); }

 private:
  struct Input {
    fs::path path;
    std::string name;
    bool planes = false;
  };
  const Model& model_;
  std::vector<Input> inputs_;
  std::size_t done_ = 0;
};

class Raw : public FrameSource {
 public:
  Raw(int descriptor, int height, int width, const Model& model)
      : descriptor_(descriptor), model_(model), image_(height, width, 3) {}

  bool next(Frame& frame) override {
    const std::size_t bytes = image_.data.size();
    const std::size_t got = fill(image_.data.data(), bytes);
    if (interrupted()) return false;  // whoever feeds the pipe was told to stop too, maybe inside a frame
    if (got == 0 && done_ > 0) return false;
    if (got < bytes) {
      throw Error{{.where = "standard input",
                   .field = fmt::format("frame {}", done_),
                   .wanted = fmt::format("{} bytes ({}x{} RGB)", bytes, image_.width, image_.height),
                   .found = fmt::format("{}: {} bytes are missing", got, bytes - got),
                   .hint = got == 0 ? "" : fmt::format("the {} whole frames before it were run", done_)}};
    }
    const std::string name = fmt::format("frame_{:06}", done_++);
    frame = {.input = name, .name = name, .image = {}, .planes = {}, .height = image_.height, .width = image_.width};
    frame.image = resize_rgb(image_, model_.height(), model_.width());
    return true;
  }
  std::int64_t total() const override { return 0; }

 private:
  /// Reads until `bytes` are there, the file ends or a signal came; returns how many were read.
  std::size_t fill(std::uint8_t* to, std::size_t bytes) const {
    std::size_t got = 0;
    while (got < bytes && !interrupted()) {
      // Waits with a limit: read alone would sleep through a signal that another thread handled.
      pollfd ready{descriptor_, POLLIN, 0};
      const int events = ::poll(&ready, 1, 100);
      if (events == 0 || (events < 0 && errno == EINTR)) continue;
      const ssize_t n = ::read(descriptor_, to + got, bytes - got);
      if (n == 0) break;
      if (n < 0) {
        if (errno == EINTR || errno == EAGAIN) continue;
        throw Error{{.where = "standard input", .wanted = "raw frames", .found = std::strerror(errno)}};
      }
      got += static_cast<std::size_t>(n);
    }
    return got;
  }

  int descriptor_;
  const Model& model_;
  ImageU8 image_;
  std::int64_t done_ = 0;
};

}  // namespace

std::unique_ptr<FrameSource> open_files(const std::vector<std::string>& inputs, const Model& model) {
  return std::make_unique<Files>(expand(inputs), model);
}

std::unique_ptr<FrameSource> open_raw(int descriptor, int height, int width, const Model& model) {
  return std::make_unique<Raw>(descriptor, height, width, model);
}

}  // namespace m3vit::cli
