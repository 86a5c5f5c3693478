// Who may do what to which keys: a TOML file of rules.
//
//   [[rule]]
//   identity = "billing-*"                 # * stands for anything, also in keys
//   keys     = ["billing/*", "reports"]    # default: all
//   verbs    = ["acquire", "extend", "release", "inspect"]
//
// What no rule allows is refused. `acquire` is also for Hold and for acquiring in a Session,
// `extend` for Watch; `admin` for AdminService, whatever the keys.
#pragma once

#include <string>
#include <string_view>
#include <vector>

namespace redlock::access {

enum class Action { kAcquire, kExtend, kRelease, kInspect, kAdmin };

// `*` stands for any number of characters; nothing else is special.
[[nodiscard]] bool Matches(std::string_view pattern, std::string_view text);

// Immutable. Thread-safe.
class AccessList {
 public:
  // Throws std::runtime_error that names the line and what is wrong with it.
  static AccessList Parse(std::string_view toml);

  [[nodiscard]] bool Allows(std::string_view identity, Action verb, std::string_view key) const;
  [[nodiscard]] std::size_t size() const { return rules_.size(); }

 private:
  struct Rule {
    std::string identity;
    std::vector<std::string> keys;
    std::vector<Action> verbs;
  };
  std::vector<Rule> rules_;
};

}  // namespace redlock::access
