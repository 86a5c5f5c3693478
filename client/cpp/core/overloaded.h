// One function for each alternative of a std::variant.
#pragma once

namespace redlock::client {

template <typename... Functions>
struct Overloaded : Functions... {
  using Functions::operator()...;
};
template <typename... Functions>
Overloaded(Functions...) -> Overloaded<Functions...>;

}  // namespace redlock::client
