// The label of locks whose caller gives none.
#pragma once

#include <string>

namespace redlock::client {

// Returns "HOST/PID/PROGRAM" of this process, cut to the length of a label.
[[nodiscard]] std::string DefaultOwner();

}  // namespace redlock::client
