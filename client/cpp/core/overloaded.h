// Combines lambdas into one visitor for std::visit: one lambda for each alternative of a variant.
#pragma once

namespace redlock::client {

template <typename... Functions>
struct Overloaded : Functions... {
  using Functions::operator()...;
};
template <typename... Functions>
Overloaded(Functions...) -> Overloaded<Functions...>;

}  // namespace redlock::client
