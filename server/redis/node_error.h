// Turns the error replies of a Redis or Valkey server into messages for operators.
#pragma once

#include <string>
#include <string_view>

namespace redlock::redis {

// Returns the error, followed by its remedy if it has a known cause. The error is cut to 160 bytes,
// because it becomes part of messages to callers, one for each node. Bytes that are not printable
// ASCII become '?'. Pure.
[[nodiscard]] std::string DescribeError(std::string_view error);

}  // namespace redlock::redis
