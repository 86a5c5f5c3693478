// Decides what happens to the leases of a stream when it ends. No other code decides this.
//
// A daemon cannot know whether a stream ended because its client cancelled, died or lost the
// network. So it never releases a lease that the client may still trust, unless the client sent a
// message that releases or was silent for as long as it agreed to. In all other cases, the leases
// expire.
#pragma once

namespace redlock {

enum class StreamEnd {
  kClosed,    // the client sent SessionOperation.close
  kSilent,    // the daemon read nothing for the client's disconnect_grace
  kBroken,    // half-closed, cancelled, reset, or past its deadline
  kRefused,   // the client sent an invalid request, does not read its events, or lost its access
  kShutDown,  // the daemon shuts down, and the client has had time to move
};

enum class LeaseFate { kReleased, kExpires };

[[nodiscard]] constexpr LeaseFate FateOf(StreamEnd end) {
  switch (end) {
    case StreamEnd::kClosed:
    case StreamEnd::kSilent:
      return LeaseFate::kReleased;
    case StreamEnd::kBroken:
    case StreamEnd::kRefused:
    case StreamEnd::kShutDown:
      return LeaseFate::kExpires;
  }
  return LeaseFate::kExpires;
}

}  // namespace redlock
