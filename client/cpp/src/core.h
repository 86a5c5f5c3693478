// The client: its operations, its leases, and the connection that carries both.
//
// One mutex. What may block or call back (writing to a stream, the user's callbacks, stop tokens)
// is collected under it and done after it has been left: see Section.
#pragma once

#include <condition_variable>
#include <deque>
#include <functional>
#include <map>
#include <memory>
#include <mutex>
#include <optional>
#include <random>
#include <set>
#include <string>
#include <thread>
#include <unordered_map>
#include <vector>

#include "client/cpp/src/daemon_clock.h"
#include "client/cpp/src/daemons.h"
#include "client/cpp/src/held_lease.h"
#include "client/cpp/src/stream.h"

namespace redlock::client {

class Core final : public std::enable_shared_from_this<Core> {
 public:
  using LeaseDone = std::function<void(Result<std::shared_ptr<HeldLease>>)>;
  using Done = std::function<void(Result<void>)>;

  static std::shared_ptr<Core> Start(const Options& options);
  // Once, and not from a callback.
  void Close();

  // Each calls `done` once, perhaps inside the call.
  void Acquire(const std::string& key, AcquireOptions options, LeaseDone done);
  void Extend(const std::shared_ptr<HeldLease>& lease, Duration ttl, Done done);
  void Release(const std::shared_ptr<HeldLease>& lease, Done done);

  [[nodiscard]] Duration Validity(const HeldLease& lease);
  [[nodiscard]] std::optional<Error> Loss(const HeldLease& lease);

 private:
  class Section;
  struct Connection;
  struct Operation;

  explicit Core(const Options& options);

  // Operations.
  std::uint64_t Begin(Section& section, Operation operation);
  void GiveUp(Section& section, std::uint64_t id, Reason why);
  void Fail(Section& section, std::uint64_t id, const Error& error);
  void FailAll(Section& section, const Error& error, bool tries_only);
  void SendAll(Section& section);
  void Send(std::uint64_t id, Operation& operation);
  void Flush(Section& section);

  // Leases.
  void TakeAlong(Section& section, const std::shared_ptr<HeldLease>& lease);
  void OnTakenAlong(Section& section, const std::shared_ptr<HeldLease>& lease,
                    const v1::SessionResult& result, TimePoint made);
  void Lose(Section& section, const std::shared_ptr<HeldLease>& lease, Error why);
  void ReleaseInBackground(Section& section, const std::string& key, const std::string& token);

  // The connection.
  void Connect(Section& section);
  void OnMessage(const std::shared_ptr<Connection>& connection, const v1::SessionResponse& message);
  void OnReady(Section& section, const std::shared_ptr<Connection>& connection);
  void OnResult(Section& section, const std::shared_ptr<Connection>& connection,
                const v1::SessionResult& result, TimePoint made);
  void OnEvent(Section& section, const std::shared_ptr<Connection>& connection,
               const v1::WatchResponse& event, TimePoint made);
  void OnWritten(const std::shared_ptr<Connection>& connection);
  void OnEnded(const std::shared_ptr<Connection>& connection, const grpc::Status& status);
  void OnGone(const std::shared_ptr<Connection>& connection);
  void Leave(Section& section, const std::shared_ptr<Connection>& connection);
  void Abandon();
  void CloseStream(Section& section, const std::shared_ptr<Connection>& connection);

  // The keeper's thread: what is due at a time.
  void Keep();
  TimePoint DoDue(Section& section, TimePoint now);
  TimePoint DoDueOfConnection(Section& section, TimePoint now);
  TimePoint DoDueOfOperations(Section& section, TimePoint now);
  TimePoint DoDueOfLeases(Section& section, TimePoint now);
  void WakeBy(TimePoint when);

  const Duration connect_timeout_;
  std::mutex mutex_;
  // gRPC's channels must not end in one of its own threads, which may be the last to know a core.
  std::optional<Daemons> daemons_;  // until Close()
  bool closing_ = false;

  std::uint64_t last_id_ = 0;
  std::map<std::uint64_t, Operation> operations_;  // in the order in which they were begun
  std::unordered_map<std::string, std::shared_ptr<HeldLease>> leases_;  // held, by key

  std::shared_ptr<Connection> connection_;           // null between two
  std::set<std::shared_ptr<Connection>> streaming_;  // that one, and those that have not ended yet
  bool was_ready_ = false;                           // a daemon has answered once
  TimePoint connect_at_{};
  Duration backoff_{};  // of the next pause, once all endpoints have been tried
  Error last_failure_;
  std::minstd_rand random_{std::random_device{}()};

  std::condition_variable wake_;
  TimePoint wake_at_{};
  std::condition_variable gone_;
  std::thread keeper_;
};

}  // namespace redlock::client
