// Tells a jump of the daemon's own clock from steps of the nodes' clocks. After the daemon's
// machine was suspended, its clock may be wrong by the time that the kernel did not count exactly.
// All nodes then seem to have stepped by the same amount. Pure, strand-confined.
//
// Jumps are collected for kWindow, during which the nodes pause. If every connected node jumped
// ahead, and there are enough of them, the smallest jump is taken for that of the daemon's clock:
// at least one node's clock did not step. What is left of a node's jump is its own.
//
// This counts only if the kernel says that the machine was suspended since the readings before the
// jumps. Otherwise the nodes' clocks may have stepped together, for example because all of them
// follow the same wrong time server.
#pragma once

#include <algorithm>
#include <chrono>
#include <cstddef>
#include <optional>
#include <utility>
#include <vector>

#include "server/core/safeguard.h"
#include "server/core/types.h"

namespace redlock {

class CommonJump {
 public:
  static constexpr Duration kWindow = std::chrono::milliseconds(300);

  explicit CommonJump(std::size_t nodes) : jumps_(nodes) {}

  struct Jump {
    Duration gain{};             // of the node's clock; negative if it lost time
    bool off_ahead = false;      // ahead, beyond what drift explains
    Duration pause{};            // for this jump
    MonotonicTime pause_before;  // until when the node paused without this jump
    MonotonicTime noted;
  };

  // Returns true if this is the first jump of a new window.
  bool Note(NodeIndex node, const Jump& jump) {
    std::optional<Jump>& noted = jumps_[node];
    if (noted) {
      // A second jump is not explained by one suspend.
      noted->off_ahead = noted->off_ahead || jump.off_ahead;
      noted->gain = Duration{};
    } else {
      noted = jump;
    }
    return !std::exchange(open_, true);
  }

  // Ends the window and returns the jumps.
  [[nodiscard]] std::vector<std::optional<Jump>> Close() {
    open_ = false;
    return std::exchange(jumps_, std::vector<std::optional<Jump>>(jumps_.size()));
  }

  // By how much the daemon's own clock seems to have lost time: 0 if some node that counts (as
  // `connected` says) did not jump ahead, or if there are fewer than `quorum` or two of them.
  template <typename Connected>
  [[nodiscard]] static Duration Shared(const std::vector<std::optional<Jump>>& jumps,
                                       std::size_t quorum, const Connected& connected) {
    std::size_t count = 0;
    Duration least = Duration::max();
    for (NodeIndex node = 0; node < jumps.size(); ++node) {
      if (!connected(node)) continue;
      if (!jumps[node]) {
        if (Has(Safeguard::kJumpOfAllNodes)) return {};
        continue;
      }
      ++count;
      least = std::min(least, jumps[node]->gain);
    }
    const std::size_t enough =
        Has(Safeguard::kJumpOfAllNodes) ? std::max<std::size_t>(quorum, 2) : 1;
    return count < enough ? Duration{} : std::max(least, Duration{});
  }

 private:
  std::vector<std::optional<Jump>> jumps_;
  bool open_ = false;
};

}  // namespace redlock
