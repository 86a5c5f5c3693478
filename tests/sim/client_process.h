// A client process that runs the real state machine of the client library (client/cpp/core). It
// acquires, waits, gives up, extends, releases, closes and is suspended, at random or as a test
// directs.
#pragma once

#include <cstddef>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "client/cpp/core/machine.h"
#include "tests/sim/session_link.h"
#include "tests/sim/trust_oracle.h"
#include "tests/sim/world.h"

namespace redlock::sim {

struct ClientProcessOptions {
  Duration grace = milliseconds(500);
  double rate = 1;                   // of its clock, relative to the world's
  std::vector<std::size_t> daemons;  // in the order in which the client tries them
};

class ClientProcess {
 public:
  ClientProcess(World& world, Fleet& fleet, TrustOracle& oracle, std::size_t number,
                const ClientProcessOptions& options);
  ~ClientProcess();
  ClientProcess(const ClientProcess&) = delete;
  ClientProcess& operator=(const ClientProcess&) = delete;

  // Calls the machine and carries out the actions that it requests. Call these within the process's
  // scheduler.
  client::CallId Acquire(client::AcquireCommand command);
  void GiveUp(client::CallId call);
  client::CallId Extend(const client::LeaseRef& lease, Duration ttl);
  client::CallId Downgrade(const client::LeaseRef& lease);
  client::CallId Release(const client::LeaseRef& lease);
  void Close();

  // The result of a call: a lease, an error, or neither if the call succeeded without a lease.
  struct Outcome {
    client::LeaseRef lease;
    std::optional<client::Error> error;
  };
  using OnOutcome = std::function<void(client::CallId call, const Outcome& outcome)>;
  void SetOnOutcome(OnOutcome on_outcome) { on_outcome_ = std::move(on_outcome); }
  using OnLost = std::function<void(const client::LeaseRef& lease)>;
  void SetOnLost(OnLost on_lost) { on_lost_ = std::move(on_lost); }

  void Suspend() { scheduler_->Suspend(); }
  void Continue() { scheduler_->Continue(); }
  // Ends the process at once; it sends nothing more.
  void Kill();

  // The time on the process's own clock.
  [[nodiscard]] client::TimePoint Now() const;
  [[nodiscard]] bool Trusts(const std::string& key) const;
  // The reasons for which leases were lost.
  [[nodiscard]] const std::vector<std::string>& losses() const { return losses_; }
  [[nodiscard]] WorldScheduler& scheduler() { return *scheduler_; }
  // The stream in use; null between two streams.
  [[nodiscard]] std::shared_ptr<SessionLink> link() const { return link_; }

 private:
  class ProcessClock;
  class ProcessRandom;

  void Step(const std::function<void()>& call);
  void CarryOut(client::Effect effect);
  void Open(const client::OpenStream& open);
  void SetTimer();
  void Settle(client::CallId call, const Outcome& outcome);
  void CheckReleased(const client::LeaseRef& lease);

  World& world_;
  Fleet& fleet_;
  TrustOracle& oracle_;
  const std::size_t number_;
  const ClientProcessOptions options_;
  const std::shared_ptr<WorldScheduler> scheduler_;
  std::unique_ptr<ProcessClock> clock_;
  std::unique_ptr<ProcessRandom> random_;
  std::unique_ptr<client::Machine> machine_;
  std::shared_ptr<SessionLink> link_;
  TimerHandle timer_;
  bool dead_ = false;
  bool opened_ = false;
  std::vector<std::string> losses_;
  std::map<client::CallId, client::LeaseRef> releasing_;
  // Without Safeguard::kDowngradeEndsTrust: the exclusive leases that are still trusted, each until
  // its downgrade has been answered.
  std::map<client::CallId, std::pair<std::string, client::TimePoint>> downgrading_;
  OnOutcome on_outcome_;
  OnLost on_lost_;
};

}  // namespace redlock::sim
