// Runs ../conformance/scenarios.json, as ../conformance/README.md describes.
#include <redlock/client.h>
#include <redlock/election.h>

#include <algorithm>
#include <atomic>
#include <cstdio>
#include <cstdlib>
#include <fstream>
#include <functional>
#include <iomanip>
#include <map>
#include <mutex>
#include <nlohmann/json.hpp>
#include <optional>
#include <random>
#include <set>
#include <sstream>
#include <stdexcept>
#include <thread>
#include <variant>

namespace {

using namespace redlock::client;
using Step = nlohmann::json;
using Clock = std::chrono::steady_clock;
using Seconds = std::chrono::duration<double>;

constexpr double kPatience = 20;  // s that a step waits for something to happen

Duration ToDuration(double seconds) {
  return std::chrono::duration_cast<Duration>(Seconds(seconds));
}

double ToSeconds(auto duration) { return Seconds(duration).count(); }

void Expect(bool condition, const std::string& what) {
  if (!condition) throw std::runtime_error(what);
}

void Until(const Step& step, const std::string& what, const std::function<bool()>& condition) {
  const auto over = Clock::now() + ToDuration(step.value("within", kPatience));
  while (!condition()) {
    Expect(Clock::now() < over, what);
    std::this_thread::sleep_for(std::chrono::milliseconds(5));
  }
}

// What happened with a waiter.
struct Waiter {
  std::stop_source stop;
  std::atomic<bool> queued = false;
  std::future<Result<Lock>> lock;
};

// What a watch has reported.
struct Heard {
  std::mutex mutex;
  std::vector<WatchEvent> events;
  std::set<std::size_t> found;  // by an earlier step
};

// What an observer reports, in the background.
class Observing {
 public:
  explicit Observing(Observer observer)
      : observer_(std::move(observer)), thread_([this] { Follow(); }) {}
  ~Observing() { (void)Close(); }
  Observing(const Observing&) = delete;
  Observing& operator=(const Observing&) = delete;

  // Whether a state that `matches` has been reported since the last one that was found. Throws what
  // the observer has done wrong.
  [[nodiscard]] bool Finds(const std::function<bool(const KeyState&)>& matches) {
    const std::lock_guard lock(mutex_);
    Expect(wrong_.empty(), wrong_);
    const auto found = std::find_if(states_.begin() + next_, states_.end(), matches);
    if (found == states_.end()) return false;
    next_ = found - states_.begin() + 1;
    return true;
  }
  // Returns why the observer has ended.
  [[nodiscard]] Reason Close() {
    observer_.close();
    if (thread_.joinable()) thread_.join();
    return ended_;
  }
  // After Close(): throws what the observer has done wrong.
  void Check() const { Expect(wrong_.empty(), wrong_); }

 private:
  static bool IsSame(const KeyState& one, const KeyState& other) {
    return one.state == other.state && one.holders == other.holders && one.owner == other.owner &&
           one.value == other.value && one.fencing_token == other.fencing_token &&
           (one.kept_for == Duration{}) == (other.kept_for == Duration{});
  }
  void Follow() {
    std::uint64_t fence = 0;
    while (true) {
      Result<KeyState> next = observer_.next();
      const std::lock_guard lock(mutex_);
      if (!next) {
        ended_ = next.error().reason;
        return;
      }
      const bool held = next->state == HolderState::kHeld;
      if (!states_.empty() && IsSame(states_.back(), *next)) wrong_ = "a state was repeated";
      if (held && next->fencing_token < fence) wrong_ = "a fencing token went backwards";
      if (held) fence = next->fencing_token;
      states_.push_back(*std::move(next));
    }
  }

  Observer observer_;
  std::mutex mutex_;
  std::vector<KeyState> states_;
  std::ptrdiff_t next_ = 0;
  std::string wrong_;
  Reason ended_ = Reason::kInternal;
  std::thread thread_;
};

std::set<std::string> NamesOf(const WatchEvent& event) {
  static const std::map<WatchEvent::Type, std::string> kTypes = {
      {WatchEvent::Type::kExtended, "EXTENDED"},
      {WatchEvent::Type::kExtendFailed, "EXTEND_FAILED"},
      {WatchEvent::Type::kLost, "LOST"}};
  std::set<std::string> names;
  if (kTypes.contains(event.type)) names.insert(kTypes.at(event.type));
  if (event.type != WatchEvent::Type::kExtended) names.insert(to_string(event.error.reason));
  return names;
}

class Runner {
 public:
  Runner(const Step& scenario, std::string prefix)
      : prefix_(std::move(prefix)), grace_(scenario.value("grace", 5.0)) {
    if (scenario.contains("owner")) owner_ = scenario.at("owner");
  }
  ~Runner() {
    Close({});
    (void)Shell("control restore");
  }
  Runner(const Runner&) = delete;
  Runner& operator=(const Runner&) = delete;

