#include "tests/sim/client.h"

#include <utility>

#include "tests/sim/end_lease.h"
#include "tests/sim/listeners.h"

namespace redlock::sim {

namespace {

// What a time on the nodes is worth by the world's clock: their clocks drift.
Duration Promised(Duration by_nodes) {
  return std::max(by_nodes - by_nodes / 50 - milliseconds(2), Duration());
}

}  // namespace

Shard& Client::AnyShard() {
  std::size_t daemon = world_.Below(daemons_);
  for (std::size_t i = 0; i < daemons_ && cluster_.suspended(daemon); ++i) {
    daemon = (daemon + 1) % daemons_;
  }
  return cluster_.shard(daemon);
}

Key Client::AnyKeys() {
  const std::size_t first = world_.Below(keys_);
  const std::size_t count = 1 + (world_.Chance(0.5) ? world_.Below(keys_) : 0);
  std::vector<std::string> names;
  for (std::size_t i = 0; i < count; ++i) {
    names.push_back("key-" + std::to_string((first + i) % keys_));
  }
  // Mostly of one limit. Some users want another one, or a lock.
  if (semaphores_ && !world_.Chance(0.05)) {
    return Key(names.front()).Slot(world_.Chance(0.1) ? 3 : 2, 0);
  }
  const Key key = Key::Of(std::move(names));
  return world_.Chance(sharing_) ? key.Shared() : key;
}

void Client::Run(MonotonicTime end) {
  end_ = end;
  Next();
}

void Client::Next() {
  if (world_.now() >= end_) return;
  world_.Do(world_.Between({}, milliseconds(50)), [this] { Acquire(); });
}

void Client::Acquire() {
  AcquireCommand command;
  command.key = AnyKeys();
  command.ttl = world_.Between(milliseconds(20), milliseconds(600));
  command.retry = {.max_retries = static_cast<int>(world_.Below(5)) - 1,
                   .min_delay = world_.Between({}, milliseconds(5)),
                   .max_jitter = world_.Between({}, milliseconds(40))};
  // An acquisition without a limit needs a deadline, or the simulation would not end.
  if (command.retry.max_retries < 0 || world_.Chance(0.2)) {
    command.deadline = world_.now() + world_.Between(microseconds(100), milliseconds(400));
  }
  if (world_.Chance(0.4)) {
    // The client's own token, mostly the same one, so that an acquisition meets what earlier ones
    // left behind.
    if (world_.Chance(0.3)) ++tokens_;
    command.token = OwnerToken(name_ + "-" + std::to_string(tokens_));
    command.extend_if_held = world_.Chance(0.8);
  }
  if (most_delay_ != Duration() && world_.Chance(0.2)) {
    // With the TTL at most the longest TTL of a set in these simulations.
    const Duration most = milliseconds(600) - command.ttl;
    command.owner.lock_delay = world_.Between({}, std::min(most_delay_, most));
  }
  ++calls_.made;
  const Asked asked{command.ttl, command.owner.lock_delay, world_.now()};
  if (world_.Chance(0.3)) {
    HoldStream(std::move(command));
    return;
  }
  const auto operation =
      AnyShard().Acquire(std::move(command), [this, asked](const AcquireResult& result) {
        ++calls_.answered;
        Acquired(result, asked);
      });
  if (world_.Chance(0.2)) {
    world_.Do(world_.Between({}, milliseconds(20)),
              [operation] { operation->Cancel(Reason::kCancelled); });
  }
}

// A lock that lives as long as its stream. The client does not learn how its release ends, so it
// does not reuse the token.
void Client::HoldStream(AcquireCommand command) {
  struct State {
    Shard* shard = nullptr;
    std::shared_ptr<HoldOperation> hold;
    Lease lease;
    bool over = false;
  };
  const auto state = std::make_shared<State>();
  ++tokens_;
  if (!command.token.empty()) {
    command.token = OwnerToken(name_ + "-hold-" + std::to_string(tokens_));
  }
  const Duration ttl = command.ttl;
  const Duration delay = Promised(command.owner.lock_delay);
  const auto end = [this, state] {
    if (std::exchange(state->over, true)) return;
    oracle_.Ends(state->lease.key.str(), state->lease.token.str());
    state->hold.reset();
    Next();
  };
  state->shard = &AnyShard();
  state->hold = state->shard->Hold(
      {.acquire = std::move(command), .interval = ttl / 2, .max_lifetime = std::nullopt},
      ListenerOf(
          [this, state, end, delay](const AcquireResult& result) {
            ++calls_.answered;
            if (!result.lease) {
              end();
              return;
            }
            state->lease = *result.lease;
            oracle_.Holds(world_.now(), *result.lease, delay);
          },
          [this, end, delay](const WatchEvent& event) {
            if (event.type == WatchEvent::Type::kExtended) {
              oracle_.Holds(world_.now(), event.lease, delay);
            }
            if (!event.goes_on) end();
          }));
  world_.Do(world_.Between({}, ttl * 5), [this, state, end] {
    if (state->over) return;
    if (state->lease.token.empty()) ++calls_.answered;  // ended before the answer came
    if (world_.Chance(0.8)) {
      EndHold(*state->shard, *state->hold);
    } else {
      state->hold->Detach();
    }
    end();
  });
}

void Client::Acquired(const AcquireResult& result, Asked asked) {
  if (!result.lease) {
    Next();
    return;
  }
  if (world_.Chance(0.1)) {
    // The reply does not reach the client, so the TTL has to end the lock.
    Next();
    return;
  }
  if (result.extended) asked = {.ttl = asked.ttl, .delay = {}, .at = {}};
  oracle_.Holds(world_.now(), *result.lease, Promised(asked.delay));
  Hold(*result.lease, asked);
}

void Client::Hold(const Lease& lease, const Asked& asked) {
  const Duration pause = world_.Chance(0.3) ? Duration{} : world_.Between({}, asked.ttl);
  world_.Do(pause, [this, lease, asked] {
    switch (world_.Below(4)) {
      case 0:
        Extend(lease, asked);
        break;
      case 1:
        Watch(lease, asked);
        break;
      default:
        Leave(lease, asked);
        break;
    }
  });
}

void Client::Extend(const Lease& lease, const Asked& asked) {
  ++calls_.made;
  ExtendCommand command{.key = lease.key,
                        .token = lease.token,
                        .ttl = asked.ttl,
                        .retry = {.max_retries = static_cast<int>(world_.Below(3))},
                        .deadline = std::nullopt,
                        .raise_to = {}};
  const auto operation =
      AnyShard().Extend(std::move(command), [this, asked](const ExtendResult& result) {
        ++calls_.answered;
        if (!result.lease) {
          // The client still trusts the rest of the lease; the oracle knows until when.
          Next();
          return;
        }
        oracle_.Holds(world_.now(), *result.lease, Promised(asked.delay));
        Hold(*result.lease, asked);
      });
  if (world_.Chance(0.1)) operation->Cancel(Reason::kCancelled);
}

void Client::Watch(const Lease& lease, const Asked& asked) {
  const Duration ttl = asked.ttl;
  struct State {
    Shard* shard = nullptr;
    std::shared_ptr<Watchdog> watchdog;
    bool over = false;
  };
  const auto state = std::make_shared<State>();
  WatchCommand command{.key = lease.key,
                       .token = lease.token,
                       .ttl = ttl,
                       .interval = ttl / 2,
                       .keep_watching_after_loss = world_.Chance(0.2),
                       .max_lifetime = std::nullopt};
  if (world_.Chance(0.2)) command.max_lifetime = world_.Between(milliseconds(1), ttl * 4);
  state->shard = &AnyShard();
  state->watchdog = state->shard->Watch(
      command,
      ListenerOf([this, state, lease, delay = Promised(asked.delay)](const WatchEvent& event) {
        switch (event.type) {
          case WatchEvent::Type::kExtended:
            oracle_.Holds(world_.now(), event.lease, delay);
            break;
          case WatchEvent::Type::kExtendFailed:
            break;
          case WatchEvent::Type::kLost:
          case WatchEvent::Type::kLifetimeEnded:
          case WatchEvent::Type::kReleased:
          case WatchEvent::Type::kDenied:
            oracle_.Ends(lease.key.str(), lease.token.str());
            break;
        }
        if (!event.goes_on && !std::exchange(state->over, true)) Next();
      }));
  world_.Do(world_.Between({}, ttl * 5), [this, state, lease] {
    if (std::exchange(state->over, true)) return;
    oracle_.Ends(lease.key.str(), lease.token.str());
    EndLease(*state->shard, *std::exchange(state->watchdog, nullptr));
    Next();
  });
}

void Client::Leave(const Lease& lease, const Asked& asked) {
  if (world_.Chance(0.2)) {  // the client forgets the lock or dies, so the TTL has to end it
    Next();
    return;
  }
  oracle_.Ends(lease.key.str(), lease.token.str());
  ++calls_.made;
  const Duration keep_for = most_delay_ != Duration() && world_.Chance(0.2)
                                ? world_.Between(milliseconds(1), most_delay_)
                                : Duration();
  AnyShard().Release(
      lease.key, lease.token,
      [this, lease, keep_for, at = asked.at](const ReleaseResult& result) {
        ++calls_.answered;
        // Another holder may share the key, or have another slot.
        const bool alone = !lease.key.IsShared() && !lease.key.IsSemaphore();
        if (!result.error && keep_for != Duration() && alone) {
          oracle_.Keeps(lease, at + Promised(keep_for));
        }
        // According to the contract, a token must not be reused unless its release is known to be
        // done.
        if (result.error && result.error->reason != Reason::kLockNotHeld) ++tokens_;
        Next();
      },
      {}, keep_for);
}

}  // namespace redlock::sim
