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
#include <utility>
#include <variant>
#include <vector>

#include "client/cpp/core/calls.h"
#include "client/cpp/core/machine.h"
#include "client/cpp/core/observers.h"
#include "client/cpp/core/watches.h"
#include "client/cpp/src/boot_timer.h"
#include "client/cpp/src/endpoints.h"
#include "client/cpp/src/read_stream.h"
#include "client/cpp/src/stream.h"
#include "client/cpp/src/unary_call.h"

namespace redlock::client {

// A lease as seen by a Lock.
struct HeldLease {
  const LeaseRef lease;
  std::stop_source lost;
};

// A watch as seen by a Watch.
struct WatchState {
  const std::function<void(const WatchEvent&)> on_event;
  WatchId id = 0;
  bool ended = false;  // the last event has been reported; guarded by the mutex of the driver
};

class Driver final : public std::enable_shared_from_this<Driver> {
 public:
  using LockDone = std::function<void(Result<std::shared_ptr<HeldLease>>)>;
  using LeaseDone = std::function<void(Result<Lease>)>;
  using CallDone = std::function<void(Result<void>)>;

  // Throws std::invalid_argument if the options cannot be used.
  static std::shared_ptr<Driver> Start(const Options& options);
  // Call once, and not from a callback. Takes at most about 2 s. Locks that could not be released
  // by then are released in the background (lingering.h).
  void Close();
  // Called by Lingering. The first waits until everything is released, and ends; after Quit(), it
  // does not wait for releases.
  void Finish();
  void Quit();

  // Each of these calls `done` exactly once, possibly before it returns.
  void Acquire(AcquireCommand command, const std::stop_token& stop, std::function<void(int)> queued,
               LockDone done);
  void Extend(const HeldLease& held, Duration ttl, std::optional<RetryPolicy> retry, CallDone done);
  void Downgrade(const HeldLease& held, LockDone done);
  void Release(const HeldLease& held, std::optional<Duration> keep_for, CallDone done);
  void Proclaim(const HeldLease& held, const std::string& value, CallDone done);
  // Unary calls: the first is for acquires and extensions, the second for releases and
  // proclamations.
  void Call(UnaryCommand command, const std::stop_token& stop, LeaseDone done);
  void Call(UnaryCommand command, CallDone done);

  // Fails if an item is invalid, or after Close().
  Result<std::shared_ptr<WatchState>> StartWatch(std::vector<WatchItem> items,
                                                 std::function<void(const WatchEvent&)> on_event,
                                                 const WatchOptions& options);
  // Waits for the last event, unless it is called by a callback.
  void CloseWatch(const WatchState& state);

  // Fails if the key is invalid, or after Close().
  Result<ObserverId> StartObserver(const std::string& key);
  // Waits for the next state of the observer, or its end.
  Result<KeyState> NextState(ObserverId observer, const std::optional<Duration>& wait);
  void CloseObserver(ObserverId observer);
  // The observer is not used any more.
  void ForgetObserver(ObserverId observer);

  [[nodiscard]] std::uint64_t FencingToken(const HeldLease& held) const;
  // Returns how much of the trust is left; zero once the lease is lost.
  [[nodiscard]] Duration Validity(const HeldLease& held) const;
  // The same, but also counts after the loss was signalled.
  [[nodiscard]] Duration TimeToStop(const HeldLease& held) const;
  [[nodiscard]] std::optional<Error> Loss(const HeldLease& held) const;

 private:
  struct Pending {
    std::variant<LockDone, LeaseDone, CallDone> done;
    std::function<void(int)> queued;
    std::shared_ptr<void> stop_callback;
  };
  struct OpenedStream {
    std::shared_ptr<Stream> stream;  // null until it has been opened, and after it has ended
    bool ended = false;
  };

  template <typename Rpc>
  struct OpenedRpc {
    std::shared_ptr<Rpc> rpc;  // null until it has been opened, and after it has ended
    bool ended = false;
  };
  // By the id of the call, watch or observer, and the number of the attempt. Forgotten when gRPC no
  // longer uses them.
  template <typename Rpc>
  using Rpcs = std::map<std::pair<std::uint64_t, std::uint64_t>, OpenedRpc<Rpc>>;

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
  void ReleaseLeftovers();
  void CarryOut();
  void Keep();