  // Throws std::runtime_error if the step does not end as it should.
  void Run(const Step& step) {
    const auto began = Clock::now();
    std::string reason;
    std::string message;
    std::optional<Duration> held_for;
    try {
      CarryOut(step);
    } catch (const LockError& error) {
      reason = to_string(error.error().reason);
      message = error.what();
      held_for = error.error().held_for;
    } catch (const std::exception& error) {
      throw std::runtime_error(step.dump() + ": " + error.what());
    }
    const double took = ToSeconds(Clock::now() - began);
    const std::string what =
        step.dump() + ": " + reason + ": " + message + " after " + std::to_string(took) + " s";
    const std::string may_fail = step.value("may_fail", "");
    if (may_fail != "*" && (reason.empty() || may_fail != reason)) {
      Expect(reason == step.value("fails", ""), what);
      Expect(message.find(step.value("message", "")) != std::string::npos, what);
      if (step.contains("held_for")) ExpectHeldFor(step, held_for, message, what);
    }
    Expect(took >= step.value("after", 0.0) && took <= step.value("within", 1e9), what);
  }

 private:
  using Held = std::variant<std::shared_ptr<Lock>, Lease>;

  static void ExpectHeldFor(const Step& step, const std::optional<Duration>& held_for,
                            const std::string& message, const std::string& what) {
    Expect(held_for.has_value(), "no held_for: " + what);
    const double least = step.at("held_for");
    std::ostringstream text;
    text << " for " << std::fixed << std::setprecision(3) << ToSeconds(*held_for) << " s";
    Expect(ToSeconds(*held_for) >= least && ToSeconds(*held_for) < least + 60, what);
    Expect(message.find(text.str()) != std::string::npos, "not" + text.str() + ": " + what);
  }

  void CarryOut(const Step& step) {
    static const std::map<std::string, void (Runner::*)(const Step&)> kSteps = {
        {"acquire", &Runner::Acquire},
        {"begin", &Runner::Begin},
        {"try", &Runner::Try},
        {"acquire_or_extend", &Runner::AcquireOrExtend},
        {"acquire_detached", &Runner::AcquireDetached},
        {"adopt", &Runner::Adopt},
        {"extend_by_token", &Runner::ExtendByToken},
        {"try_extend_by_token", &Runner::TryExtendByToken},
        {"release_by_token", &Runner::ReleaseByToken},
        {"queued", &Runner::Queued},
        {"await", &Runner::Await},
        {"ended", &Runner::Ended},
        {"give_up", &Runner::GiveUp},
        {"release", &Runner::Release},
        {"extend", &Runner::Extend},
        {"downgrade", &Runner::Downgrade},
        {"try_extend", &Runner::TryExtend},
        {"held", &Runner::IsHeld},
        {"lost", &Runner::Lost},
        {"await_lost", &Runner::AwaitLost},
        {"validity", &Runner::Validity},
        {"fences_grow", &Runner::FencesGrow},
        {"slots", &Runner::Slots},
        {"hides_token", &Runner::HidesToken},
        {"watch", &Runner::StartWatch},
        {"watch_hears", &Runner::WatchHears},
        {"watch_close", &Runner::WatchClose},
        {"proclaim", &Runner::Proclaim},
        {"observe", &Runner::Observe},
        {"sees", &Runner::Sees},
        {"unobserve", &Runner::Unobserve},
        {"campaign", &Runner::Campaign},
        {"leads", &Runner::Leads},
        {"storm", &Runner::Storm},
        {"together", &Runner::Together},
        {"block", &Runner::Sleep},
        {"sleep", &Runner::Sleep},
        {"shell", &Runner::RunShell},
        {"close", &Runner::Close}};
    (this->*kSteps.at(step.at("do")))(step);
  }

