// How a worker comes to a contended lock.
#pragma once

#include <atomic>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <random>
#include <string>
#include <vector>

#include "proto/redlock/v1/lock_service.grpc.pb.h"
#include "tests/bench/documented_client.h"
#include "tests/support/daemon.h"

namespace redlock::bench {

// What all of them want, and for how long at most.
inline constexpr const char* kContendedKey = "contended";
inline constexpr std::chrono::milliseconds kContendedTtl{10'000};

// A connection of its own.
[[nodiscard]] std::unique_ptr<v1::LockService::Stub> ConnectTo(const std::string& address);
// Asks for the key by the service, and waits.
[[nodiscard]] v1::AcquireRequest AcquireContended();

// Of one worker. Acquire waits until it has it, or until `stop`.
class Locker {
 public:
  virtual ~Locker() = default;
  virtual bool Acquire(const std::atomic<bool>& stop) = 0;
  virtual void Release() = 0;
  // By which of several daemons.
  [[nodiscard]] virtual std::size_t daemon() const { return 0; }
};

// By unary calls to a daemon.
class ServiceLocker final : public Locker {
 public:
  ServiceLocker(const testing::Daemon& daemon, std::size_t number);
  bool Acquire(const std::atomic<bool>& stop) override;
  void Release() override;
  [[nodiscard]] std::size_t daemon() const override { return number_; }

 private:
  const std::unique_ptr<v1::LockService::Stub> stub_;
  const std::size_t number_;
  std::string token_;
};

// After the Redis documentation: tries, and sleeps for a random time between the two if it fails.
class PollingLocker final : public Locker {
 public:
  PollingLocker(const std::vector<std::uint16_t>& ports, double least_ms, double most_ms);
  bool Acquire(const std::atomic<bool>& stop) override;
  void Release() override;

 private:
  DocumentedClient client_;
  std::uniform_real_distribution<double> pause_ms_;
  std::mt19937_64 random_{std::random_device{}()};
  std::string token_;
};

}  // namespace redlock::bench
