// Parses the names of the reasons in the proto. to_string() is in the public header.
#pragma once

#include <string_view>

#include "redlock/result.h"

namespace redlock::client {

// Returns kInternal if the name is unknown.
[[nodiscard]] Reason ReasonOf(std::string_view name);

}  // namespace redlock::client
