#include "accel/report/table.h"

#include <fmt/format.h>

#include <algorithm>
#include <nlohmann/json.hpp>

#include "core/markup.h"

namespace m3vit::accel {
namespace {

constexpr const char* kLegend = "c counted from a compiled program, m modelled, p published by others";

/// Columns on a terminal: characters, not bytes.
std::size_t width(const std::string& text) {
  return static_cast<std::size_t>(
      std::count_if(text.begin(), text.end(), [](char c) { return (static_cast<unsigned char>(c) & 0xC0U) != 0x80U; }));
}
std::string cell_text(const Cell& cell) {
  return cell.how == How::kWords ? cell.text : cell.text + ' ' + how_name(cell.how)[0];
}

std::string table_text(const Table& table) {
  std::vector<std::size_t> widths;
  for (const Column& c : table.columns) widths.push_back(width(c.title));
  for (const auto& row : table.rows) {
    for (std::size_t i = 0; i < row.size(); ++i) widths[i] = std::max(widths[i], width(cell_text(row[i])));
  }
  const auto padded = [&](const std::string& text, std::size_t i) {
    const std::string gap(widths[i] - width(text), ' ');
    return i == 0 ? text + gap : "  " + gap + text;
  };
  std::string out = table.title + '\n';
  for (std::size_t i = 0; i < widths.size(); ++i) out += padded(table.columns[i].title, i);
  out += '\n';
  for (const auto& row : table.rows) {
    for (std::size_t i = 0; i < row.size(); ++i) out += padded(cell_text(row[i]), i);
    out += '\n';
  }
  for (const std::string& note : table.notes) out += "  " + note + '\n';
  return out;
}

std::string table_html(const Table& table) {
  std::string out = "<h2>" + markup_escaped(table.title) + "</h2>\n<table>\n<tr>";
  for (const Column& c : table.columns) out += "<th>" + markup_escaped(c.title) + "</th>";
  out += "</tr>\n";
  for (const auto& row : table.rows) {
    out += "<tr>";
    for (const Cell& cell : row) {
      out += cell.how == How::kWords ? "<td class=\"w\">" + markup_escaped(cell.text)
                                     : "<td>" + markup_escaped(cell.text) + "<sup>" + how_name(cell.how)[0] + "</sup>";
      out += "</td>";
    }
    out += "</tr>\n";
  }
  out += "</table>\n";
  for (const std::string& note : table.notes) out += "<p>" + markup_escaped(note) + "</p>\n";
  return out;
}

}  // namespace

const char* how_name(How how) {
  switch (how) {
    case How::kWords:
      return "words";
    case How::kCounted:
      return "counted";
    case How::kModelled:
      return "modelled";
    case How::kPublished:
      return "published";
  }
  return "";
}

Cell words(std::string text) { return {std::move(text), {}, How::kWords}; }
Cell number(double value, How how, int decimals, const std::string& unit) {
  return {fmt::format("{:.{}f}{}", value, decimals, unit), value, how};
}

std::string report_text(const Report& report) {
  std::string out = report.title + '\n';
  for (const std::string& line : report.preface) out += line + '\n';
  out += std::string(kLegend) + '\n';
  for (const Table& table : report.tables) out += '\n' + table_text(table);
  return out;
}

nlohmann::json report_json(const Report& report) {
  nlohmann::json document{{"title", report.title}, {"preface", report.preface}};
  for (const Table& table : report.tables) {
    nlohmann::json rows = nlohmann::json::array();
    for (const auto& row : table.rows) {
      nlohmann::json line = nlohmann::json::object();
      for (std::size_t i = 0; i < row.size(); ++i) {
        const Cell& cell = row[i];
        line[table.columns[i].key] = cell.value ? nlohmann::json{{"value", *cell.value}, {"how", how_name(cell.how)}}
                                                : nlohmann::json(cell.text);
      }
      rows.push_back(std::move(line));
    }
    document["tables"][table.id] = {{"title", table.title}, {"rows", std::move(rows)}, {"notes", table.notes}};
  }
  return document;
}

std::string report_html(const Report& report, const std::vector<std::string>& svgs) {
  std::string out =
      "<!doctype html>\n<html lang=\"en\"><head><meta charset=\"utf-8\"><title>" + markup_escaped(report.title) +
      "</title>\n<style>\n"
      "body{font:15px/1.5 Helvetica,Arial,sans-serif;color:#222;max-width:1100px;margin:2em auto;padding:0 1em}\n"
      "h1{font-size:1.5em}h2{font-size:1.1em;margin:2em 0 .4em}p{margin:.3em 0;color:#444}\n"
      "table{border-collapse:collapse;font-variant-numeric:tabular-nums}\n"
      "th,td{padding:.2em .7em;text-align:right;border-bottom:1px solid #ddd;vertical-align:top}\n"
      "th{font-weight:600;border-bottom:2px solid #888}th:first-child,td.w{text-align:left}\n"
      "sup{color:#888;font-size:.65em;padding-left:.15em}svg{max-width:100%;height:auto;margin:1em 0}\n"
      "</style></head><body>\n<h1>" +
      markup_escaped(report.title) + "</h1>\n";
  for (const std::string& line : report.preface) out += "<p>" + markup_escaped(line) + "</p>\n";
  out += "<p>" + std::string(kLegend) + "</p>\n";
  for (const std::string& svg : svgs) out += svg;
  for (const Table& table : report.tables) out += table_html(table);
  return out + "</body></html>\n";
}

}  // namespace m3vit::accel
