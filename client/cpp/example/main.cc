// example [HOST:PORT]: acquires a lock, works while it is held, and releases it.
#include <redlock/client.h>

#include <chrono>
#include <iostream>
#include <thread>

int main(int argc, char** argv) {
  using namespace std::chrono_literals;
  redlock::client::Client client({.endpoints = {argc > 1 ? argv[1] : "127.0.0.1:50051"}});

  auto lock = client.acquire("reports", {.ttl = 30s, .wait = 10s});
  if (!lock) {
    std::cerr << "not acquired: " << lock.error().message << "\n";
    return 1;
  }
  std::cout << "fencing token " << lock->fencing_token() << "\n";
  for (int page = 1; page <= 3 && !lock->lost().stop_requested(); ++page) {
    std::cout << "page " << page << "\n";
    std::this_thread::sleep_for(100ms);
  }
  return lock->release() ? 0 : 1;
}
