// Reads files of passwords, keys and certificates.
#pragma once

#include <cstddef>
#include <optional>
#include <string>

namespace redlock::secrets {

// Reads a whole file. Throws std::runtime_error, which does not name the file, if that fails or if
// the file is larger than `max_bytes`. May wait for the writer of a pipe, so it is for startup.
[[nodiscard]] std::string ReadFile(const std::string& path, std::size_t max_bytes);

// The same for a file that was read before. Never waits. Returns nothing if the path names a pipe
// or another file whose content can be read only once.
[[nodiscard]] std::optional<std::string> ReadFileAgain(const std::string& path,
                                                       std::size_t max_bytes);

// What came of looking at files again.
enum class Renewal {
  kNone,     // nothing has changed
  kPending,  // the content has changed and may still be changing; the next look decides
  kRenewed,  // the new content is in use
};

}  // namespace redlock::secrets
