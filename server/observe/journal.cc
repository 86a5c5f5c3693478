#include "server/observe/journal.h"

#include <sys/stat.h>
#include <unistd.h>

#include <cstdlib>
#include <string>

namespace redlock::observe {

bool JournalReadsStandardError() {
  // NOLINTNEXTLINE(concurrency-mt-unsafe): nothing changes the environment
  const char* const stream = std::getenv("JOURNAL_STREAM");  // "DEVICE:INODE"
  struct stat status {};
  return stream != nullptr && fstat(STDERR_FILENO, &status) == 0 &&
         stream == std::to_string(status.st_dev) + ":" + std::to_string(status.st_ino);
}

std::string_view JournalPriority(spdlog::level::level_enum level) {
  switch (level) {
    case spdlog::level::trace:
    case spdlog::level::debug:
      return "<7>";
    case spdlog::level::info:
      return "<6>";
    case spdlog::level::warn:
      return "<4>";
    case spdlog::level::err:
      return "<3>";
    case spdlog::level::critical:
    case spdlog::level::off:  // no line has this level or the next
    case spdlog::level::n_levels:
      return "<2>";
  }
  return "<2>";
}

}  // namespace redlock::observe
