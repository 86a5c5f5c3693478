// The client's state machine, which implements client/PROTOCOL.md.
//
// It has no threads, no clock and no transport of its own. It is not thread-safe: a driver calls it
// for every event, one call at a time, and then takes and carries out its effects. The machine
// calls only Clock and Random; it never calls back into the driver.
//
//   callers        Acquire, GiveUp, Extend, Downgrade, Release, Close
//   the transport  OnMessage, OnWritten, OnEnded
//   time           Tick, at NextDeadline() or later
#pragma once

#include <cstddef>
#include <deque>
#include <map>
#include <optional>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include "client/cpp/core/connector.h"
#include "client/cpp/core/operation.h"

namespace redlock::client {

struct MachineOptions {
  std::vector<std::string> endpoints;        // at least one; used in error messages only
  Duration grace = std::chrono::seconds(5);  // the Session's disconnect_grace: at least 100 ms
  // How long it may take until a new Session is ready.
  Duration connect_timeout = std::chrono::seconds(2);
  // Whether acquisitions that wait also wait for the first daemon that answers.
  bool wait_for_daemon = true;
};

class Machine {
 public:
  // Connects in the first call of any kind; Tick() is due at once.
  Machine(MachineOptions options, Clock& clock, Random& random);

  // Ends with Acquired or Failed, possibly within this call.
  CallId Acquire(AcquireCommand command);
  // Gives up an acquisition. Does nothing if the acquisition has ended.
  void GiveUp(CallId acquisition);
  // Ends with Done or Failed. `retry`: unset: the daemon tries for as long as `ttl`.
  CallId Extend(const LeaseRef& lease, Duration ttl, std::optional<RetryPolicy> retry = {});
  // Downgrades an exclusive lease to a share. Its trust has ended when this returns. Ends with
  // Acquired, which has a new lease, or with Failed, at the latest when the trust would have ended
  // otherwise; then the lock is released. GiveUp() gives it up. Refused, and the trust goes on,
  // while another call requests the keys with this token.
  CallId Downgrade(const LeaseRef& lease);
  // Releases a lock that a unary call may have acquired, in the background: now, and once more
  // soon, in case a daemon grants the call in between.
  void ReleaseToken(const std::string& key, const std::string& token, Duration lasts);
  // Trust has ended when this returns. Ends with Done or Failed within 2 s. An invalid `keep_for`
  // fails at once, and the trust goes on.
  CallId Release(const LeaseRef& lease, std::optional<Duration> keep_for = {});
  // Call at most once. When this returns, all acquisitions and extensions have failed and all
  // leases are lost. Reports Closed within 2 s: nobody waits any longer. Until Finished, the driver
  // continues to drive the machine, which continues to release what could not be released.
  void Close();
  // After Close(): ends with Finished at once, whatever is not released.
  void Quit();

  // Ignored unless `session` is the current Session.
  void OnMessage(SessionId session, const Response& response);
  void OnWritten(SessionId session);
  // The stream could not be opened, or broke.
  void OnEnded(SessionId session, const Error& why);

  void Tick();
  // When Tick() must be called next; kNever: nothing is due.
  [[nodiscard]] TimePoint NextDeadline() const;

  [[nodiscard]] std::vector<Effect> TakeEffects();

  // Returns the held leases, and lost leases whose trust has not ended.
  [[nodiscard]] std::vector<LeaseRef> Leases() const;
  // Returns whether a lease of this key in its mode, alone or with others, is trusted at `now`.
  [[nodiscard]] bool Trusts(const std::string& key, TimePoint now) const;

 private:
  using OperationNumber = std::uint64_t;
  using Operations = std::map<OperationNumber, Operation>;
  using LeasePtr = std::shared_ptr<KeptLease>;

  // machine.cc: inputs, time, and sending.
  void Begin();
  void Finish();
  void OnDueOperations();
  void OnDue(OperationNumber number);
  void OnAnswer(OperationNumber number, const Answer& answer, TimePoint made);
  void OnPosition(const QueuePosition& position);
  OperationNumber Add(Operation operation);
  void Insert(OperationNumber number, Operation operation);
  // Queues the operation if a Session is ready. Otherwise it is sent once the next Session is
  // ready.
  void Enqueue(OperationNumber number);
  void SendAgain(OperationNumber number, Duration delay);
  void SendDelayed(OperationNumber number);
  // Ensures that OnDueOperations() checks the operations no later than `when`.
  void WakeFor(TimePoint when);
  void Flush();
  [[nodiscard]] OperationBody MessageOf(Operation& operation);
  void Report(Effect effect) { effects_.push_back(std::move(effect)); }
  void Log(LogLevel level, std::string text) { Report(Logged{level, std::move(text)}); }

  // connecting.cc: opens, keeps and abandons Sessions.
  [[nodiscard]] bool ready() const { return session_ && session_->ready(); }
  [[nodiscard]] const std::string& Endpoint() const;
  void KeepSession();
  void Connect();
  void OnPong(OperationNumber ping);
  void OnReady();
  void Abandon(const Error& why);
  // Returns why no endpoint serves.
  [[nodiscard]] std::string Failures() const;
  void OnAbandoned(OperationNumber number);
  // Fails all extensions and acquisitions. With `waiters_stay`, fails only single tries among the
  // acquisitions.
  void FailAll(const Error& error, bool waiters_stay);

