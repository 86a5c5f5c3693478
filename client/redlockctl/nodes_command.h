// `redlockctl nodes add`, `remove` and the other commands that change the node set.
#pragma once

#include <optional>

#include "client/redlockctl/daemon.h"
#include "client/redlockctl/failure.h"
#include "client/redlockctl/printer.h"

namespace redlockctl {

// Changes the node set and prints the progress until the change is complete. SIGINT, SIGTERM and
// the timeout, if any, end the call, but not a change that the nodes have stored: the message says
// so.
[[nodiscard]] ExitStatus ChangeNodeSet(Daemon& daemon,
                                       const redlock::v1::ChangeNodeSetRequest& request,
                                       std::optional<Millis> timeout, const Printer& printer);

}  // namespace redlockctl
