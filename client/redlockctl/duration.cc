#include "client/redlockctl/duration.h"

#include <algorithm>
#include <array>
#include <charconv>

namespace redlockctl {
namespace {

struct Unit {
  std::string_view name;
  Millis length;
};

// From the largest to the smallest.
constexpr std::array kUnits = {Unit{"d", std::chrono::hours(24)}, Unit{"h", std::chrono::hours(1)},
                               Unit{"m", std::chrono::minutes(1)},
                               Unit{"s", std::chrono::seconds(1)}, Unit{"ms", Millis(1)}};
constexpr Millis kLongest = std::chrono::hours(24 * 3652);

// Takes the characters at the beginning of `text` that `belongs` accepts.
std::string_view Take(std::string_view& text, auto belongs) {
  const auto end = std::find_if_not(text.begin(), text.end(), belongs);
  const auto size = static_cast<std::size_t>(end - text.begin());
  const std::string_view taken = text.substr(0, size);
  text.remove_prefix(size);
  return taken;
}

std::optional<double> TakeNumber(std::string_view& text) {
  const std::string_view digits =
      Take(text, [](char c) { return (c >= '0' && c <= '9') || c == '.'; });
  double number = 0;
  const auto [end, error] = std::from_chars(digits.data(), digits.data() + digits.size(), number);
  if (error != std::errc() || end != digits.data() + digits.size()) return std::nullopt;
  return number;
}

}  // namespace

std::optional<Millis> ParseDuration(std::string_view text) {
  Millis total{};
  const auto* larger = kUnits.begin();  // the units from here on may still follow
  const bool plain = std::all_of(text.begin(), text.end(),
                                 [](char c) { return (c >= '0' && c <= '9') || c == '.'; });
  do {
    const auto number = TakeNumber(text);
    const std::string_view name =
        plain ? "s" : Take(text, [](char c) { return c >= 'a' && c <= 'z'; });
    const auto* unit =
        std::find_if(larger, kUnits.end(), [name](const Unit& each) { return each.name == name; });
    if (!number || unit == kUnits.end()) return std::nullopt;
    total += *number * unit->length;
    larger = unit + 1;
  } while (!text.empty());
  return total <= kLongest ? std::optional(total) : std::nullopt;
}

}  // namespace redlockctl
