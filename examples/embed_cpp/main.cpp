// Runs tasks of a packed model on one picture and prints a few values of each:
//
//     embed_cpp MODEL.m3v TASK... [--rgb FILE] [--out FILE]
//
// --rgb: the picture, height · width · 3 bytes, as `ffmpeg -pix_fmt rgb24 -f rawvideo` writes it; else a generated one.
// --out: every task's raw output, float32, one after another.
#include <algorithm>
#include <chrono>
#include <cstdint>
#include <cstdio>
#include <exception>
#include <fstream>
#include <iterator>
#include <m3vit/m3vit.hpp>
#include <stdexcept>
#include <string>
#include <vector>

namespace {

struct Arguments {
  std::string model, rgb, out;
  std::vector<std::string> tasks;
};

Arguments parse(int argc, char** argv) {
  Arguments a;
  for (int i = 1; i < argc; ++i) {
    const std::string word = argv[i];
    if (word == "--rgb" || word == "--out") {
      if (i + 1 == argc) throw std::invalid_argument(word + " needs a file");
      (word == "--rgb" ? a.rgb : a.out) = argv[++i];
    } else if (a.model.empty()) {
      a.model = word;
    } else {
      a.tasks.push_back(word);
    }
  }
  if (a.tasks.empty()) throw std::invalid_argument("usage: embed_cpp MODEL.m3v TASK... [--rgb FILE] [--out FILE]");
  return a;
}

/// Two gradients and a checkerboard.
std::vector<std::uint8_t> generated_picture(int height, int width) {
  std::vector<std::uint8_t> rgb;
  for (int y = 0; y < height; ++y) {
    for (int x = 0; x < width; ++x) {
      rgb.push_back(static_cast<std::uint8_t>(255 * y / height));
      rgb.push_back(static_cast<std::uint8_t>(255 * x / width));
      rgb.push_back((y / 8 + x / 8) % 2 == 0 ? 40 : 200);
    }
  }
  return rgb;
}

std::vector<std::uint8_t> read_picture(const std::string& path, int height, int width) {
  std::ifstream file(path, std::ios::binary);
  std::vector<std::uint8_t> rgb(std::istreambuf_iterator<char>(file), {});
  const std::size_t wanted = 3 * static_cast<std::size_t>(height) * static_cast<std::size_t>(width);
  if (!file || rgb.size() != wanted) {
    throw std::runtime_error(path + ": want " + std::to_string(wanted) + " bytes, found " + std::to_string(rgb.size()));
  }
  return rgb;
}

void run(const Arguments& a) {
  const m3vit::Model model = m3vit::Model::open(a.model);
  m3vit::Session session = model.session();  // every core, the best instruction set
  const std::vector<std::uint8_t> rgb = a.rgb.empty() ? generated_picture(model.height(), model.width())
                                                      : read_picture(a.rgb, model.height(), model.width());
  const m3vit::RgbView picture{rgb.data(), model.height(), model.width()};

  std::ofstream file;
  if (!a.out.empty()) file.open(a.out, std::ios::binary);
  for (const std::string& task : a.tasks) {  // a switch of task costs nothing
    std::vector<float> out(model.output_size(task));
    const auto start = std::chrono::steady_clock::now();
    session.run(task, picture, out);
    const std::chrono::duration<double, std::milli> ms = std::chrono::steady_clock::now() - start;

    const auto [least, most] = std::minmax_element(out.begin(), out.end());
    std::printf("%s: first %.9g, last %.9g, %.9g ... %.9g\n", task.c_str(), static_cast<double>(out.front()),
                static_cast<double>(out.back()), static_cast<double>(*least), static_cast<double>(*most));
    std::fprintf(stderr, "%s: %.2f ms, %s, %d threads\n", task.c_str(), ms.count(), std::string(session.isa()).c_str(),
                 session.threads());
    if (!a.out.empty())
      file.write(reinterpret_cast<const char*>(out.data()), static_cast<std::streamsize>(out.size() * sizeof(float)));
  }
  if (!a.out.empty() && !file.flush()) throw std::runtime_error(a.out + ": cannot be written");
}

}  // namespace

int main(int argc, char** argv) {
  try {
    run(parse(argc, argv));
    return 0;
  } catch (const std::exception& e) {  // of the library, too: what() says where, what was wanted, what was found
    std::fprintf(stderr, "%s\n", e.what());
    return 2;
  }
}
