#include "server/config/toml_file.h"

#include <toml++/toml.h>

#include <algorithm>
#include <cctype>
#include <fstream>
#include <string_view>

#include "server/config/spelling.h"

namespace redlock::config {
namespace {

constexpr std::size_t kMaxFileBytes = std::size_t{1} << 20;

std::string ReadText(const std::string& path) {
  std::ifstream file(path, std::ios::binary);
  std::string text(kMaxFileBytes + 1, '\0');
  file.read(text.data(), static_cast<std::streamsize>(text.size()));
  if (!file.eof()) {
    throw ConfigError(file.gcount() > static_cast<std::streamsize>(kMaxFileBytes)
                          ? "--config " + path + ": is larger than 1 MiB"
                          : "--config " + path + ": cannot read the file");
  }
  text.resize(static_cast<std::size_t>(file.gcount()));
  return text;
}

// What toml++ says, without the part of the file that it quotes unless that is a known name.
std::string Description(const toml::parse_error& error, const Settings& settings) {
  std::string text(error.description());
  const auto open = text.find('\''), close = text.rfind('\'');
  constexpr std::size_t kOneCharacter = 1;
  if (open == close || close - open - 1 <= kOneCharacter ||
      settings.Find(std::string_view(text).substr(open + 1, close - open - 1)) != nullptr) {
    return text;
  }
  return text.replace(open, close - open + 1, "a text");
}

bool IsName(std::string_view text) {
  return std::all_of(text.begin(), text.end(),
                     [](unsigned char c) { return std::isalnum(c) != 0 || c == '-' || c == '_'; });
}

class Reader {
 public:
  Reader(const std::string& path, const Settings& settings) : path_(path), settings_(settings) {}

  GivenByName Read() {
    toml::table file;
    try {
      file = toml::parse(ReadText(path_));
    } catch (const toml::parse_error& error) {
      throw ConfigError(Place(error.source()) + Description(error, settings_));
    }
    GivenByName given;
    for (const auto& [key, node] : file) {
      const std::string name(key.str());
      const Setting* const setting = settings_.Find(name);
      if (setting == nullptr || node.is_table() || node.is_array_of_tables()) {
        FailUnknown(name, key.source(), node);
      }
      given[name] = Values(*setting, node);
    }
    return given;
  }

 private:
  [[nodiscard]] std::string Place(const toml::source_region& source) const {
    return path_ + ":" + std::to_string(source.begin.line) + ": ";
  }

  [[noreturn]] void FailUnknown(const std::string& name, const toml::source_region& source,
                                const toml::node& node) const {
    const std::string shown = IsName(name) ? name + ": " : "";
    if (node.is_table() || node.is_array_of_tables()) {
      throw ConfigError(Place(source) + shown +
                        "is a table; write all options at the top level, without [sections]");
    }
    const std::string nearest = NearestOf(name, settings_.names());
    throw ConfigError(Place(source) + shown + "unknown option" +
                      (nearest.empty() ? "; the keys are the flags of redlockd --help without --"
                                       : "; did you mean " + nearest + "?"));
  }

  // Fails unless the node has the type.
  template <typename Type>
  const toml::value<Type>& Expect(const Setting& setting, const toml::node& node,
                                  const char* expected) const {
    const auto* const value = node.as<Type>();
    if (value == nullptr) {
      throw ConfigError(Place(node.source()) + setting.name + ": must be " + expected);
    }
    return *value;
  }

  [[nodiscard]] std::string Text(const Setting& setting, const toml::node& node) const {
    switch (setting.type) {
      case Setting::Type::kText:
        return Expect<std::string>(setting, node, "a string in quotes").get();
      case Setting::Type::kList:
        return Expect<std::string>(setting, node, "a list of strings, such as [\"...\", \"...\"]")
            .get();
      case Setting::Type::kDuration:
        return Expect<std::string>(setting, node,
                                   "a duration in quotes, such as \"50ms\", \"2s\" or \"5m\"")
            .get();
      case Setting::Type::kInteger:
        return std::to_string(
            Expect<std::int64_t>(setting, node, "a whole number without quotes").get());
      case Setting::Type::kNumber: {
        if (node.is_integer()) return std::to_string(node.as_integer()->get());
        return NumberText(Expect<double>(setting, node, "a number without quotes").get());
      }
      case Setting::Type::kSwitch:
        return Expect<bool>(setting, node, "true or false, without quotes").get() ? "true"
                                                                                  : "false";
    }
    return {};
  }

  [[nodiscard]] Given Values(const Setting& setting, const toml::node& node) const {
    const auto value = [&](const toml::node& element) {
      return Given::Value{Text(setting, element), Place(element.source()) + setting.name};
    };
    const toml::array* const array = node.as_array();
    if (setting.type != Setting::Type::kList || array == nullptr) return {{value(node)}};
    if (array->empty()) {
      throw ConfigError(Place(node.source()) + setting.name +
                        ": the list is empty; remove the line to use the default");
    }
    Given given;
    for (const toml::node& element : *array) given.values.push_back(value(element));
    return given;
  }

  const std::string& path_;
  const Settings& settings_;
};

}  // namespace

GivenByName ReadTomlFile(const std::string& path, const Settings& settings) {
  ValidatePath("--config", path);
  return Reader(path, settings).Read();
}

}  // namespace redlock::config
