// The names and the mode in a key. A lock of several keys, or a share, has one key in this library:
// see together() and shared() in redlock/keys.h. Only the check of arguments, the messages of the
// protocol and what people see look at the names and the mode.
#pragma once

#include <string>
#include <vector>

#include "redlock/keys.h"

namespace redlock::client {

// In byte order if they come from together(). A key of one name has that name; it may be empty.
[[nodiscard]] std::vector<std::string> NamesOf(const std::string& key);

// Whether the key comes from shared().
[[nodiscard]] bool IsShared(const std::string& key);

// For people: the names, with commas in between.
[[nodiscard]] std::string InWords(const std::string& key);

}  // namespace redlock::client
