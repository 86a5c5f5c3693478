// Parses and applies the access list: a TOML file of rules that say which identity may do what to
// which keys.
//
//   [[rule]]
//   identity = "billing-*"                 # * matches any characters, also in keys
//   keys     = ["billing/*", "reports"]    # default: all keys
//   verbs    = ["acquire", "extend", "release", "inspect"]
//
// An action that no rule allows is rejected. `acquire` also covers Hold and acquiring in a Session.
// `extend` also covers Watch. `admin` covers AdminService, regardless of `keys`.
#pragma once

#include <string>
#include <string_view>
#include <vector>

namespace redlock::access {

enum class Action { kAcquire, kExtend, kRelease, kInspect, kAdmin };

// Whether `text` matches `pattern`, in which `*` stands for any number of characters. No other
// character is special.
[[nodiscard]] bool Matches(std::string_view pattern, std::string_view text);

// Immutable. Thread-safe.
class AccessList {
 public:
  // Throws std::runtime_error, which names the line and the fault.
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
