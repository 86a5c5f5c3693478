// What becomes of a stream's leases when it ends. Decided here, and nowhere else.
//
// A daemon cannot know whether a stream ended because its client cancelled, died, or lost the
// network. So it never gives up what the client may still trust: only a message of the client
// releases, or the silence that the client has agreed to. In every other case the leases expire by
// themselves.
#pragma once

namespace redlock {

enum class StreamEnd {
  kClosed,    // the client sent SessionOperation.close
  kSilent,    // nothing was read from it for the disconnect_grace that it asked for
  kBroken,    // half-closed, cancelled, reset, or past its deadline
  kRefused,   // it sent what cannot be served, or does not read what it is sent
  kShutDown,  // the daemon shuts down, and the client has had its time to move
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
