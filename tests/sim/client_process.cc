#include "tests/sim/client_process.h"

#include <algorithm>
#include <cmath>
#include <utility>
#include <variant>

#include "client/cpp/core/keys.h"
#include "server/core/safeguard.h"

namespace redlock::sim {

class ClientProcess::ProcessClock final : public client::Clock {
 public:
  explicit ProcessClock(const ClientProcess& process) : process_(process) {}
  [[nodiscard]] client::TimePoint Now() override { return process_.Now(); }

 private:
  const ClientProcess& process_;
};

class ClientProcess::ProcessRandom final : public client::Random {
 public:
  explicit ProcessRandom(World& world) : world_(world) {}
  [[nodiscard]] std::uint64_t Bits() override { return world_.Below(~std::uint64_t{0}); }

 private:
  World& world_;
};

ClientProcess::ClientProcess(World& world, Fleet& fleet, TrustOracle& oracle, std::size_t number,
                             const ClientProcessOptions& options)
    : world_(world),
      fleet_(fleet),
      oracle_(oracle),
      number_(number),
      options_(options),
      scheduler_(std::make_shared<WorldScheduler>(world, Duration{})),
      clock_(std::make_unique<ProcessClock>(*this)),
      random_(std::make_unique<ProcessRandom>(world)) {
  world.Keep(scheduler_);
  std::vector<std::string> endpoints;
  for (const std::size_t daemon : options_.daemons) {
    endpoints.push_back("daemon-" + std::to_string(daemon));
  }
  machine_ = std::make_unique<client::Machine>(
      client::MachineOptions{.endpoints = std::move(endpoints),
                             .grace = options_.grace,
                             .connect_timeout = milliseconds(300)},
      *clock_, *random_);
}

ClientProcess::~ClientProcess() { Kill(); }

client::TimePoint ClientProcess::Now() const {
  const auto since = static_cast<double>(world_.now().time_since_epoch().count());
  return client::TimePoint(Duration(static_cast<Duration::rep>(since * options_.rate)));
}

bool ClientProcess::Trusts(const std::string& key) const {
  if (dead_) return false;
  return machine_->Trusts(key, Now()) || std::ranges::any_of(downgrading_, [&](const auto& entry) {
           const auto& [trusted, until] = entry.second;
           return !client::IsShared(key) && until > Now() &&
                  std::ranges::count(client::NamesOf(trusted), key) != 0;
         });
}

void ClientProcess::Kill() {
  if (std::exchange(dead_, true)) return;
  timer_.Cancel();
  scheduler_->Stop();
  if (link_) link_->Break();
}

void ClientProcess::Step(const std::function<void()>& call) {
  if (dead_) return;
  call();
  for (client::Effect& effect : machine_->TakeEffects()) CarryOut(std::move(effect));
  for (const client::LeaseRef& lease : machine_->Leases()) oracle_.Check(number_, lease);
  SetTimer();
}

// Sets the timer to the machine's next deadline on this process's clock.
void ClientProcess::SetTimer() {
  const client::TimePoint next = machine_->NextDeadline();
  if (next == client::kNever) {
    timer_.Cancel();
    return;
  }
  const auto left = static_cast<double>((next - Now()).count());
  const auto delay = Duration(static_cast<Duration::rep>(std::ceil(left / options_.rate)));
  timer_ = scheduler_->After(std::max(delay, Duration{1}),
                             [this] { Step([this] { machine_->Tick(); }); });
}

client::CallId ClientProcess::Acquire(client::AcquireCommand command) {
  client::CallId call = 0;
  Step([&] { call = machine_->Acquire(std::move(command)); });
  return call;
}

void ClientProcess::GiveUp(client::CallId call) {
  Step([&] { machine_->GiveUp(call); });
}

client::CallId ClientProcess::Extend(const client::LeaseRef& lease, Duration ttl) {
  client::CallId call = 0;
  Step([&] { call = machine_->Extend(lease, ttl); });
  return call;
}

client::CallId ClientProcess::Downgrade(const client::LeaseRef& lease) {
  const client::TimePoint trusted_until = lease->TrustedUntil();
  client::CallId call = 0;
  Step([&] {
    call = machine_->Downgrade(lease);
    if (!Has(Safeguard::kDowngradeEndsTrust)) {
      downgrading_[call] = {lease->key(), trusted_until};
    }
  });
  return call;
}

client::CallId ClientProcess::Release(const client::LeaseRef& lease) {
  client::CallId call = 0;
  Step([&] {
    call = machine_->Release(lease);
    releasing_[call] = lease;
  });
  return call;
}

void ClientProcess::Close() {
  Step([&] { machine_->Close(); });
}

void ClientProcess::CarryOut(client::Effect effect) {
  if (const auto* open = std::get_if<client::OpenStream>(&effect)) {
    Open(*open);
  } else if (auto* write = std::get_if<client::WriteMessage>(&effect)) {
    link_->Write(std::move(write->request));
  } else if (std::holds_alternative<client::CancelStream>(effect)) {
    if (link_) std::exchange(link_, nullptr)->Cancel();
  } else if (const auto* acquired = std::get_if<client::Acquired>(&effect)) {
    downgrading_.erase(acquired->call);
    oracle_.Acquired(number_, acquired->lease);
    Settle(acquired->call, {.lease = acquired->lease, .error = {}});
  } else if (const auto* done = std::get_if<client::Done>(&effect)) {
    const auto released = releasing_.extract(done->call);
    if (released) CheckReleased(released.mapped());
    Settle(done->call, {});
  } else if (const auto* failed = std::get_if<client::Failed>(&effect)) {
    releasing_.erase(failed->call);
    downgrading_.erase(failed->call);
    Settle(failed->call, {.lease = {}, .error = failed->error});
  } else if (const auto* lost = std::get_if<client::Lost>(&effect)) {
    losses_.push_back("client-" + std::to_string(number_) + " lost " +
                      client::InWords(lost->lease->key()) + ": " + lost->lease->loss()->message);
    if (on_lost_) on_lost_(lost->lease);
  }
}

void ClientProcess::Settle(client::CallId call, const Outcome& outcome) {
  // Not inside the call, because the caller does not know the call's id yet.
  scheduler_->Run([this, call, outcome] {
    world_.Do({}, [this, call, outcome] {
      scheduler_->Run([this, call, outcome] {
        if (on_outcome_ && !dead_) on_outcome_(call, outcome);
      });
    });
  });
}

// No client keeps a released lock alive. An exception: an extension that was under way at another
// daemon may have set the key again on a node that answers late; the TTL ends that.
void ClientProcess::CheckReleased(const client::LeaseRef& lease) {
  // The client may hold the key again with the caller's own token.
  if (!lease->token().starts_with(kMadeTokenPrefix)) return;
  constexpr Duration kLongerThanAnyTtlAndGrace = milliseconds(2500);
  world_.Do(kLongerThanAnyTtlAndGrace, [this, lease] {
    Cluster& cluster = fleet_.cluster();
    for (std::size_t node = 0; node < cluster.nodes(); ++node) {
      for (const std::string& name : client::NamesOf(lease->key())) {
        if (cluster.server(node).Holder(name) != lease->token()) continue;
        oracle_.Violation(name + " is held by " + lease->token() + " after its release");
      }
    }
  });
}

void ClientProcess::Open(const client::OpenStream& open) {
  const client::SessionId session = open.session;
  link_ = SessionLink::Open(
      fleet_, options_.daemons[open.endpoint], *scheduler_,
      {.message =
           [this, session](const client::Response& response) {
             Step([&] { machine_->OnMessage(session, response); });
           },
       .written = [this, session] { Step([&] { machine_->OnWritten(session); }); },
       .ended =
           [this, session](const std::string& why) {
             Step([&] { machine_->OnEnded(session, {client::Reason::kUnreachable, why, {}}); });
           }});
}

}  // namespace redlock::sim
