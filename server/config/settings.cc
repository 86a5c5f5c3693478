#include "server/config/settings.h"

#include <algorithm>
#include <array>
#include <charconv>
#include <cmath>
#include <optional>
#include <utility>

#include "server/core/format.h"

namespace redlock::config {
namespace {

using Milliseconds = std::chrono::duration<double, std::milli>;

template <typename Number>
std::optional<Number> Parsed(std::string_view text) {
  Number number{};
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), number);
  if (error != std::errc() || end != text.data() + text.size()) return std::nullopt;
  return number;
}

std::optional<Milliseconds> ParsedDuration(std::string_view text) {
  constexpr std::array<std::pair<std::string_view, double>, 4> kUnits = {
      {{"ms", 1}, {"s", 1'000}, {"m", 60'000}, {"h", 3'600'000}}};
  const auto unit_at = text.find_first_not_of("0123456789.");
  if (unit_at == std::string_view::npos) return std::nullopt;
  const auto number = Parsed<double>(text.substr(0, unit_at));
  for (const auto& [unit, ms] : kUnits) {
    if (number && text.substr(unit_at) == unit) return Milliseconds(*number * ms);
  }
  return std::nullopt;
}

std::string DurationText(Duration duration) {
  const Milliseconds exact = duration;
  if (exact.count() == std::floor(exact.count())) return FlagText(duration);
  return NumberText(exact.count()) + "ms";
}

std::string Joined(const std::vector<std::string>& words, const char* between,
                   const char* before_last) {
  std::string text;
  for (std::size_t i = 0; i < words.size(); ++i) {
    if (i > 0) text += i + 1 == words.size() ? before_last : between;
    text += words[i];
  }
  return text;
}

}  // namespace

std::string NumberText(double number) {
  std::array<char, 40> digits{};
  const auto result = std::to_chars(digits.data(), digits.data() + digits.size(), number);
  return {digits.data(), result.ptr};
}

std::string VariableOf(std::string_view name) {
  std::string variable = "REDLOCKD_" + std::string(name);
  for (char& c : variable) {
    c = c == '-' ? '_' : static_cast<char>(std::toupper(static_cast<unsigned char>(c)));
  }
  return variable;
}

std::string Setting::variable() const { return VariableOf(name); }

std::string Shown(std::string_view value) {
  constexpr std::size_t kMaxShown = 64;
  const bool plain =
      !value.empty() && value.size() <= kMaxShown &&
      std::all_of(value.begin(), value.end(), [](unsigned char c) {
        return std::isalnum(c) != 0 ||
               std::string_view("+-._").find(static_cast<char>(c)) != std::string_view::npos;
      });
  return plain ? " " + std::string(value) : std::string();
}

std::string QuotedList(const std::vector<std::string>& texts) {
  std::string list;
  for (const std::string& text : texts) list += (list.empty() ? "" : ", ") + Quoted(text);
  return "[" + list + "]";
}

void ValidatePath(const std::string& flag, const std::string& path) {
  if (path.find("://") != std::string::npos) {
    throw ConfigError(flag + ": must be the path of a file, not an address");
  }
}

void Settings::Add(Setting setting) {
  setting.group = group_;
  all_.push_back(std::move(setting));
}

void Settings::AddText(const std::string& name, std::string& value, const std::string& help,
                       const Check& check) {
  Add({.name = name,
       .help = help,
       .placeholder = "TEXT",
       .type = Setting::Type::kText,
       .set =
           [&value, check](const std::string& text) {
             if (check) check(text);
             value = text;
           },
       .show = [&value] { return Quoted(value); }});
}

void Settings::AddPath(const std::string& name, std::string& value, const std::string& help) {
  AddText(name, value, help,
          [flag = "--" + name](const std::string& path) { ValidatePath(flag, path); });
  all_.back().placeholder = "PATH";
}

