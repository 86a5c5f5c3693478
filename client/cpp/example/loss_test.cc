// loss_test: what does my code do when it loses the lock? Starts a lock service of its own, so it
// needs redlockd and redis-server.
#include <redlock/client.h>
#include <redlock/testing.h>

#include <chrono>
#include <iostream>
#include <thread>

namespace {

// The code under test: works until it is done or must stop. Returns whether it is done.
bool Work(const redlock::client::Lock& lock) {
  for (int page = 1; page <= 1'000; ++page) {
    if (lock.lost().stop_requested()) return false;
    std::this_thread::sleep_for(std::chrono::milliseconds(5));
  }
  return true;
}

}  // namespace

int main() {
  redlock::testing::Server server;
  redlock::client::Client client({.endpoints = {server.address()}});
  auto lock = client.acquire("reports").value();

  std::jthread thief([&server] { server.lose("reports"); });
  if (Work(lock)) {
    std::cerr << "the work went on without its lock\n";
    return 1;
  }
  std::cout << "stopped: " << lock.loss()->message << "\n";
  return 0;
}
