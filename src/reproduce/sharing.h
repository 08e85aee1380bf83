#pragma once
/// What the tasks of a table's rows share, and whether they agree about it: gradient conflict (runs with
/// train.conflict_every) and experts' use (rows with experts).
#include <filesystem>
#include <nlohmann/json_fwd.hpp>
#include <vector>

#include "reproduce/report.h"

namespace m3vit {

/// {"rows": [{"row", "label",
///    "conflicting", "mean_cosine": {"mean", "standard_error", "seeds"}   share of (measurement, layer, pair) with a
///                                                                      negative cosine; the mean cosine
///    "blocks":  [{"block", "conflicting", "mean_cosine"}]              means over a block's layers and the seeds
///    "pairs":   {"a,b": {"conflicting", "mean_cosine"}}                means over layers and seeds
///    "experts": [{"block", "overlap": {"a,b": …}, "load": {T: […]}}]}]}   overlap: mean over seeds; load: the first
///    seed's
/// Rows without a measurement lack its keys; rows with none are left out.
nlohmann::json sharing_report(const Table& table, const std::vector<Job>& jobs, const std::vector<JobResult>& results);

/// OUT/sharing.json, sharing.html and conflict.svg (share of conflicting pairs by block); nothing for a report without
/// rows.
void write_sharing(const std::filesystem::path& out, const Table& table, const nlohmann::json& report);

}  // namespace m3vit
