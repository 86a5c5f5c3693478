// Turns a call with a callback into one with a future.
#pragma once

#include <future>
#include <memory>
#include <utility>

#include "redlock/result.h"

namespace redlock::client {

// Calls start(done), and returns the future of what `done` is called with.
template <typename T>
std::future<Result<T>> Future(auto start) {
  const auto answer = std::make_shared<std::promise<Result<T>>>();
  auto future = answer->get_future();
  start([answer](Result<T> result) { answer->set_value(std::move(result)); });
  return future;
}

}  // namespace redlock::client
