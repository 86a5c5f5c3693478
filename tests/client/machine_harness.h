// Drives the client's state machine by hand: the test moves the clock and sends the daemon's
// answers, and the harness logs the actions that the machine requests.
#pragma once

#include <gtest/gtest.h>

#include <algorithm>
#include <map>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include "client/cpp/core/machine.h"
#include "client/cpp/core/overloaded.h"

namespace redlock::client {

using std::chrono::microseconds;
using std::chrono::milliseconds;
using std::chrono::seconds;

class FakeClock final : public Clock {
 public:
  [[nodiscard]] TimePoint Now() override { return now; }
  TimePoint now{seconds(1'000)};
};

class FakeRandom final : public Random {
 public:
  [[nodiscard]] std::uint64_t Bits() override { return ++last_; }

 private:
  std::uint64_t last_ = 0;
};

// An operation as sent.
template <typename Body>
struct SentAs {
  std::uint64_t id = 0;
  Body body;
};

class MachineTest : public ::testing::Test {
 protected:
  struct SentMessage {
    SessionId session;
    TimePoint at;
    Request request;
  };

  void SetUp() override { Start({}); }
  void Start(MachineOptions options) {
    if (options.endpoints.empty()) options.endpoints = {"a", "b"};
    grace = options.grace;
    sent.clear();
    writing.clear();
    cancelled.clear();
    leases.clear();
    failed.clear();
    opened = 0;
    machine.emplace(std::move(options), clock, random);
    Tick();
  }

  // Call after each call of the machine: records the requested actions.
  void Collect() {
    for (Effect& effect : machine->TakeEffects()) {
      std::visit(Overloaded{
                     [this](OpenStream& it) {
                       session = it.session;
                       endpoint = it.endpoint;
                       ++opened;
                     },
                     [this](WriteMessage& it) {
                       EXPECT_FALSE(writing.contains(it.session)) << "one message at a time";
                       writing.insert(it.session);
                       sent.push_back({it.session, clock.now, std::move(it.request)});
                     },
                     [this](CancelStream& it) { cancelled.insert(it.session); },
                     [this](Acquired& it) {
                       EXPECT_EQ(leases.count(it.call) + failed.count(it.call), 0U);
                       leases[it.call] = it.lease;
                     },
                     [this](Done& it) { done.insert(it.call); },
                     [this](Failed& it) {
                       EXPECT_EQ(leases.count(it.call) + failed.count(it.call), 0U);
                       failed[it.call] = it.error;
                     },
                     [this](Queued& it) { queued[it.call] = it.position; },
                     [this](Lost& it) { lost.push_back(it.lease); },
                     [this](Logged& it) { logged.push_back(std::move(it.text)); },
                     [this](Closed&) { closed = true; },
                     [this](Finished&) { finished = true; },
                     [](auto&) { ADD_FAILURE() << "not an effect of the machine"; },
                 },
                 effect);
    }
  }
  void Tick() {
    machine->Tick();
    Collect();
  }
  // Everything that is due within `duration` happens at its time.
  void Pass(Duration duration) {
    const TimePoint end = clock.now + duration;
    while (machine->NextDeadline() <= end) {
      clock.now = std::max(clock.now, machine->NextDeadline());
      Tick();
    }
    clock.now = end;
  }
  // Nothing happens during a suspend.
  void Suspend(Duration duration) { clock.now += duration; }

  // The write on the current session has completed.
  void Written() {
    writing.erase(session);
    machine->OnWritten(session);
    Collect();
  }
  void Message(Response response) { MessageOf(session, std::move(response)); }
  void MessageOf(SessionId from, Response response) {
    if (response.clock == Duration{}) response.clock = DaemonClock();
    machine->OnMessage(from, response);
    Collect();
  }
  [[nodiscard]] Duration DaemonClock() const { return clock.now - TimePoint{} + seconds(77); }
  void Ok(std::uint64_t id) { Message({.answers = {{.id = id}}}); }
  void Refuse(std::uint64_t id, Reason reason, Duration retry_after = {}) {
    Message({.answers = {{.id = id, .error = Error{reason, "no", retry_after}}}});
  }
  void GrantTo(std::uint64_t id, Duration validity = seconds(29), std::uint64_t fence = 7) {
    Message({.answers = {{.id = id, .grant = Grant{"", fence, validity}}}});
  }
  void Draining() { Message({.events = {{.type = EventType::kDraining}}}); }
  void Break() {
    machine->OnEnded(session, {Reason::kUnreachable, "the connection broke"});
    Collect();
  }
  void Ready() {
    const auto ping = Last<PingRequest>();
    Written();
    Ok(ping.id);
  }
  // Answers pings at once for `duration`.
  void Live(Duration duration) {
    const TimePoint end = clock.now + duration;
    while (clock.now < end) {
      const std::size_t before = sent.size();
      Pass(std::min<Duration>(grace / 20, end - clock.now));
      for (std::size_t i = before; i < sent.size(); ++i) {
        const Request request = sent[i].request;
        if (writing.contains(session)) Written();
        for (const auto& operation : request.operations) {
          if (std::holds_alternative<PingRequest>(operation.body)) Ok(operation.id);
        }
      }
    }
  }

  // The operations of that kind in all messages, or in those of one session.
  template <typename Body>
  [[nodiscard]] std::vector<SentAs<Body>> All(SessionId of = 0) const {
    std::vector<SentAs<Body>> found;
    for (const SentMessage& message : sent) {
      if (of != 0 && message.session != of) continue;
      for (const auto& operation : message.request.operations) {
        if (const auto* const body = std::get_if<Body>(&operation.body)) {
          found.push_back({operation.id, *body});
        }
      }
    }
    return found;
  }
  template <typename Body>
  [[nodiscard]] SentAs<Body> Last() const {
    const auto all = All<Body>();
    EXPECT_FALSE(all.empty());
    return all.empty() ? SentAs<Body>{} : all.back();
  }
  template <typename Body>
  [[nodiscard]] std::size_t Count() const {
    return All<Body>().size();
  }

  CallId Acquire(AcquireCommand command) {
    const CallId call = machine->Acquire(std::move(command));
    Collect();
    return call;
  }
  CallId Acquire(const std::string& key = "k") { return Acquire({.key = key, .ttl = seconds(30)}); }
  // Acquires over a ready session.
  LeaseRef Hold(AcquireCommand command) {
    const Duration ttl = command.ttl;
    const CallId call = Acquire(std::move(command));
    Flush();
    GrantTo(Last<AcquireRequest>().id, ttl - DriftOf(ttl) - milliseconds(2));
    EXPECT_TRUE(leases.contains(call)) << failed[call].message;
    return leases[call];
  }
  LeaseRef Hold(const std::string& key = "k") { return Hold({.key = key, .ttl = seconds(30)}); }
  CallId Release(const LeaseRef& lease) {
    const CallId call = machine->Release(lease);
    Collect();
    Flush();
    return call;
  }
  CallId Extend(const LeaseRef& lease, Duration ttl = seconds(60)) {
    const CallId call = machine->Extend(lease, ttl);
    Collect();
    Flush();
    return call;
  }
  void GiveUp(CallId call) {
    machine->GiveUp(call);
    Collect();
    Flush();
  }
  void Close() {
    machine->Close();
    Collect();
    Flush();
  }
  // Writes everything that is pending.
  void Flush() {
    while (writing.contains(session)) Written();
  }
  [[nodiscard]] bool Trusted(const LeaseRef& lease) const {
    return lease->TrustedUntil() > clock.now;
  }

  FakeClock clock;
  FakeRandom random;
  Duration grace{};
  std::optional<Machine> machine;

  SessionId session = 0;
  std::size_t endpoint = 0;
  int opened = 0;
  std::vector<SentMessage> sent;
  std::set<SessionId> writing, cancelled;
  std::map<CallId, LeaseRef> leases;
  std::map<CallId, Error> failed;
  std::set<CallId> done;
  std::map<CallId, int> queued;
  std::vector<LeaseRef> lost;
  std::vector<std::string> logged;
  bool closed = false;
  bool finished = false;
};

// With a session whose daemon has answered.
class MachineLocksTest : public MachineTest {
 protected:
  void SetUp() override {
    MachineTest::SetUp();
    Ready();
  }
  // Moves to the next endpoint, whose daemon answers.
  void Move() {
    const SessionId before = session;
    Draining();
    while (session == before) Pass(milliseconds(10));  // the pause after several moves
    Ready();
    Flush();
  }
  void Adopted(std::uint64_t id, std::uint64_t fence = 7) { GrantTo(id, seconds(29), fence); }
  // A call that finds that its token holds the lock, and should get it.
  CallId TakeOver(AcquireCommand command, Duration found = seconds(29)) {
    const CallId call = Acquire(std::move(command));
    Flush();
    GrantTo(Last<ExtendRequest>().id, found, 20);
    Flush();
    Adopted(Last<AdoptRequest>().id, 20);
    return call;
  }
};

// The reason for which the call failed; nothing if it has not failed.
#define EXPECT_FAILED(call, expected)                                            \
  do {                                                                           \
    ASSERT_TRUE(failed.contains(call));                                          \
    EXPECT_EQ(to_string(failed[call].reason), std::string(to_string(expected))); \
  } while (false)

}  // namespace redlock::client