  void CarryOut(const OpenStream& effect);
  void CarryOut(WriteMessage& effect);
  void CarryOut(const CancelStream& effect);
  void CarryOut(const SendCall& effect);
  void CarryOut(const CancelCall& effect);
  void CarryOut(const OpenWatch& effect);
  void CarryOut(const CancelWatch& effect);
  void CarryOut(const OpenObserve& effect);
  void CarryOut(const CancelObserve& effect);
  void CarryOut(const Acquired& effect);
  void CarryOut(const Leased& effect);
  void CarryOut(const Done& effect);
  void CarryOut(const Failed& effect);
  void CarryOut(const Queued& effect);
  void CarryOut(const Watched& effect);
  void CarryOut(const Observed& effect);
  void CarryOut(const Lost& effect);
  void CarryOut(const Logged& effect);
  void CarryOut(const Closed& effect);
  void CarryOut(const Finished& effect);
  [[nodiscard]] std::shared_ptr<Stream> StreamOf(SessionId session);
  void GiveUpOn(const std::stop_token& stop, CallId call);
  [[nodiscard]] Pending Take(CallId call);
  // Calls a callback of the user. An exception must not affect other calls: it is logged.
  template <typename Callback, typename... Arguments>
  void CallBack(const Callback& callback, Arguments&&... arguments) const;
  [[nodiscard]] Duration TimeLeft(const KeptLease& lease) const;
  // Returns why the stream ended. May connect once more to find out, if no lock is at stake.
  [[nodiscard]] Error ToError(const grpc::Status& status, const std::string& endpoint,
                              const std::string& token_problem) const;
  void OnEnded(SessionId session, Error why);
  void OnGone(SessionId session);
  [[nodiscard]] const std::string& RenewedToken();
  // The end of a unary call, a Watch or an Observe.
  [[nodiscard]] UnaryAnswer ToAnswer(const grpc::Status& status, std::size_t endpoint) const;
  template <typename Rpc>
  void Own(Rpcs<Rpc>& rpcs, const typename Rpcs<Rpc>::key_type& key, std::shared_ptr<Rpc> rpc);
  template <typename Rpc>
  void Disown(Rpcs<Rpc>& rpcs, const typename Rpcs<Rpc>::key_type& key);
  template <typename Rpc>
  void Forget(Rpcs<Rpc>& rpcs, const typename Rpcs<Rpc>::key_type& key);
  template <typename Rpc>
  void CancelAll(Rpcs<Rpc>& rpcs, std::uint64_t id);

  const Options options_;
  const std::string owner_;  // the label of locks whose caller gives none
  // Reset in Close(), because a thread of gRPC may destroy this object, but must not destroy gRPC's
  // channels.
  std::optional<Endpoints> endpoints_;  // unset after Close()
  mutable SystemClock clock_;
  SystemRandom random_;
  BootTimer timer_;
  std::thread keeper_;

  mutable std::mutex mutex_;
  Machine machine_;
  Calls calls_;
  Watches watches_;
  Observers observers_;
  TimePoint wake_at_ = kNever;  // the time that timer_ is set to
  std::deque<Effect> effects_;
  bool carrying_out_ = false;  // a thread carries out effects_
  std::thread::id carrier_;    // that thread
  std::unordered_map<CallId, Pending> pending_;
  std::unordered_map<LeaseRef, std::shared_ptr<HeldLease>> held_;
  std::map<SessionId, OpenedStream> streams_;  // erased by OnGone()
  Rpcs<UnaryCall> unary_calls_;
  Rpcs<WatchStream> watch_streams_;
  Rpcs<ObserveStream> observe_streams_;
  std::unordered_map<WatchId, std::shared_ptr<WatchState>> watching_;
  bool closing_ = false;
  bool closed_ = false;              // the user's callbacks are not called any more
  bool finished_ = false;            // the machine has finished
  std::condition_variable changed_;  // one of the last nine has changed, or an observer
};

}  // namespace redlock::client
