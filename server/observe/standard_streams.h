// Keeps standard input, output and error from harming the process.
#pragma once

#include <string_view>

namespace redlock::observe {

// Opens /dev/null for each standard stream that is closed. Otherwise a socket could get the number
// of standard error, and log lines would be sent to it. Ignores the signals that end or stop a
// process for what it writes: if the reader of a pipe has gone, a file is too large, or the process
// is in the background of its terminal. Call before any descriptor is opened. Returns false
// if a stream cannot be opened; the process must then end.
[[nodiscard]] bool SecureStandardStreams();

// Writes an error to standard error without the log, before it exists. Waits for a slow reader, but
// not longer than LineQueue::kPatience. The text has one or more lines.
void WriteError(std::string_view text);

}  // namespace redlock::observe
