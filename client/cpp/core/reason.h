// The names of the reasons, as they are in the contract. to_string() is in the public header.
#pragma once

#include <string_view>

#include "client/cpp/include/redlock/client.h"

namespace redlock::client {

// kInternal if the name is unknown.
[[nodiscard]] Reason ReasonOf(std::string_view name);

}  // namespace redlock::client
