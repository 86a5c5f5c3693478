// The C++ client as a worker. ../README.md describes its output.
#include <time.h>
#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <cstdlib>
#include <fstream>
#include <memory>
#include <nlohmann/json.hpp>
#include <optional>
#include <random>
#include <sstream>
#include <string>
#include <thread>
#include <vector>

#include "redlock/client.h"

namespace {

using nlohmann::json;
using redlock::client::Client;
using redlock::client::Lock;
using redlock::client::Options;
using redlock::client::Reason;

double Now() {
  timespec at{};
  clock_gettime(CLOCK_BOOTTIME, &at);
  return static_cast<double>(at.tv_sec) + static_cast<double>(at.tv_nsec) / 1e9;
}

double ToSeconds(redlock::client::Duration duration) {
  return std::chrono::duration<double>(duration).count();
}

redlock::client::Duration FromSeconds(double seconds) {
  return std::chrono::duration_cast<redlock::client::Duration>(
      std::chrono::duration<double>(seconds));
}

std::string Variable(const char* name) {
  const char* value = std::getenv(name);
  return value == nullptr ? "" : value;
}

class Worker {
 public:
  Worker()
      : name_(Variable("WORKER_NAME")),
        random_(std::stoull(Variable("WORKER_SEED"))),
        history_(Variable("WORKER_HISTORY"), std::ios::app),
        shared_keys_(std::stoi(Variable("WORKER_SHARED_KEYS"))) {
    NewClient();
  }

  [[noreturn]] void Run() {
    while (true) {
      if (Chance(0.7)) {
        Cycle("shared-" +
              std::to_string(std::uniform_int_distribution(0, shared_keys_ - 1)(random_)));
      } else {
        Cycle("own-" + name_);
      }
    }
  }

 private:
  double Between(double least, double most) {
    return std::uniform_real_distribution<double>(least, most)(random_);
  }
  bool Chance(double probability) { return Between(0, 1) < probability; }

  void Record(const char* what, json line, const json& more = json::object()) {
    line["worker"] = name_;
    line["what"] = what;
    line.update(more);
    history_ << line.dump() + "\n" << std::flush;
  }

  void NewClient() {
    client_.reset();
    Options options;
    options.endpoints.clear();
    std::stringstream list(Variable("WORKER_ENDPOINTS"));
    for (std::string endpoint; std::getline(list, endpoint, ',');) {
      options.endpoints.push_back(endpoint);
    }
    std::shuffle(options.endpoints.begin(), options.endpoints.end(), random_);
    options.grace = FromSeconds(std::stod(Variable("WORKER_GRACE")));
    client_ = std::make_unique<Client>(options);
  }

  void Cycle(const std::string& key) {
    redlock::client::AcquireOptions options;
    options.ttl = FromSeconds(Between(0.3, 1));
    options.wait = FromSeconds(Chance(0.4) ? 0 : Between(0.2, 2));
    options.owner = name_;
    if (Chance(0.3)) {
      options.token = name_ + "-" + std::to_string(getpid()) + "-" + std::to_string(++tokens_);
    }
    const double sent = Now();
    auto lock = client_->acquire(key, options);
    if (!lock) {
      Record("not acquired", {{"key", key},
                              {"sent", sent},
                              {"received", Now()},
                              {"reason", to_string(lock.error().reason)}});
      std::this_thread::sleep_for(std::chrono::milliseconds(10));
      return;
    }
    const json id = {{"key", key}, {"token", lock->token()}};
    Record("acquired", id, {{"sent", sent}, {"received", Now()}, {"fence", lock->fencing_token()}});
    Use(*lock, id);
    Record("releases", id, {{"sent", Now()}});
    if (Chance(0.1)) {
      NewClient();
      return;
    }
    const auto released = lock->release();
    Record("released", id,
           {{"received", Now()}, {"reason", released ? "OK" : to_string(released.error().reason)}});
  }

  // Records how long the client trusts the lock, until the lock is lost or some time has passed.
  void Use(Lock& lock, const json& id) {
    const double end = Now() + Between(0, 2.5);
    json by = nullptr;
    double unsignalled = Now();
    while (Now() < end) {
      const double before = Now();
      const double validity = ToSeconds(lock.validity());
      const double begin = Now();
      if (validity > 0) {
        by = before + validity;
        Record("trusts", id, {{"begin", begin}, {"end", by}, {"fence", lock.fencing_token()}});
      }
      std::this_thread::sleep_for(FromSeconds(Between(0, 0.05)));
      const double looked = Now();
      if (lock.lost().stop_requested()) {
        const auto loss = lock.loss();
        Record("lost", id,
               {{"received", Now()},
                {"by", by},
                {"unsignalled", unsignalled},
                {"reason", loss ? to_string(loss->reason) : ""}});
        return;
      }
      unsignalled = looked;
      if (Chance(0.02)) static_cast<void>(lock.extend(FromSeconds(Between(0.3, 1))));
    }
  }

  const std::string name_;
  std::mt19937_64 random_;
  std::ofstream history_;
  const int shared_keys_;
  std::unique_ptr<Client> client_;
  int tokens_ = 0;
};

}  // namespace

int main() { Worker().Run(); }