  Client& client() {
    const std::lock_guard lock(mutex_);
    if (client_) return *client_;
    Options options{.endpoints = {}, .grace = ToDuration(grace_), .owner = owner_};
    options.log = [this](LogLevel, const std::string& text) {
      const std::lock_guard guard(log_mutex_);
      logged_ += text + "\n";
    };
    std::stringstream endpoints(std::getenv("ENDPOINTS"));
    for (std::string one; std::getline(endpoints, one, ',');) options.endpoints.push_back(one);
    return client_.emplace(options);
  }

  std::string KeyOf(const Step& step) const {
    const std::string key = step.value("shared", false) ? shared(KeysOf(step)) : KeysOf(step);
    return step.contains("max_holders") ? semaphore(key, step.at("max_holders")) : key;
  }
  std::string KeysOf(const Step& step) const {
    if (step.contains("whole_key")) return step.at("whole_key");
    if (step.contains("keys")) {
      std::vector<std::string> keys;
      for (const std::string name : step.at("keys")) keys.push_back(prefix_ + name);
      return together(keys);
    }
    return prefix_ + step.at("key").get<std::string>();
  }
  std::string TokenOf(const Step& step) {
    if (step.contains("token")) return step.at("token");
    const Held held = HeldAs(step.at("of"));
    const auto* const lock = std::get_if<std::shared_ptr<Lock>>(&held);
    return lock != nullptr ? (*lock)->token() : std::get<Lease>(held).token;
  }
  Held HeldAs(const std::string& name) {
    const std::lock_guard lock(mutex_);
    return held_.at(name);
  }
  std::shared_ptr<Lock> LockOf(const Step& step) {
    return std::get<std::shared_ptr<Lock>>(HeldAs(step.at("lock")));
  }
  void Keep(const std::string& name, Held held) {
    const std::lock_guard lock(mutex_);
    held_.insert_or_assign(name, std::move(held));
  }
  void KeepAs(const Step& step, Lock lock) {
    Keep(step.value("as", ""), std::make_shared<Lock>(std::move(lock)));
  }

  static std::optional<RetryPolicy> RetryOf(const Step& step) {
    if (!step.contains("retry")) return std::nullopt;
    const Step& retry = step.at("retry");
    RetryPolicy policy{.max_retries = retry.value("max_retries", -1)};
    if (retry.contains("min_delay")) policy.min_delay = ToDuration(retry.at("min_delay"));
    if (retry.contains("max_jitter")) policy.max_jitter = ToDuration(retry.at("max_jitter"));
    return policy;
  }
  static std::optional<Duration> WaitOf(const Step& step) {
    if (!step.contains("wait")) return std::nullopt;
    return ToDuration(step.at("wait"));
  }
  static std::string ValueOf(const Step& step) {
    const std::string value = step.value("value", "");
    return value == "VALUE_OF_4097_BYTES" ? std::string(4097, 'x') : value;
  }
  static ReleaseOptions ReleaseOf(const Step& step) {
    if (!step.contains("keep_for")) return {};
    return {.keep_for = ToDuration(step.at("keep_for"))};
  }
  static AcquireOptions OptionsOf(const Step& step) {
    AcquireOptions options{.ttl = ToDuration(step.at("ttl")),
                           .wait = WaitOf(step),
                           .token = step.value("token", ""),
                           .owner = step.value("owner", ""),
                           .retry = RetryOf(step),
                           .value = ValueOf(step),
                           .lock_delay = ToDuration(step.value("lock_delay", 0.0))};
    if (step.contains("margin")) options.margin = ToDuration(step.at("margin"));
    if (step.value("raises", false))
      options.queued = [](int) { throw std::runtime_error("raised"); };
    return options;
  }

  // --- Locks

