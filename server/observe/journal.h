// The journal of systemd, if it reads what this process writes.
#pragma once

#include <spdlog/common.h>

#include <string_view>

namespace redlock::observe {

// Whether the journal reads standard error: it is the stream that $JOURNAL_STREAM names. The
// variable alone does not say so, because a child may have inherited it and write elsewhere.
[[nodiscard]] bool JournalReadsStandardError();

// "<4>": the priority of a line, which the journal takes off its start.
[[nodiscard]] std::string_view JournalPriority(spdlog::level::level_enum level);

}  // namespace redlock::observe
