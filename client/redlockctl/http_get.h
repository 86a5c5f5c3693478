// Reads a document of a daemon's status page, which speaks plain HTTP.
#pragma once

#include <chrono>
#include <string>

namespace redlockctl {

// Returns the body of the answer. `address`: "host:port". Throws std::runtime_error if there is no
// answer with status 200 within `patience`, or if the answer is longer than 16 MiB.
[[nodiscard]] std::string HttpGet(const std::string& address, const std::string& path,
                                  std::chrono::milliseconds patience);

}  // namespace redlockctl
