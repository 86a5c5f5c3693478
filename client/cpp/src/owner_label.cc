#include "client/cpp/src/owner_label.h"

#include <unistd.h>

#include <array>
#include <cerrno>

#include "client/cpp/core/validation.h"

namespace redlock::client {

std::string DefaultOwner() {
  std::array<char, 256> host{};
  if (gethostname(host.data(), host.size() - 1) != 0) host = {'?'};
  return CutToUtf8(std::string(host.data()) + "/" + std::to_string(getpid()) + "/" +
                       program_invocation_short_name,
                   kLongestOwner);
}

}  // namespace redlock::client
