#include "server/redis/node_error.h"

#include <algorithm>
#include <array>

namespace redlock::redis {
namespace {

constexpr std::size_t kMostBytes = 160;

struct Remedy {
  std::string_view sign;  // part of the error
  std::string_view words;
};

constexpr std::array kRemedies = {
    Remedy{"OOM ", "the node has reached maxmemory: raise maxmemory, or remove other data"},
    Remedy{"MISCONF ", "the node cannot save its data to disk: free space there, or correct dir"},
    Remedy{"READONLY ", "the node is a replica: nodes must be primaries"},
    Remedy{"NOREPLICAS ", "the node has too few replicas: set min-replicas-to-write to 0"},
    Remedy{"LOADING ", "the node is loading its data after a start: wait until it has finished"},
    Remedy{"MASTERDOWN ", "the node is a replica: nodes must be primaries"},
    Remedy{"BUSY ", "a script blocks the node: end it with SCRIPT KILL"},
    Remedy{"NOPERM ",
           "the access list of the node forbids what redlockd needs: see the ACL rule in "
           "the configuration guide"},
    Remedy{"The user executing the script",
           "the access list of the node forbids what redlockd needs: see the ACL rule in the "
           "configuration guide"},
    Remedy{"ACL failure",
           "the access list of the node forbids what redlockd needs: see the ACL rule in the "
           "configuration guide"},
    Remedy{"WRONGPASS ", "correct the user and the password in --node or in its password_file"},
    Remedy{"NOAUTH ", "the node requires a password: add it to --node or to its password_file"},
    Remedy{"invalid password", "correct the password in --node or in its password_file"},
    Remedy{"without any password configured",
           "the node has no password: remove it from --node, or set requirepass on the node"},
    Remedy{"CROSSSLOT ", "the node runs in cluster mode: set cluster-enabled to no"},
    Remedy{"CLUSTERDOWN ", "the node runs in cluster mode: set cluster-enabled to no"},
    Remedy{"MOVED ", "the node runs in cluster mode: set cluster-enabled to no"},
    Remedy{"max number of clients", "raise maxclients on the node"},
    Remedy{"DENIED ",
           "the node is in protected mode: set a password on it, or bind and "
           "protected-mode"},
};

}  // namespace

std::string DescribeError(std::string_view error) {
  std::string text(error.substr(0, kMostBytes));
  if (error.size() > kMostBytes) text += "...";
  std::ranges::replace_if(
      text, [](unsigned char c) { return c < 0x20 || c > 0x7e; }, '?');
  for (const Remedy& remedy : kRemedies) {
    if (error.find(remedy.sign) == std::string_view::npos) continue;
    text += " (";
    text += remedy.words;
    text += ')';
    break;
  }
  return text;
}

}  // namespace redlock::redis