  void Acquire(const Step& step) {
    KeepAs(step, client().acquire(KeyOf(step), OptionsOf(step)).value());
  }
  void Begin(const Step& step) {
    const auto waiter = std::make_shared<Waiter>();
    AcquireOptions options = OptionsOf(step);
    options.stop = waiter->stop.get_token();
    options.queued = [waiter, raises = step.value("raises", false)](int) {
      waiter->queued = true;
      if (raises) throw std::runtime_error("raised");
    };
    waiter->lock = client().acquire_async(KeyOf(step), options);
    const std::lock_guard lock(mutex_);
    waiters_[step.at("as")] = waiter;
  }
  void Try(const Step& step) {
    auto lock = client().try_acquire(KeyOf(step), OptionsOf(step));
    const bool held = !lock && lock.error().reason == Reason::kLockAlreadyHeld;
    if (held && !step.at("gets")) return;
    KeepAs(step, std::move(lock).value());
    Expect(step.at("gets"), "got the lock");
  }
  void AcquireOrExtend(const Step& step) {
    KeepAs(
        step,
        client().acquire_or_extend(KeyOf(step), step.value("token", ""), OptionsOf(step)).value());
  }
  void Adopt(const Step& step) {
    KeepAs(step, client()
                     .adopt(KeyOf(step), TokenOf(step),
                            {.ttl = ToDuration(step.at("ttl")), .wait = WaitOf(step)})
                     .value());
  }
  std::shared_ptr<Waiter> WaiterOf(const Step& step) {
    const std::lock_guard lock(mutex_);
    return waiters_.at(step.at("waiter"));
  }
  void Queued(const Step& step) {
    Until(step, "was not queued", [waiter = WaiterOf(step)] { return waiter->queued.load(); });
  }
  Lock ResultOf(const Step& step) {
    const auto waiter = WaiterOf(step);
    const auto patience = ToDuration(step.value("within", kPatience));
    Expect(waiter->lock.wait_for(patience) == std::future_status::ready, "has not ended");
    return waiter->lock.get().value();
  }
  void Await(const Step& step) { Keep(step.at("waiter"), std::make_shared<Lock>(ResultOf(step))); }
  void Ended(const Step& step) { (void)ResultOf(step); }
  void GiveUp(const Step& step) {
    const auto waiter = WaiterOf(step);
    waiter->stop.request_stop();
    const Result<Lock> lock = waiter->lock.get();
    Expect(!lock && lock.error().reason == Reason::kCancelled, "was not given up");
  }
  void Release(const Step& step) { LockOf(step)->release(ReleaseOf(step)).value(); }
  void Proclaim(const Step& step) { LockOf(step)->proclaim(ValueOf(step)).value(); }
  void Extend(const Step& step) { LockOf(step)->extend(ToDuration(step.at("ttl"))).value(); }
  void Downgrade(const Step& step) { KeepAs(step, LockOf(step)->downgrade().value()); }
  void TryExtend(const Step& step) { LockOf(step)->try_extend(ToDuration(step.at("ttl"))).value(); }
  void IsHeld(const Step& step) {
    const auto lock = LockOf(step);
    const auto loss = lock->loss();
    Expect(lock->held() == step.at("is"), loss ? loss->message : "held() differs");
  }
  void Lost(const Step& step) {
    const auto loss = LockOf(step)->loss();
    Expect(LockOf(step)->lost().stop_requested() == step.at("is"),
           loss ? loss->message : "lost() differs");
  }
  void AwaitLost(const Step& step) {
    Until(step, "the loss was not signalled",
          [lost = LockOf(step)->lost()] { return lost.stop_requested(); });
  }
  void Validity(const Step& step) {
    const Held held = HeldAs(step.at("lock"));
    const auto* const lock = std::get_if<std::shared_ptr<Lock>>(&held);
    const double validity =
        ToSeconds(lock != nullptr ? (*lock)->validity() : std::get<Lease>(held).validity());
    Expect(validity >= step.at("at_least") && validity <= step.at("at_most"),
           std::to_string(validity));
  }
  void FencesGrow(const Step& step) {
    std::uint64_t last = 0;
    for (const std::string name : step.at("locks")) {
      const Held held = HeldAs(name);
      const auto* const lock = std::get_if<std::shared_ptr<Lock>>(&held);
      const std::uint64_t fence =
          lock != nullptr ? (*lock)->fencing_token() : std::get<Lease>(held).fencing_token;
      Expect(fence > std::exchange(last, fence), "the fencing tokens do not grow");
    }
  }
  void Slots(const Step& step) {
    std::set<int> slots;
    for (const std::string name : step.at("locks")) {
      const Held held = HeldAs(name);
      const auto* const lock = std::get_if<std::shared_ptr<Lock>>(&held);
      slots.insert(lock != nullptr ? (*lock)->slot() : std::get<Lease>(held).slot());
    }
    Expect(!slots.contains(0), "no slot");
    Expect(slots.size() == (step.at("differ") ? step.at("locks").size() : 1U), "the slots");
  }
  // Locks and leases have no text of their own.
  void HidesToken(const Step& step) {
    const std::string token = TokenOf({{"of", step.at("lock")}});
    const std::lock_guard guard(log_mutex_);
    Expect(logged_.find(token) == std::string::npos, "the log shows the token");
  }

