// Fuzzes HTTP requests, which arrive in pieces: each is refused or has a path, and what follows
// does not change that.
#include <cstddef>
#include <cstdint>
#include <cstdlib>

#include "server/observe/http_message.h"

namespace {

using namespace redlock::observe;

void Require(bool holds) {
  if (!holds) std::abort();
}

bool IsPath(const std::string& path) {
  return path.starts_with('/') && path.find_first_of("? \t\r\n") == path.npos;
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  if (size == 0) return -1;
  const std::string_view text(reinterpret_cast<const char*>(data + 1), size - 1);
  const auto first = ParseRequest(text.substr(0, text.size() * data[0] / 255));
  const auto whole = ParseRequest(text);
  if (whole) Require(whole->status != HttpStatus::kOk || IsPath(whole->path));
  if (first) Require(whole && whole->status == first->status && whole->path == first->path);
  return 0;
}
