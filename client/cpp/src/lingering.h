// Drivers of clients that were destroyed while locks could not be released: they continue to
// release them, until that is done or the locks have expired.
#pragma once

#include <list>
#include <memory>
#include <mutex>
#include <thread>

namespace redlock::client {

class Driver;

class Lingering {
 public:
  // Takes a driver whose Close() has ended.
  static void Add(std::shared_ptr<Driver> driver);
  // At the exit of the process: gRPC cannot be used any longer.
  ~Lingering();

 private:
  struct One {
    std::shared_ptr<Driver> driver;
    std::thread thread;
    bool finished = false;
  };

  std::mutex mutex_;
  std::list<One> all_;
};

}  // namespace redlock::client
