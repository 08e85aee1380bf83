#pragma once
/// A table of an experiment as a file: one recipe, its variations row by row, the scales it can be run at.
///
///   title: "Six tasks on generated rooms"
///   recipe: ../rooms/micro_m3vit.yaml       # relative to the table
///   seeds: 3
///   scales: {smoke: [train.epochs=1, …], rooms: [], full: […]}   # overrides of the recipe
///   macs_against: cross_stitch               # the row whose multiplications savings are counted from
///   rows:
///     - {name: stl, label: "ViT, one a task", single_task: true, set: [model.moe=null]}
///     - {name: m3vit, label: "M³ViT, multi gate", against: stl, at: {smoke: [model.depth=2]}}
///   published:                               # shown beside ours, never mixed with it
///     - {row: m3vit, what: "Δm on PASCAL-Context", value: "2.71 %", source: "paper, table 1"}
#include <filesystem>
#include <map>
#include <string>
#include <vector>

#include "core/config.h"

namespace m3vit {

struct TableRow {
  std::string name;                                         ///< also its folder's: letters, digits, _ and -
  std::string label;                                        ///< what the report calls it; default: name
  std::string against;                                      ///< the row that Δm is taken against; "": none
  bool single_task = false;                                 ///< one network a task
  std::vector<std::string> overrides;                       ///< after the scale's
  std::map<std::string, std::vector<std::string>> at = {};  ///< by scale: overrides after all others
};

struct Published {
  std::string row, what, value, source;
};

struct Table {
  std::string name;  ///< the file's stem
  std::string title;
  std::filesystem::path recipe;
  int seeds = 3;
  std::map<std::string, std::vector<std::string>> scales;
  std::string macs_against;
  std::vector<TableRow> rows;
  std::vector<Published> published;

  const TableRow* find(const std::string& row) const;
};

/// Strict: unknown keys, wrong types and references to rows that are not there throw Error with file, line and key.
Table read_table(const std::filesystem::path& path);

/// One training run of a table.
struct Job {
  std::size_t row = 0;
  int seed = 0;        ///< from 1
  std::string task;    ///< of a single-task row; else ""
  std::string folder;  ///< below the table's output: ROW/seed_N[/TASK]
  Config config;
};

struct PlanOptions {
  std::string scale = "rooms";
  int seeds = 0;                            ///< 0: the table's
  std::vector<std::string> rows = {};       ///< empty: all; a chosen row's `against` comes along
  std::vector<std::string> overrides = {};  ///< before the row's: data.root=…, train.device=cuda
};

/// Every run in the table's order. Throws Error for an unknown scale or row and for what the recipes refuse.
std::vector<Job> plan(const Table& table, const PlanOptions& options);

}  // namespace m3vit
