// Lets only a class itself call a constructor that std::make_shared() must be able to call.
#pragma once

namespace redlock {

template <typename Owner>
class Passkey {
  friend Owner;
  Passkey() {}  // NOLINT(modernize-use-equals-default): an aggregate would be open to everybody
};

}  // namespace redlock
