// Parses the durations of the command line.
#pragma once

#include <optional>
#include <string_view>

#include "client/redlockctl/options.h"

namespace redlockctl {

// Accepts seconds such as "90", numbers with a unit such as "500ms", "1.5s", "5m", "2h" or "1d",
// and several of them in a row, from the largest unit to the smallest, such as "1h30m". At most ten
// years. std::nullopt if the text is anything else.
[[nodiscard]] std::optional<Millis> ParseDuration(std::string_view text);

}  // namespace redlockctl
