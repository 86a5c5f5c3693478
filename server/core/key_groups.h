// Groups of keys, by which metrics tell waits and holds apart. An operator names the groups, so
// that their number is bounded and no label contains a key.
#pragma once

#include <cstddef>
#include <string>
#include <string_view>
#include <vector>

#include "server/core/pattern.h"
#include "server/core/types.h"

namespace redlock {

// Immutable after startup.
struct KeyGroups {
  static constexpr std::size_t kMost = 32;
  // The name of the last group, to which all other keys belong.
  static constexpr std::string_view kOther = "other";

  std::vector<std::string> patterns;

  [[nodiscard]] std::size_t size() const { return patterns.size() + 1; }
  [[nodiscard]] std::string_view NameOf(std::size_t group) const {
    return group < patterns.size() ? patterns[group] : kOther;
  }
  // The first group whose pattern matches the key. Of several keys, one is enough.
  [[nodiscard]] std::size_t Of(const Key& key) const {
    for (std::size_t group = 0; group < patterns.size(); ++group) {
      bool matches = false;
      key.ForEach(
          [&](std::string_view name) { matches = matches || Matches(patterns[group], name); });
      if (matches) return group;
    }
    return patterns.size();
  }
};

}  // namespace redlock
