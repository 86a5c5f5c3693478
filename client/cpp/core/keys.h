// What is in a key. A lock of several keys, a share, or a slot of a semaphore has one key in this
// library: see redlock/keys.h. Only the check of arguments, the messages of the protocol and what
// people see look into it.
#pragma once

#include <string>
#include <vector>

#include "redlock/keys.h"

namespace redlock::client {

// In byte order if they come from together(). A key of one name has that name; it may be empty.
[[nodiscard]] std::vector<std::string> NamesOf(const std::string& key);

// Whether the key comes from shared().
[[nodiscard]] bool IsShared(const std::string& key);

// Of a key from semaphore(): the limit, and the slot, 0 if it names none. Both are 0 for other
// keys. A number that was out of range is kOutOfRange.
[[nodiscard]] bool IsSemaphore(const std::string& key);
[[nodiscard]] int LimitOf(const std::string& key);
[[nodiscard]] int SlotOf(const std::string& key);
inline constexpr int kMostSlots = 64;
inline constexpr int kOutOfRange = kMostSlots + 1;
// The same key with this slot, and with none. Other keys stay as they are.
[[nodiscard]] std::string WithSlot(const std::string& key, int slot);
[[nodiscard]] std::string AnySlot(const std::string& key);

// For people: the names, with commas in between.
[[nodiscard]] std::string InWords(const std::string& key);

}  // namespace redlock::client
