#pragma once
/// The one error type for what a caller or a file did wrong. A program bug is an assertion instead.
#include <exception>
#include <string>

namespace m3vit {

/// Says where (file, or file:line:column), which field, what was wanted and what was found.
/// `what()` reads "WHERE: FIELD: want WANTED, found FOUND"; empty parts are left out. The command line turns it
/// into exit code 2.
class Error : public std::exception {
 public:
  struct Parts {
    std::string where{};   ///< file, "file:line:col", option, or device
    std::string field{};   ///< key, tensor, section or header field
    std::string wanted{};  ///< what would have been accepted
    std::string found{};   ///< what was there
    std::string hint{};    ///< optional: nearest valid key, how to go on
  };
  explicit Error(Parts parts);
  const char* what() const noexcept override { return text_.c_str(); }
  const Parts& parts() const noexcept { return parts_; }

 private:
  Parts parts_;
  std::string text_;
};

}  // namespace m3vit
