// The client's state machine, which implements client/PROTOCOL.md.
//
// It has no threads, no clock and no transport of its own. It is not thread-safe: a driver calls it
// for every event, one call at a time, and then takes and carries out its effects. The machine
// calls only Clock and Random; it never calls back into the driver.
//
//   callers        Acquire, GiveUp, Extend, Release, Close
//   the transport  OnMessage, OnWritten, OnEnded
//   time           Tick, at NextDeadline() or later
#pragma once

#include <cstddef>
#include <deque>
#include <map>
#include <optional>
#include <string>
#include <vector>

#include "client/cpp/core/connector.h"
#include "client/cpp/core/operation.h"

namespace redlock::client {

struct MachineOptions {
  std::vector<std::string> endpoints;        // at least one; used in error messages only
  Duration grace = std::chrono::seconds(5);  // the Session's disconnect_grace: at least 100 ms
  Duration connect_timeout = std::chrono::seconds(2);
};

class Machine {
 public:
  // Connects in the first call of any kind; Tick() is due at once.
  Machine(MachineOptions options, Clock& clock, Random& random);

  // Ends with Acquired or Failed, possibly within this call.
  CallId Acquire(AcquireCommand command);
  // Gives up an acquisition. Does nothing if the acquisition has ended.
  void GiveUp(CallId acquisition);
  // Ends with Done or Failed.
  CallId Extend(const LeaseRef& lease, Duration ttl);
  // Trust has ended when this returns. Ends with Done or Failed within 2 s.
  CallId Release(const LeaseRef& lease);
  // Call at most once. When this returns, all acquisitions and extensions have failed and all
  // leases are lost. Ends with Closed within 2 s; until then the driver continues to drive the
  // machine.
  void Close();

  // Ignored unless `session` is the current Session.
  void OnMessage(SessionId session, const Response& response);
  void OnWritten(SessionId session);
  // The stream could not be opened, or broke.
  void OnEnded(SessionId session, Error why);

  void Tick();
  // When Tick() must be called next; kNever: nothing is due.
  [[nodiscard]] TimePoint NextDeadline() const;

  [[nodiscard]] std::vector<Effect> TakeEffects();

  // Returns the held leases, and lost leases whose trust has not ended.
  [[nodiscard]] std::vector<LeaseRef> Leases() const;
  // Returns whether a lease of this key is trusted at `now`.
  [[nodiscard]] bool Trusts(const std::string& key, TimePoint now) const;

 private:
  using OperationNumber = std::uint64_t;
  using Operations = std::map<OperationNumber, Operation>;
  using LeasePtr = std::shared_ptr<Lease>;

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
  // Ensures that OnDueOperations() checks the operations no later than `when`.
  void WakeFor(TimePoint when);
  void Flush();
  [[nodiscard]] OperationBody MessageOf(Operation& operation);
  void Report(Effect effect) { effects_.push_back(std::move(effect)); }

  // connecting.cc: opens, keeps and abandons Sessions.
  [[nodiscard]] bool ready() const { return session_ && session_->ready(); }
  [[nodiscard]] const std::string& Endpoint() const;
  void KeepSession();
  void Connect();
  void OnPong(OperationNumber ping);
  void OnReady();
  void Abandon(Error why);
  void OnAbandoned(OperationNumber number);
  // Fails all extensions and acquisitions. With `waiters_stay`, fails only single tries among the
  // acquisitions.
  void FailAll(const Error& error, bool waiters_stay);

  // acquiring.cc
  [[nodiscard]] OperationBody MessageOf(Acquisition& acquisition);
  [[nodiscard]] std::string MakeToken();
  void OnAnswer(OperationNumber number, Acquisition& acquisition, const Answer& answer,
                TimePoint made);
  void OnGranted(OperationNumber number, Acquisition& acquisition, const Grant& grant,
                 TimePoint made);
  void GiveUp(OperationNumber number, Reason why);
  [[nodiscard]] Error GivenUp(Reason why) const;
  void OnDue(OperationNumber number, Acquisition& acquisition);
  void OnAbandoned(OperationNumber number, Acquisition& acquisition, bool unanswered);
  void FailAcquisition(OperationNumber number, Error error);
  void OnLateAnswer(OperationNumber number, const Answer& answer);

  // keeping.cc: held leases.
  [[nodiscard]] LeasePtr Find(const LeaseRef& lease) const;
  void Adopt(const LeasePtr& lease);
  void OnAnswer(OperationNumber number, Adoption& adoption, const Answer& answer, TimePoint made);
  void OnAnswer(OperationNumber number, Extension& extension, const Answer& answer, TimePoint made);
  void OnEvent(const Event& event, std::optional<TimePoint> made);
  enum class Losses { kEnded, kAll };
  // Loses leases whose trust has ended; with kAll, also those whose trust is down to the margin.
  void CheckTrust(Losses losses);
  void Lose(const LeasePtr& lease, const Error& why);
  void LoseAtOnce(const LeasePtr& lease, const Error& why);
  // Ends the operations of a lease that is no longer held.
  void EndOperationsOf(const Lease& lease, const Error& why);
  void DropOf(const Lease& lease, OperationNumber number);
  void Forget(const LeasePtr& lease);

  // releasing.cc
  [[nodiscard]] PendingRelease ReleaseOf(const Lease& lease) const;
  [[nodiscard]] PendingRelease ReleaseOf(const std::string& key, const std::string& token,
                                         Duration ttl) const;
  void AddRelease(PendingRelease release);
  void ReleaseInBackground(const std::string& key, const std::string& token, Duration ttl);
  void OnAnswer(OperationNumber number, PendingRelease& release, const Answer& answer);
  void OnDue(OperationNumber number, PendingRelease& release);
  void EndAcquisitions(PendingClose& close);
  void FinishClosing();

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
  bool draining_ = false;      // reported by the current message
  Error last_failure_;

  OperationNumber last_number_ = 0;
  Operations operations_;
  TimePoint look_at_operations_ = kNever;           // no operation is due before this
  std::deque<OperationNumber> outgoing_;            // to be sent on the current Session
  std::map<OperationNumber, Discarded> discarded_;  // sent there, not answered yet

  std::multimap<std::string, LeasePtr> leases_;  // by key
  TimePoint look_at_leases_ = kNever;            // no lease is due before this
  // The extensions and the adoption of each held lease.
  std::multimap<const Lease*, OperationNumber> operations_of_;

  std::optional<TimePoint> close_by_;
  bool closed_ = false;
};

}  // namespace redlock::client
