// The formats of the log: text for people, JSON for machines.
#pragma once

#include <spdlog/formatter.h>

#include <cstddef>
#include <memory>

#include "server/config/config.h"

namespace redlock::observe {

// In bytes, after escaping; the rest is cut. The other parts of a line take a few hundred bytes, so
// that a line never exceeds LineWriter::kLongestLine.
constexpr std::size_t kLongestMessage = 3584;

// Who reads the log. The journal of systemd gets the priority of each line (JournalPriority), and
// text without a time, because it adds its own.
enum class Reader { kAny, kJournal };

// Returns a formatter that adds the tag of the calling thread (TaggedLines) to the line.
[[nodiscard]] std::unique_ptr<spdlog::formatter> MakeFormatter(config::LogFormat format,
                                                               Reader reader);

}  // namespace redlock::observe
