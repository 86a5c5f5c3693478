#include "client/cpp/src/lingering.h"

#include <utility>

#include "client/cpp/src/driver.h"

namespace redlock::client {

void Lingering::Add(std::shared_ptr<Driver> driver) {
  static Lingering lingering;  // destroyed before what gRPC made when it was loaded
  const std::lock_guard lock(lingering.mutex_);
  lingering.all_.remove_if([](One& one) {
    if (one.finished) one.thread.join();
    return one.finished;
  });
  One& added = lingering.all_.emplace_back();
  added.driver = std::move(driver);
  added.thread = std::thread([&added] {
    added.driver->Finish();
    const std::lock_guard guard(lingering.mutex_);
    added.driver.reset();
    added.finished = true;
  });
}

Lingering::~Lingering() {
  for (One& one : all_) {
    std::shared_ptr<Driver> driver;
    {
      const std::lock_guard lock(mutex_);
      driver = one.driver;
    }
    if (driver) driver->Quit();
    one.thread.join();
  }
}

}  // namespace redlock::client
