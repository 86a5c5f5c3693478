// The client's state machine: client/PROTOCOL.md.
//
// It has no threads, no clock and no transport of its own. A driver calls it for whatever happens,
// one call at a time, and carries out the effects that it takes afterwards. Nothing calls back into
// the driver but Clock and Random.
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
  std::vector<std::string> endpoints;        // at least one; the names are for error messages
  Duration grace = std::chrono::seconds(5);  // the Session's disconnect_grace: at least 100 ms
  Duration connect_timeout = std::chrono::seconds(2);
};

class Machine {
 public:
  // Connects at the first call of any kind; Tick() is due at once.
  Machine(MachineOptions options, Clock& clock, Random& random);

  // Ends with Acquired or Failed, perhaps at once.
  CallId Acquire(AcquireCommand command);
  // Nothing happens if the acquisition has ended.
  void GiveUp(CallId acquisition);
  // Ends with Done or Failed.
  CallId Extend(const LeaseRef& lease, Duration ttl);
  // Trust has ended when this returns. Ends with Done or Failed, within 2 s.
  CallId Release(const LeaseRef& lease);
  // Once. Everything that waits has ended, and all leases are lost, when this returns. Ends with
  // Closed, within 2 s; until then the driver goes on.
  void Close();

  // Ignored unless `session` is the one in use.
  void OnMessage(SessionId session, const Response& response);
  void OnWritten(SessionId session);
  // The stream could not be opened, or broke.
  void OnEnded(SessionId session, Error why);

  void Tick();
  // kNever: nothing is due.
  [[nodiscard]] TimePoint NextDeadline() const;

  [[nodiscard]] std::vector<Effect> TakeEffects();

  // Held leases, and lost ones that are still trusted for a moment.
  [[nodiscard]] std::vector<LeaseRef> Leases() const;
  // A lease of this key is trusted at `now`.
  [[nodiscard]] bool Trusts(const std::string& key, TimePoint now) const;

 private:
  using OperationNumber = std::uint64_t;
  using Operations = std::map<OperationNumber, Operation>;
  using LeasePtr = std::shared_ptr<Lease>;

  // machine.cc: inputs, time, and what is sent.
  void Begin();
  void Finish();
  void OnDueOperations();
  void OnDue(OperationNumber number);
  void OnAnswer(OperationNumber number, const Answer& answer, TimePoint made);
  void OnPosition(const QueuePosition& position);
  OperationNumber Add(Operation operation);
  void Insert(OperationNumber number, Operation operation);
  // To be sent, now or when there is a Session that is ready.
  void Enqueue(OperationNumber number);
  void SendAgain(OperationNumber number, Duration delay);
  // The operations are looked at no later than this.
  void WakeFor(TimePoint when);
  void Flush();
  [[nodiscard]] OperationBody MessageOf(Operation& operation);
  void Report(Effect effect) { effects_.push_back(std::move(effect)); }

  // connecting.cc: from one Session to the next.
  [[nodiscard]] bool ready() const { return session_ && session_->ready(); }
  [[nodiscard]] const std::string& Endpoint() const;
  void KeepSession();
  void Connect();
  void OnPong(OperationNumber ping);
  void OnReady();
  void Abandon(Error why);
  void OnAbandoned(OperationNumber number);
  // Extensions, and acquisitions; of those only single tries if `waiters_stay`.
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

  // keeping.cc: leases while they are held.
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
  // Of a lease that is not held any more.
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
  TimePoint now_;  // of the call that goes on
  std::vector<Effect> effects_;

  Connector connector_;
  std::optional<Session> session_;
  SessionId last_session_ = 0;
  std::uint64_t last_id_ = 0;  // of a message's operation
  bool was_ready_ = false;     // a daemon has answered once
  bool draining_ = false;      // so says the message that is being read
  Error last_failure_;

  OperationNumber last_number_ = 0;
  Operations operations_;
  TimePoint look_at_operations_ = kNever;           // none is due before
  std::deque<OperationNumber> outgoing_;            // to be sent over the present Session
  std::map<OperationNumber, Discarded> discarded_;  // not yet answered there

  std::multimap<std::string, LeasePtr> leases_;  // by key
  TimePoint look_at_leases_ = kNever;            // trust of none ends before
  // Extensions, and the adoption, of held leases.
  std::multimap<const Lease*, OperationNumber> operations_of_;

  std::optional<TimePoint> close_by_;
  bool closed_ = false;
};

}  // namespace redlock::client
