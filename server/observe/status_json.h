// A view as the status page takes it.
#pragma once

#include <cstddef>
#include <string>

#include "server/observe/view.h"

namespace redlock::observe {

// A JSON object. No token is in it, and no key unless `view` has leases.
[[nodiscard]] std::string ToStatusJson(const View& view, std::size_t streams, bool keys_shown,
                                       const std::string& version);

}  // namespace redlock::observe
