// The settings of redlockd: name, type, range and help of each, whatever a value comes from.
#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "server/config/config.h"

namespace redlock::config {

struct Setting {
  enum class Type { kText, kList, kDuration, kInteger, kNumber, kSwitch };

  std::string name;  // the flag without its dashes, and the key in the file: "node-timeout"
  std::string group;
  std::string help;
  std::string placeholder;  // what --help shows for the value
  Type type = Type::kText;
  // Stores a value; a list appends it. Throws ConfigError. The message starts with the flag.
  std::function<void(const std::string&)> set;
  std::function<void()> clear;        // for lists: removes the default
  std::function<std::string()> show;  // the value as TOML, without secrets
  // For lists whose elements may contain commas: what an element starts with.
  std::vector<std::string> starts;

  [[nodiscard]] std::string flag() const { return "--" + name; }
  [[nodiscard]] std::string variable() const;
};

// The environment variable of a setting: "REDLOCKD_NODE_TIMEOUT" for "node-timeout".
[[nodiscard]] std::string VariableOf(std::string_view name);

// Returns " value" for an error message. Returns nothing if the value is not a plain word, because
// an operator may have mixed up options, and the value may then contain a password.
[[nodiscard]] std::string Shown(std::string_view value);

// Returns the texts as a TOML array of strings.
[[nodiscard]] std::string QuotedList(const std::vector<std::string>& texts);

// Returns the number as short as it can be read back.
[[nodiscard]] std::string NumberText(double number);

// Declares settings. The values that the functions refer to must outlive the object.
class Settings {
 public:
  using Check = std::function<void(const std::string&)>;

  void StartGroup(std::string name) { group_ = std::move(name); }
  // `check` throws ConfigError if the text is not allowed.
  void AddText(const std::string& name, std::string& value, const std::string& help,
               const Check& check = {});
  void AddPath(const std::string& name, std::string& value, const std::string& help);
  template <typename Value>
  void AddChoice(const std::string& name, Value& value,
                 std::vector<std::pair<std::string, Value>> choices, const std::string& help) {
    std::vector<std::string> words;
    for (const auto& choice : choices) words.push_back(choice.first);
    AddChoice(
        name, words, help, [&value, choices](std::size_t index) { value = choices[index].second; },
        [&value, choices] {
          std::size_t index = 0;
          while (choices[index].second != value) ++index;
          return choices[index].first;
        });
  }
  void AddList(const std::string& name, std::vector<std::string>& values, const std::string& help,
               const Check& check);
  void AddSwitch(const std::string& name, bool& value, const std::string& help);
  void AddDuration(const std::string& name, Duration& value, Duration low, Duration high,
                   const std::string& help);
  template <typename Integer>
  void AddInteger(const std::string& name, Integer& value, std::int64_t low, std::int64_t high,
                  const std::string& help) {
    AddInteger(
        name, low, high, help, [&value](std::int64_t number) { value = Integer(number); },
        [&value] { return std::to_string(value); });
  }
  void AddNumber(const std::string& name, double& value, double low, double high,
                 const std::string& help);
  void Add(Setting setting);

  [[nodiscard]] const std::vector<Setting>& all() const { return all_; }
  // Returns null if there is no such setting.
  [[nodiscard]] const Setting* Find(std::string_view name) const;
  [[nodiscard]] std::vector<std::string> names() const;

 private:
  void AddChoice(const std::string& name, const std::vector<std::string>& words,
                 const std::string& help, std::function<void(std::size_t)> store,
                 const std::function<std::string()>& show);
  void AddInteger(const std::string& name, std::int64_t low, std::int64_t high,
                  const std::string& help, std::function<void(std::int64_t)> store,
                  std::function<std::string()> show);

  std::string group_;
  std::vector<Setting> all_;
};

// Refuses what cannot be the path of a file, such as a node's address. Throws ConfigError.
void ValidatePath(const std::string& flag, const std::string& path);

}  // namespace redlock::config