  // --- Leases

  void AcquireDetached(const Step& step) {
    const AcquireOptions options = OptionsOf(step);
    Keep(step.value("as", ""),
         client()
             .acquire_detached(KeyOf(step), {.ttl = options.ttl,
                                             .wait = options.wait,
                                             .token = options.token,
                                             .owner = options.owner,
                                             .retry = options.retry,
                                             .value = options.value,
                                             .lock_delay = options.lock_delay})
             .value());
  }
  void ExtendByToken(const Step& step) {
    Keep(step.value("as", ""),
         client().extend(KeyOf(step), TokenOf(step), ToDuration(step.at("ttl"))).value());
  }
  void TryExtendByToken(const Step& step) {
    Keep(step.value("as", ""),
         client().try_extend(KeyOf(step), TokenOf(step), ToDuration(step.at("ttl"))).value());
  }
  void ReleaseByToken(const Step& step) {
    client().release(KeyOf(step), TokenOf(step), std::chrono::seconds(5), ReleaseOf(step)).value();
  }

  // --- Watches

  void StartWatch(const Step& step) {
    std::vector<WatchItem> items;
    for (const Step& item : step.at("items")) {
      items.push_back({KeyOf(item), TokenOf(item), ToDuration(item.at("ttl")), {}});
      if (item.contains("interval")) items.back().interval = ToDuration(item.at("interval"));
    }
    const auto heard = std::make_shared<Heard>();
    auto watch =
        client().watch(items,
                       [heard, raises = step.value("raises", false)](const WatchEvent& event) {
                         const std::lock_guard lock(heard->mutex);
                         heard->events.push_back(event);
                         if (raises) throw std::runtime_error("raised");
                       },
                       {.keep_watching_after_loss = step.value("keep_watching", false)});
    auto started = std::make_shared<Watch>(std::move(watch).value());
    const std::lock_guard lock(mutex_);
    watches_[step.value("as", "")] = {std::move(started), heard};
  }
  auto WatchOf(const Step& step) {
    const std::lock_guard lock(mutex_);
    return watches_.at(step.at("watch"));
  }
  void WatchHears(const Step& step) {
    const auto heard = WatchOf(step).second;
    Until(step, "was not heard", [&] {
      const std::lock_guard lock(heard->mutex);
      for (std::size_t i = 0; i < heard->events.size(); ++i) {
        const WatchEvent& event = heard->events[i];
        if (!NamesOf(event).contains(step.at("what"))) continue;
        const bool of_key = step.contains("key") || step.contains("keys");
        if (of_key && event.key != KeyOf(step)) continue;
        if (heard->found.insert(i).second) return true;
      }
      return false;
    });
  }
  void WatchClose(const Step& step) {
    const auto [watch, heard] = WatchOf(step);
    watch->close();
    std::this_thread::sleep_for(std::chrono::milliseconds(200));
    const std::lock_guard lock(heard->mutex);
    int cancelled = 0;
    for (const WatchEvent& event : heard->events) {
      cancelled += NamesOf(event).contains("CANCELLED") ? 1 : 0;
    }
    Expect(cancelled == 1 && NamesOf(heard->events.back()).contains("CANCELLED"),
           "the cancellation is not the last event");
  }

  // --- Observers and elections

  void Observe(const Step& step) {
    auto observing = std::make_shared<Observing>(client().observe(KeyOf(step)).value());
    const std::lock_guard lock(mutex_);
    observers_[step.at("as")] = std::move(observing);
  }
  std::shared_ptr<Observing> ObserverOf(const Step& step) {
    const std::lock_guard lock(mutex_);
    return observers_.at(step.at("observer"));
  }
  void Sees(const Step& step) {
    Until(step, "was not reported", [&step, observing = ObserverOf(step)] {
      return observing->Finds([&step](const KeyState& state) {
        return to_string(state.state) == step.at("state").get<std::string>() &&
               state.value == step.value("value", state.value) &&
               state.owner == step.value("owner", state.owner);
      });
    });
  }
  void Unobserve(const Step& step) {
    const auto observing = ObserverOf(step);
    Expect(observing->Close() == Reason::kCancelled, "it ended before");
    observing->Check();
  }
  void Campaign(const Step& step) {
    Election election(client(), KeyOf(step));
    KeepAs(step, election.campaign(ValueOf(step), OptionsOf(step)).value());
  }
  void Leads(const Step& step) {
    const KeyState leader = Election(client(), KeyOf(step)).leader().value();
    if (step.contains("value")) {
      Expect(leader.state == HolderState::kHeld && leader.value == step.at("value"), leader.value);
    } else {
      Expect(leader.state == HolderState::kVacant, leader.value + " leads");
    }
  }