  // acquiring.cc
  void Start(OperationNumber number, Acquisition acquisition);
  [[nodiscard]] OperationBody MessageOf(Acquisition& acquisition);
  void OnAnswer(OperationNumber number, Acquisition& acquisition, const Answer& answer,
                TimePoint made);
  void OnGranted(OperationNumber number, Acquisition& acquisition, const Grant& grant,
                 TimePoint made);
  void RaiseSequence(OperationNumber number, Acquisition& acquisition, const Grant& grant);
  void OnRefused(OperationNumber number, Acquisition& acquisition, const Error& error);
  void GiveUp(OperationNumber number, Reason why);
  [[nodiscard]] Error GivenUp(const Acquisition& acquisition, const Answer* answer) const;
  void OnDue(OperationNumber number, Acquisition& acquisition);
  void OnAbandoned(OperationNumber number, Acquisition& acquisition, bool unanswered);
  void FailAcquisition(OperationNumber number, Error error);
  // The lease that the client holds with this token; null: none.
  [[nodiscard]] LeasePtr HeldBy(const std::string& key, const std::string& token) const;
  // If the client holds a lock with the token of the command, carries out the command with it.
  [[nodiscard]] bool UseHeld(OperationNumber number, const AcquireCommand& command);
  void OnLateAnswer(OperationNumber number, const Answer& answer);
  enum class By { kAny, kDowngrade };
  [[nodiscard]] bool Uses(const std::string& key, const std::string& token, By by) const;
  // Whether a later call of the caller has, or may get, a lock with the same token.
  [[nodiscard]] bool InUse(const std::string& key, const std::string& token) const;

  // keeping.cc: held leases.
  [[nodiscard]] LeasePtr Find(const LeaseRef& lease) const;
  void Adopt(const LeasePtr& lease);
  void OnAnswer(OperationNumber number, Adoption& adoption, const Answer& answer, TimePoint made);
  void OnAnswer(OperationNumber number, Extension& extension, const Answer& answer, TimePoint made);
  void OnDue(OperationNumber number, Extension& extension);
  void OnEvent(const Event& event, std::optional<TimePoint> made);
  enum class Losses { kEnded, kAll };
  // Loses leases whose trust has ended; with kAll, also those whose trust is down to the margin.
  void CheckTrust(Losses losses);
  [[nodiscard]] bool MayKeep(const KeptLease& lease) const;
  void Lose(const LeasePtr& lease, const Error& why);
  void LoseAtOnce(const LeasePtr& lease, const Error& why);
  // Ends the operations of a lease that is no longer held.
  void EndOperationsOf(const KeptLease& lease, const Error& why);
  void DropOf(const KeptLease& lease, OperationNumber number);
  void Forget(const LeasePtr& lease);

  // releasing.cc
  [[nodiscard]] PendingRelease ReleaseOf(const KeptLease& lease) const;
  void GiveBackLost(const KeptLease& lease);
  // `lasts`: how long the lock may last by itself.
  [[nodiscard]] PendingRelease ReleaseOf(const std::string& key, const std::string& token,
                                         Duration lasts) const;
  void AddRelease(PendingRelease release);
  void ReleaseInBackground(const std::string& key, const std::string& token, Duration lasts);
  // Releases it in the background, or gives it up if the caller may use the token again. A lock
  // that the caller had before is given up only once it would have expired otherwise.
  void GiveBack(const Unwanted& lock);
  void OnAnswer(OperationNumber number, PendingRelease& release, const Answer& answer);
  void OnDue(OperationNumber number, PendingRelease& release);
  using TokenHold = std::pair<std::string, std::vector<std::string>>;  // and the names of the keys
  [[nodiscard]] static TokenHold HoldOf(const std::string& key, const std::string& token);
  [[nodiscard]] bool Waits(OperationNumber number, const Operation& operation);
  void EraseRelease(OperationNumber number);
  void EndAcquisitions(PendingClose& close);
  void FinishClosing();
  void EndAll();

  const MachineOptions options_;
  Clock& clock_;
  Random& random_;
  TimePoint now_;  // the time of the current call
  std::vector<Effect> effects_;

  Connector connector_;
  std::optional<Session> session_;
  SessionId last_session_ = 0;
  std::uint64_t last_id_ = 0;  // the last id of an operation in a message
  bool was_ready_ = false;     // a Session has been ready at least once
  bool outage_ = false;        // reported: every endpoint has failed since a Session was ready
  bool draining_ = false;      // reported by the current message
  // The daemon keeps a lost lease alive whose delay must pass, so that nothing may release it. Only
  // the end of the Session stops that.
  bool leave_session_ = false;
  // For each endpoint, the last failure since a Session was ready; empty: none.
  std::vector<std::string> failures_;

  OperationNumber last_number_ = 0;
  Operations operations_;
  std::multiset<TokenHold> releasing_;                 // what the pending releases may end
  std::multimap<TokenHold, OperationNumber> waiting_;  // for one of these to end
  TimePoint look_at_operations_ = kNever;              // no operation is due before this
  std::deque<OperationNumber> outgoing_;               // to be sent on the current Session
  std::map<OperationNumber, Discarded> discarded_;     // sent there, not answered yet

  std::multimap<std::string, LeasePtr> leases_;  // by key
  TimePoint look_at_leases_ = kNever;            // no lease is due before this
  // The extensions and the adoption of each held lease.
  std::multimap<const KeptLease*, OperationNumber> operations_of_;

  std::optional<TimePoint> close_by_;
  bool left_ = false;      // Closed has been reported
  bool finished_ = false;  // Finished has been reported
};

}  // namespace redlock::client
