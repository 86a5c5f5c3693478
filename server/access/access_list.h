// Parses and applies the access list: a TOML file of rules that say which identity may do what to
// which keys.
//
//   [[rule]]
//   identity = "billing-*"                 # * matches any characters, also in keys
//   keys     = ["billing/*", "reports"]    # default: all keys
//   verbs    = ["acquire", "extend", "release", "inspect"]
//
// An action that no rule allows is rejected. `acquire` also covers Hold and acquiring in a Session.
// `extend` also covers Watch and adoptions. `admin` covers AdminService: a call that names no key
// needs a rule for all keys.
#pragma once

#include <string>
#include <string_view>
#include <vector>

namespace redlock::access {

enum class Action { kAcquire, kExtend, kRelease, kInspect, kAdmin };

// Immutable. Thread-safe.
class AccessList {
 public:
  // Throws std::runtime_error, which names the line and the fault.
  static AccessList Parse(std::string_view toml);

  [[nodiscard]] bool Allows(std::string_view identity, Action verb, std::string_view key) const;
  // Whether one rule allows the action with every key.
  [[nodiscard]] bool AllowsAllKeys(std::string_view identity, Action verb) const;
  // Whether a rule allows the action with any key.
  [[nodiscard]] bool AllowsSomeKeys(std::string_view identity, Action verb) const;
  [[nodiscard]] std::size_t size() const { return rules_.size(); }

 private:
  struct Rule {
    std::string identity;
    std::vector<std::string> keys;
    std::vector<Action> verbs;

    [[nodiscard]] bool Concerns(std::string_view caller, Action verb) const;
  };
  std::vector<Rule> rules_;
};

}  // namespace redlock::access
