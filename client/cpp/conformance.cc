// Runs ../conformance/scenarios.json.
#include <redlock/client.h>

#include <cstdio>
#include <cstdlib>
#include <fstream>
#include <map>
#include <nlohmann/json.hpp>
#include <sstream>
#include <stdexcept>
#include <thread>

namespace {

using namespace redlock::client;
using Step = nlohmann::json;
using Seconds = std::chrono::duration<double>;

Duration ToDuration(double seconds) {
  return std::chrono::duration_cast<Duration>(Seconds(seconds));
}

[[noreturn]] void Fail(const Step& step, const std::string& what) {
  throw std::runtime_error(step.dump() + ": " + what);
}

void Expect(const Step& step, bool condition, const std::string& what) {
  if (!condition) Fail(step, what);
}

// The result must fail with the reason in the step, or succeed if the step has none.
template <typename T>
void Check(const Step& step, const Result<T>& result) {
  const std::string reason = result ? "" : to_string(result.error().reason);
  Expect(step, reason == step.value("fails", ""),
         result ? "succeeded" : reason + ": " + result.error().message);
}

class Runner {
 public:
  explicit Runner(std::string prefix) : prefix_(std::move(prefix)) {}

  void Run(const Step& step) {
    static const std::map<std::string, void (Runner::*)(const Step&)> kSteps = {
        {"acquire", &Runner::Acquire},
        {"begin", &Runner::Begin},
        {"queued", &Runner::Queued},
        {"await", &Runner::Await},
        {"give_up", &Runner::GiveUp},
        {"release", &Runner::Release},
        {"extend", &Runner::Extend},
        {"held", &Runner::Held},
        {"lost", &Runner::Lost},
        {"await_lost", &Runner::AwaitLost},
        {"fences_grow", &Runner::FencesGrow},
        {"shell", &Runner::Shell},
        {"sleep", &Runner::Sleep},
        {"close", &Runner::Close}};
    (this->*kSteps.at(step.at("do")))(step);
  }

 private:
  struct Waiter {
    std::stop_source stop;
    std::promise<void> queued;
    bool told = false;
    std::future<Result<Lock>> lock;
  };

  Client& client() {
    if (client_) return *client_;
    Options options;
    options.endpoints.clear();
    std::stringstream endpoints(std::getenv("ENDPOINTS"));
    for (std::string one; std::getline(endpoints, one, ',');) options.endpoints.push_back(one);
    return client_.emplace(options);
  }
  std::string KeyOf(const Step& step) const {
    const std::string key = step.at("key");
    return key.empty() || key.find(':') != std::string::npos ? key : prefix_ + key;
  }
  static AcquireOptions OptionsOf(const Step& step) {
    AcquireOptions options{.ttl = ToDuration(step.at("ttl"))};
    if (step.contains("wait")) options.wait = ToDuration(step.at("wait"));
    return options;
  }
  Lock& LockOf(const Step& step) { return locks_.at(step.at("lock")); }
  std::shared_ptr<Waiter> WaiterOf(const Step& step) { return waiters_.at(step.at("waiter")); }
  void Keep(const std::string& name, Lock lock) { locks_.insert_or_assign(name, std::move(lock)); }

  void Acquire(const Step& step) {
    Result<Lock> lock = client().acquire(KeyOf(step), OptionsOf(step));
    Check(step, lock);
    if (lock) Keep(step.value("as", ""), std::move(*lock));
  }
  void Begin(const Step& step) {
    const auto waiter = std::make_shared<Waiter>();
    AcquireOptions options = OptionsOf(step);
    options.stop = waiter->stop.get_token();
    options.queued = [waiter](int) {
      if (!std::exchange(waiter->told, true)) waiter->queued.set_value();
    };
    waiter->lock = client().acquire_async(KeyOf(step), options);
    waiters_[step.at("as")] = waiter;
  }
  void Queued(const Step& step) {
    const auto told = WaiterOf(step)->queued.get_future().wait_for(std::chrono::seconds(10));
    Expect(step, told == std::future_status::ready, "was not queued within 10 s");
  }
  void Await(const Step& step) {
    Result<Lock> lock = WaiterOf(step)->lock.get();
    Check(step, lock);
    Keep(step.at("waiter"), std::move(*lock));
  }
  void GiveUp(const Step& step) {
    WaiterOf(step)->stop.request_stop();
    const Result<Lock> lock = WaiterOf(step)->lock.get();
    Expect(step, !lock && lock.error().reason == Reason::kCancelled, "was not given up");
  }
  void Release(const Step& step) { Check(step, LockOf(step).release()); }
  void Extend(const Step& step) { Check(step, LockOf(step).extend(ToDuration(step.at("ttl")))); }
  void Held(const Step& step) {
    const auto loss = LockOf(step).loss();
    Expect(step, LockOf(step).held() == step.at("is"), loss ? loss->message : "held() differs");
  }
  void Lost(const Step& step) {
    Expect(step, LockOf(step).lost().stop_requested() == step.at("is"), "lost() differs");
  }
  void AwaitLost(const Step& step) {
    std::promise<void> lost;
    const std::stop_callback callback(LockOf(step).lost(), [&lost] { lost.set_value(); });
    const auto told = lost.get_future().wait_for(ToDuration(step.at("within")));
    Expect(step, told == std::future_status::ready, "the loss was not signalled in time");
  }
  void FencesGrow(const Step& step) {
    std::uint64_t last = 0;
    for (const std::string name : step.at("locks")) {
      const std::uint64_t fence = locks_.at(name).fencing_token();
      Expect(step, fence > std::exchange(last, fence), "the fencing tokens do not grow");
    }
  }
  void Shell(const Step& step) {
    setenv("PREFIX", prefix_.c_str(), 1);
    const std::string command = step.at("command");
    Expect(step, std::system(command.c_str()) == 0, "the command failed");
  }
  void Sleep(const Step& step) { std::this_thread::sleep_for(ToDuration(step.at("time"))); }
  void Close(const Step& /*step*/) { client_.reset(); }

  const std::string prefix_;
  std::optional<Client> client_;
  std::map<std::string, Lock> locks_;
  std::map<std::string, std::shared_ptr<Waiter>> waiters_;
};

}  // namespace

int main() {
  const std::string prefix = std::getenv("PREFIX");
  const auto file = nlohmann::json::parse(std::ifstream(std::getenv("SCENARIOS")));
  int failed = 0;
  int number = 0;
  for (const auto& scenario : file.at("scenarios")) {
    const std::string name = scenario.at("name");
    Runner runner(prefix + "cpp/" + std::to_string(number++) + "/");
    try {
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
