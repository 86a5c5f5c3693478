#include "server/observe/standard_streams.h"

#include <fcntl.h>
#include <signal.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstddef>
#include <string>

#include "server/observe/journal.h"
#include "server/observe/line_writer.h"

namespace redlock::observe {

bool SecureStandardStreams() {
  for (const int of_writes : {SIGPIPE, SIGXFSZ, SIGTTOU}) signal(of_writes, SIG_IGN);
  for (const int stream : {STDIN_FILENO, STDOUT_FILENO, STDERR_FILENO}) {
    // open() returns the lowest number that is free, which is this one.
    if (fcntl(stream, F_GETFD) < 0 && errno == EBADF && open("/dev/null", O_RDWR) != stream) {
      return false;
    }
  }
  return true;
}

void WriteError(std::string_view text) {
  const bool to_journal = JournalReadsStandardError();
  std::string lines;
  while (!text.empty()) {
    const std::size_t end = std::min(text.find('\n'), text.size() - 1) + 1;
    if (to_journal) lines += JournalPriority(spdlog::level::err);
    lines += text.substr(0, end);
    text.remove_prefix(end);
  }
  LineWriter(STDERR_FILENO, {}).Put(lines, LineWriter::Weight::kImportant);
}

}  // namespace redlock::observe
