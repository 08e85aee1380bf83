#pragma once
/// Fair timing of rivals: they run in turn, round by round, so that a change of the machine's clock or load meets all.
#include <functional>
#include <string>
#include <vector>

namespace m3vit::cli {

struct Rival {
  std::string name;
  std::function<void()> run;
};

/// Milliseconds [rival][round]. Every rival runs once before the first round; odd rounds go through the list
/// backwards; `before` is called ahead of each round and ends the matter when it says false.
std::vector<std::vector<double>> take_turns(const std::vector<Rival>& rivals, int rounds,
                                            const std::function<bool()>& before = {});

double median(std::vector<double> values);
/// Median over rounds of a / b.
double median_ratio(const std::vector<double>& a, const std::vector<double>& b);

}  // namespace m3vit::cli
