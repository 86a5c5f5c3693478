// `redlockctl debug`: collects what belongs into a bug report.
#pragma once

#include <chrono>
#include <functional>
#include <string>
#include <vector>

#include "client/redlockctl/daemon.h"
#include "client/redlockctl/debug_bundle.h"
#include "client/redlockctl/failure.h"
#include "client/redlockctl/options.h"
#include "client/redlockctl/printer.h"

namespace redlockctl {

// Adds what the daemon answers. Asks its status page too, unless options.metrics names others.
// `patience`: of each call.
void Collect(DebugBundle& bundle, Daemon& daemon, const DebugOptions& options, Millis patience);

// Adds the status page at the address of --metrics-listen.
void CollectStatusPage(DebugBundle& bundle, const std::string& address, Millis patience);

// Writes the bundle to a new file that only the user can read, or to standard output, and says on
// standard error what is in it. Throws std::runtime_error if the file cannot be written.
void Write(const DebugBundle& bundle, const DebugOptions& options, const std::string& time,
           const Printer& printer);

}  // namespace redlockctl