void Settings::AddChoice(const std::string& name, const std::vector<std::string>& words,
                         const std::string& help, std::function<void(std::size_t)> store,
                         const std::function<std::string()>& show) {
  Add({.name = name,
       .help = help,
       .placeholder = "{" + Joined(words, ",", ",") + "}",
       .type = Setting::Type::kText,
       .set =
           [name, words, store = std::move(store)](const std::string& text) {
             const auto found = std::find(words.begin(), words.end(), text);
             if (found == words.end()) {
               throw ConfigError("--" + name + Shown(text) + ": must be " +
                                 Joined(words, ", ", " or "));
             }
             store(static_cast<std::size_t>(found - words.begin()));
           },
       .show = [show] { return Quoted(show()); }});
}

void Settings::AddList(const std::string& name, std::vector<std::string>& values,
                       const std::string& help, const Check& check) {
  Add({.name = name,
       .help = help,
       .placeholder = "TEXT",
       .type = Setting::Type::kList,
       .set =
           [&values, check](const std::string& text) {
             check(text);
             values.push_back(text);
           },
       .clear = [&values] { values.clear(); },
       .show = [&values] { return QuotedList(values); }});
}

void Settings::AddSwitch(const std::string& name, bool& value, const std::string& help) {
  Add({.name = name,
       .help = help,
       .type = Setting::Type::kSwitch,
       .set =
           [&value, name](const std::string& text) {
             if (text != "true" && text != "false") {
               throw ConfigError("--" + name + Shown(text) + ": must be true or false");
             }
             value = text == "true";
           },
       .show = [&value] { return std::string(value ? "true" : "false"); }});
}

void Settings::AddDuration(const std::string& name, Duration& value, Duration low, Duration high,
                           const std::string& help) {
  const std::string range = FlagText(low) + " to " + FlagText(high);
  Add({.name = name,
       .help = help + " (" + range + ")",
       .placeholder = "DURATION",
       .type = Setting::Type::kDuration,
       .set =
           [&value, name, low, high, range](const std::string& text) {
             const auto duration = ParsedDuration(text);
             if (!duration || *duration < low || *duration > high) {
               throw ConfigError("--" + name + Shown(text) + ": must be a duration from " + range +
                                 ", written like 50ms, 2s, 5m or 24h");
             }
             value = std::chrono::duration_cast<Duration>(*duration);
           },
       .show = [&value] { return Quoted(DurationText(value)); }});
}

void Settings::AddInteger(const std::string& name, std::int64_t low, std::int64_t high,
                          const std::string& help, std::function<void(std::int64_t)> store,
                          std::function<std::string()> show) {
  const std::string range = std::to_string(low) + " to " + std::to_string(high);
  Add({.name = name,
       .help = help + " (" + range + ")",
       .placeholder = "NUMBER",
       .type = Setting::Type::kInteger,
       .set =
           [name, low, high, range, store = std::move(store)](const std::string& text) {
             const auto number = Parsed<std::int64_t>(text);
             if (!number || *number < low || *number > high) {
               throw ConfigError("--" + name + Shown(text) + ": must be a whole number from " +
                                 range);
             }
             store(*number);
           },
       .show = std::move(show)});
}

void Settings::AddNumber(const std::string& name, double& value, double low, double high,
                         const std::string& help) {
  const std::string range = NumberText(low) + " to " + NumberText(high);
  Add({.name = name,
       .help = help + " (" + range + ")",
       .placeholder = "NUMBER",
       .type = Setting::Type::kNumber,
       .set =
           [&value, name, low, high, range](const std::string& text) {
             const auto number = Parsed<double>(text);
             // Phrased so that NaN is refused too.
             if (!number || !(*number >= low && *number <= high)) {
               throw ConfigError("--" + name + Shown(text) + ": must be a number from " + range);
             }
             value = *number;
           },
       .show = [&value] { return NumberText(value); }});
}

const Setting* Settings::Find(std::string_view name) const {
  const auto found =
      std::find_if(all_.begin(), all_.end(), [&](const Setting& s) { return s.name == name; });
  return found == all_.end() ? nullptr : &*found;
}

std::vector<std::string> Settings::names() const {
  std::vector<std::string> names;
  for (const Setting& setting : all_) names.push_back(setting.name);
  return names;
}

}  // namespace redlock::config
