#include "server/observe/standard_streams.h"

#include <fcntl.h>
#include <signal.h>
#include <unistd.h>

#include <cerrno>

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

void WriteToStandardError(std::string_view text) {
  LineWriter(STDERR_FILENO, {}).Put(text, LineWriter::Weight::kImportant);
}

}  // namespace redlock::observe
