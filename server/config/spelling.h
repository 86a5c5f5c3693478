// Finds the name that a misspelt name probably means.
#pragma once

#include <string>
#include <string_view>
#include <vector>

namespace redlock::config {

// Returns the candidate that `name` probably means, or an empty string. Names are lower-case words
// that are joined by dashes. A candidate counts if few letters differ ("node-timeuot" means
// "node-timeout"), or else if it shares a word with the name ("ttl" means "max-ttl").
[[nodiscard]] std::string NearestOf(std::string_view name,
                                    const std::vector<std::string>& candidates);

}  // namespace redlock::config
