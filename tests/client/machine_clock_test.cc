// How long the client trusts a lock, compared with the truth, under random delays and clocks that
// run at different rates.
#include <random>

#include "tests/client/machine_harness.h"

namespace redlock::client {
namespace {

// The daemon's clock runs at another rate: `per_mille` from -10 to 10.
Duration DaemonTime(TimePoint now, int per_mille) {
  const Duration passed = now - TimePoint{};
  return seconds(5'000) + passed + passed / 1'000 * per_mille;
}

TEST(ClockAnchor, GivesNoBoundBeforeAnAnswer) {
  EXPECT_EQ(ClockAnchor().MadeAt(seconds(1)), std::nullopt);
}

TEST(ClockAnchor, KeepsThePairWithTheLatestBound) {
  ClockAnchor anchor;
  const TimePoint start(seconds(100));
  anchor.OnAnswer(start, seconds(10));
  EXPECT_EQ(*anchor.MadeAt(seconds(10)), start);
  EXPECT_EQ(*anchor.MadeAt(seconds(11)), start + milliseconds(990)) << "minus the drift";
  anchor.OnAnswer(start + milliseconds(980), seconds(11));
  EXPECT_EQ(*anchor.MadeAt(seconds(11)), start + milliseconds(990)) << "a slower round trip";
  anchor.OnAnswer(start + milliseconds(995), seconds(11));
  EXPECT_EQ(*anchor.MadeAt(seconds(11)), start + milliseconds(995));
  // A minute of slow messages loses only 1 % of that minute.
  for (int second = 12; second < 72; ++second) {
    anchor.OnAnswer(start + seconds(second - 10) - seconds(3), seconds(second));
  }
  EXPECT_GT(*anchor.MadeAt(seconds(71)), start + seconds(61) - milliseconds(650));
}

TEST(ClockAnchor, IsNeverLaterThanTheTruth) {
  std::mt19937_64 chance(1);
  const auto upto = [&chance](Duration most) {
    return Duration(std::uniform_int_distribution<Duration::rep>(0, most.count())(chance));
  };
  for (int schedule = 0; schedule < 2'000; ++schedule) {
    const int rate = static_cast<int>(chance() % 21) - 10;
    const Duration longest = upto(seconds(1)) + microseconds(1);
    ClockAnchor anchor;
    TimePoint now(seconds(1'000));
    for (int i = 0; i < 50; ++i) {
      const TimePoint sent = now;
      now += upto(longest);  // in transit and in the daemon
      const TimePoint made = now;
      const Duration clock = DaemonTime(made, rate);
      if (chance() % 3 != 0) anchor.OnAnswer(sent, clock);
      if (const auto bound = anchor.MadeAt(clock)) {
        ASSERT_LE(*bound, made) << "schedule " << schedule;
      }
      now += upto(seconds(3));
    }
  }
}

TEST(SessionTrust, NeverDecreasesAndNeedsAnAnswer) {
  SessionTrust trust(seconds(5));
  EXPECT_EQ(trust.Until(), TimePoint::min());
  trust.OnAnswer(TimePoint(seconds(100)));
  EXPECT_EQ(trust.Until(), TimePoint(milliseconds(104'948)));
  trust.OnAnswer(TimePoint(seconds(99)));
  EXPECT_EQ(trust.Until(), TimePoint(milliseconds(104'948)));
}

// A daemon that keeps the lock exactly as long as it has promised, on a clock with its own rate,
// and a client whose messages take random times in both directions. The daemon releases the lock
// `grace` after the last message that it has read, and the nodes let it expire one TTL after the
// last extension. Until then the client may trust the lock.
class TrustAgainstTheTruth : public MachineTest, public ::testing::WithParamInterface<int> {
 protected:
  void SetUp() override {}

  [[nodiscard]] Duration UpTo(Duration most) {
    return Duration(std::uniform_int_distribution<Duration::rep>(0, most.count())(chance));
  }
  // The world's time at which the daemon's clock has advanced by that much.
  [[nodiscard]] TimePoint After(Duration by_the_daemon) const {
    return clock.now + by_the_daemon - by_the_daemon / 1'000 * rate;
  }

  void Read(const Request& request) {
    silent_at = After(grace);
    Response response{.clock = DaemonTime(clock.now, rate)};
    for (const auto& operation : request.operations) {
      Answer answer{.id = operation.id};
      if (std::holds_alternative<AcquireRequest>(operation.body)) {
        answer.grant = Grant{"", 7, Validity()};
        granted = true;
      }
      response.answers.push_back(answer);
    }
    to_client.emplace_back(clock.now + UpTo(longest), std::move(response));
  }
  [[nodiscard]] Duration Validity() {
    // The daemon began the round `elapsed` ago; the nodes' clocks run like its own.
    const Duration elapsed = UpTo(milliseconds(50));
    const Duration validity = kTtl - DriftOf(kTtl) - milliseconds(2) - elapsed;
    expires_at = std::max(expires_at, After(kTtl - elapsed));
    return validity;
  }
  void ExtendUnasked(const std::string& token) {
    to_client.emplace_back(clock.now + UpTo(longest),
                           Response{.events = {{.type = EventType::kExtended,
                                                .key = "k",
                                                .grant = Grant{token, 7, Validity()}}},
                                    .clock = DaemonTime(clock.now, rate)});
  }

  static constexpr Duration kTtl = seconds(3);
  std::mt19937_64 chance;
  int rate = 0;
  Duration longest{};
  std::deque<std::pair<TimePoint, Response>> to_client;
  bool granted = false;
  TimePoint silent_at = kNever, expires_at{};
};

TEST_P(TrustAgainstTheTruth, TheClientNeverTrustsALockThatMayHaveEnded) {
  int trusted = 0;
  for (int schedule = 0; schedule < 200; ++schedule) {
    chance.seed(static_cast<std::uint64_t>(GetParam() * 1'000 + schedule));
    rate = static_cast<int>(chance() % 21) - 10;
    longest = UpTo(milliseconds(700));
    clock.now = TimePoint(seconds(1'000));
    to_client.clear();
    granted = false;
    silent_at = kNever;
    expires_at = {};
    Start({.endpoints = {"a"}, .grace = seconds(2)});
    const CallId call = Acquire({.key = "k", .ttl = kTtl});
    std::deque<std::pair<TimePoint, Request>> to_daemon;
    std::size_t seen = 0;
    const TimePoint cut_off = clock.now + seconds(3) + UpTo(seconds(5));
    const TimePoint end = cut_off + seconds(8);
    TimePoint extension = clock.now + seconds(1);
    while (clock.now < end && opened == 1) {
      for (; seen < sent.size(); ++seen) {
        const TimePoint last = to_daemon.empty() ? clock.now : to_daemon.back().first;
        to_daemon.emplace_back(std::max(last, clock.now + UpTo(longest)), sent[seen].request);
      }
      if (!to_client.empty() && to_client.size() > 1) {  // delivery is in order
        auto& [at, response] = to_client.back();
        at = std::max(at, to_client[to_client.size() - 2].first);
      }
      clock.now += UpTo(milliseconds(30));
      if (chance() % 200 == 0) clock.now += UpTo(seconds(2));  // the client is suspended
      const bool cut = clock.now > cut_off;
      while (!cut && !to_daemon.empty() && to_daemon.front().first <= clock.now) {
        Read(to_daemon.front().second);
        to_daemon.pop_front();
      }
      if (granted && !cut && clock.now > extension && clock.now < silent_at) {
        ExtendUnasked(leases.contains(call) ? leases[call]->token() : "");
        extension = clock.now + kTtl / 2;
      }
      while (!to_client.empty() && to_client.front().first <= clock.now) {
        const Response response = to_client.front().second;
        to_client.pop_front();
        Message(response);
      }
      if (writing.contains(session)) Written();
      if (leases.contains(call) && Trusted(leases[call])) {
        ++trusted;
        ASSERT_LE(leases[call]->TrustedUntil(), std::min(silent_at, expires_at))
            << "schedule " << schedule << ", rate " << rate;
      }
      if (clock.now >= machine->NextDeadline()) Tick();
    }
  }
  EXPECT_GT(trusted, 5'000) << "otherwise the test proves nothing";
}

INSTANTIATE_TEST_SUITE_P(Schedules, TrustAgainstTheTruth, ::testing::Range(0, 5));

}  // namespace
}  // namespace redlock::client
