// Converts a View to Prometheus metrics. The names follow the Prometheus conventions. Labels never
// contain keys or callers, but groups of keys that the operator names, so the number of time series
// is bounded.
#pragma once

#include <prometheus/metric_family.h>

#include <cstddef>
#include <string>
#include <vector>

#include "server/observe/view.h"
#include "server/runtime/reloads.h"

namespace redlock::observe {

[[nodiscard]] std::vector<prometheus::MetricFamily> ToMetrics(const View& view, std::size_t streams,
                                                              const runtime::Reloads& reloads,
                                                              const KeyGroups& groups,
                                                              const std::string& version);

}  // namespace redlock::observe
