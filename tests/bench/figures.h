// Quantiles, medians over rounds, and their spread.
#pragma once

#include <algorithm>
#include <cstddef>
#include <vector>

namespace redlock::bench {

[[nodiscard]] inline double Quantile(std::vector<double> values, double q) {
  if (values.empty()) return 0;
  const auto nth = static_cast<std::size_t>(q * static_cast<double>(values.size() - 1));
  std::nth_element(values.begin(), values.begin() + static_cast<std::ptrdiff_t>(nth), values.end());
  return values[nth];
}

[[nodiscard]] inline double Median(std::vector<double> values) {
  return Quantile(std::move(values), .5);
}

// Half the interquartile range divided by the median: how much the rounds differ.
[[nodiscard]] inline double Spread(const std::vector<double>& values) {
  const double median = Median(values);
  if (median == 0) return 0;
  return (Quantile(values, .75) - Quantile(values, .25)) / 2 / median;
}

}  // namespace redlock::bench