  // --- Many calls

  void Storm(const Step& step) {
    const std::string prefix = prefix_ + "storm" + std::to_string(++storms_) + "/";
    const bool detached = step.value("detached", false);
    std::mt19937 chance(1);
    std::uniform_real_distribution<double> moments(0, step.at("most").get<double>());
    std::vector<std::thread> threads;
    for (int i = 0; i < step.at("count").get<int>(); ++i) {
      const std::string key = prefix + std::to_string(i);
      threads.emplace_back([&, key, moment = moments(chance)] {
        std::stop_source stop;
        const auto ttl = ToDuration(step.at("ttl"));
        if (detached) {
          auto lease = client().acquire_detached_async(key, {.ttl = ttl, .stop = stop.get_token()});
          std::this_thread::sleep_for(ToDuration(moment));
          stop.request_stop();
          if (const auto got = lease.get()) (void)client().release(key, got->token);
        } else {
          auto lock = client().acquire_async(key, {.ttl = ttl, .stop = stop.get_token()});
          std::this_thread::sleep_for(ToDuration(moment));
          stop.request_stop();
          if (auto got = lock.get()) (void)got->release();
        }
      });
    }
    for (std::thread& thread : threads) thread.join();
    std::vector<std::future<Result<Lock>>> again;
    for (int i = 0; i < step.at("count").get<int>(); ++i) {
      again.push_back(client().acquire_async(
          prefix + std::to_string(i), {.ttl = ToDuration(step.at("ttl")), .wait = ToDuration(5)}));
    }
    for (auto& one : again) {  // the destructors release them
      const Result<Lock> lock = one.get();
      Expect(lock.has_value(), "a lock was left: " + (lock ? "" : lock.error().message));
    }
  }
  void Together(const Step& step) {
    std::vector<std::future<void>> running;
    for (const Step& one : step.at("steps")) {
      running.push_back(std::async(std::launch::async, [this, &one] { Run(one); }));
    }
    for (auto& one : running) one.wait();
    for (auto& one : running) one.get();
  }
  void Sleep(const Step& step) { std::this_thread::sleep_for(ToDuration(step.at("time"))); }
  [[nodiscard]] int Shell(const std::string& command) const {
    // A direct child, without threads of its own: see system(3).
    return std::system(("PREFIX='" + prefix_ + "'; export PREFIX; " + command).c_str());
  }
  void RunShell(const Step& step) { Expect(Shell(step.at("command")) == 0, "the command failed"); }
  void Close(const Step& /*step*/) { client_.reset(); }

  const std::string prefix_;
  const double grace_;
  std::optional<std::string> owner_;
  std::mutex log_mutex_;
  std::string logged_;
  std::mutex mutex_;  // guards the following
  std::optional<Client> client_;
  std::map<std::string, Held> held_;
  std::map<std::string, std::shared_ptr<Waiter>> waiters_;
  std::map<std::string, std::pair<std::shared_ptr<Watch>, std::shared_ptr<Heard>>> watches_;
  std::map<std::string, std::shared_ptr<Observing>> observers_;
  int storms_ = 0;
};

}  // namespace

int main() {
  const std::string prefix = std::getenv("PREFIX");
  const auto file = Step::parse(std::ifstream(std::getenv("SCENARIOS")));
  int failed = 0;
  int number = 0;
  for (const Step& scenario : file.at("scenarios")) {
    const std::string name = scenario.at("name");
    try {
      Runner runner(scenario, prefix + "cpp/" + std::to_string(number++) + "/");
      for (const Step& step : scenario.at("steps")) runner.Run(step);
      std::printf("ok      %s\n", name.c_str());
    } catch (const std::exception& error) {
      ++failed;
      std::printf("FAILED  %s: %s\n", name.c_str(), error.what());
    }
    std::fflush(stdout);
  }
  return failed == 0 ? 0 : 1;
}
