// Converts a View to the JSON that the status page reads.
#pragma once

#include <cstddef>
#include <string>

#include "server/observe/trend.h"
#include "server/observe/view.h"

namespace redlock::observe {

// Returns a JSON object. It contains no owner tokens, and keys only if `view` has leases or losses.
[[nodiscard]] std::string ToStatusJson(const View& view, const Trend& trend, std::size_t streams,
                                       bool keys_shown, const std::string& version);

}  // namespace redlock::observe
