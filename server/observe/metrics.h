// A view as Prometheus' metrics. Named after its conventions; never labelled with keys or callers,
// so that their number is bounded.
#pragma once

#include <prometheus/metric_family.h>

#include <cstddef>
#include <string>
#include <vector>

#include "server/observe/view.h"

namespace redlock::observe {

[[nodiscard]] std::vector<prometheus::MetricFamily> ToMetrics(const View& view, std::size_t streams,
                                                              const std::string& version);

}  // namespace redlock::observe
