// Drives the state machine (client/cpp/core) with threads, streams, the real clock and callbacks.
//
// One mutex guards the machine and its state. Everything that may block or call back (streams, the
// user's callbacks, stop tokens) is an effect. Effects are carried out without the mutex, by one
// thread at a time, in the order in which the machine made them.
#pragma once

#include <condition_variable>
#include <deque>
#include <functional>
#include <map>
#include <memory>
#include <mutex>
#include <optional>
#include <stop_token>
#include <string>
#include <thread>
#include <unordered_map>
#include <vector>

#include "client/cpp/core/machine.h"
#include "client/cpp/src/boot_timer.h"
#include "client/cpp/src/endpoints.h"
#include "client/cpp/src/stream.h"

namespace redlock::client {

// A lease as seen by a Lock.
struct HeldLease {
  const LeaseRef lease;
  std::stop_source lost;
};

class Driver final : public std::enable_shared_from_this<Driver> {
 public:
  using LeaseDone = std::function<void(Result<std::shared_ptr<HeldLease>>)>;
  using CallDone = std::function<void(Result<void>)>;

  // Throws std::invalid_argument if the options cannot be used.
  static std::shared_ptr<Driver> Start(const Options& options);
  // Call once, and not from a callback. Takes at most about 2 s.
  void Close();

  // Each of these calls `done` exactly once, possibly before it returns.
  void Acquire(const std::string& key, AcquireOptions options, LeaseDone done);
  void Extend(const HeldLease& held, Duration ttl, CallDone done);
  void Release(const HeldLease& held, CallDone done);

  [[nodiscard]] std::uint64_t FencingToken(const HeldLease& held) const;
  // Returns how much of the trust is left; zero once the lease is lost.
  [[nodiscard]] Duration Validity(const HeldLease& held) const;
  // The same, but also counts after the loss was signalled.
  [[nodiscard]] Duration TimeToStop(const HeldLease& held) const;
  [[nodiscard]] std::optional<Error> Loss(const HeldLease& held) const;

 private:
  struct Acquiring {
    LeaseDone done;
    std::function<void(int)> queued;
    std::shared_ptr<void> stop_callback;
  };
  struct OpenedStream {
    std::shared_ptr<Stream> stream;  // null until it has been opened, and after it has ended
    bool ended = false;
  };

  explicit Driver(const Options& options);

  // Calls `input` with the machine, and carries out the effects.
  template <typename Input>
  void Do(Input input) {
    {
      const std::lock_guard lock(mutex_);
      input(machine_);
      Adjust();
    }
    CarryOut();
  }
  void Adjust();
  void CarryOut();
  void Keep();

  void CarryOut(const OpenStream& effect);
  void CarryOut(WriteMessage& effect);
  void CarryOut(const CancelStream& effect);
  void CarryOut(const Acquired& effect);
  void CarryOut(const Done& effect);
  void CarryOut(const Failed& effect);
  void CarryOut(const Queued& effect);
  void CarryOut(const Lost& effect);
  void CarryOut(const Closed& effect);
  [[nodiscard]] std::shared_ptr<Stream> StreamOf(SessionId session);
  void GiveUpOn(const std::stop_token& stop, CallId call);
  [[nodiscard]] Acquiring Take(CallId call);
  void FinishCall(CallId call, const Result<void>& result);
  [[nodiscard]] Duration TimeLeft(const Lease& lease) const;
  void OnEnded(SessionId session, const grpc::Status& status, const std::string& endpoint);
  void OnGone(SessionId session);

  // Reset in Close(), because a thread of gRPC may destroy this object, but must not destroy gRPC's
  // channels.
  std::optional<Endpoints> endpoints_;  // unset after Close()
  mutable SystemClock clock_;
  SystemRandom random_;
  BootTimer timer_;
  std::thread keeper_;

  mutable std::mutex mutex_;
  Machine machine_;
  TimePoint wake_at_ = kNever;  // the time that timer_ is set to
  std::deque<Effect> effects_;
  bool carrying_out_ = false;  // a thread carries out effects_
  std::unordered_map<CallId, Acquiring> acquiring_;
  std::unordered_map<CallId, CallDone> calls_;  // extensions and releases
  std::unordered_map<LeaseRef, std::shared_ptr<HeldLease>> held_;
  std::map<SessionId, OpenedStream> streams_;  // erased by OnGone()
  bool closed_ = false;
  std::condition_variable changed_;  // closed_ or streams_ has changed
};

}  // namespace redlock::client
