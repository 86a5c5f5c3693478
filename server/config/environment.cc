#include "server/config/environment.h"

#include <unistd.h>

#include <algorithm>
#include <cctype>
#include <regex>
#include <string_view>

#include "server/config/spelling.h"

namespace redlock::config {
namespace {

constexpr std::string_view kPrefix = "REDLOCKD_";
constexpr std::string_view kConfigFile = "REDLOCKD_CONFIG";

// Whether the kubelet sets this variable for a Service whose name is redlockd or starts with
// redlockd-. It does so in every pod of the namespace unless enableServiceLinks is false.
bool IsServiceLink(const std::string& name, const std::string& value) {
  constexpr std::size_t kMaxLength = 256;
  if (name.size() > kMaxLength || value.size() > kMaxLength) return false;
  static const std::regex links(
      "REDLOCKD(_[A-Z0-9_]+)?"
      "_(SERVICE_HOST|SERVICE_PORT(_[A-Z0-9_]+)?|PORT_[0-9]+_(TCP|UDP|SCTP)(_(PROTO|PORT|ADDR))?)");
  static const std::regex port("REDLOCKD(_[A-Z0-9_]+)?_PORT");
  static const std::regex port_value("(tcp|udp|sctp)://[^@/]*");
  return std::regex_match(name, links) ||
         (std::regex_match(name, port) && std::regex_match(value, port_value));
}

// REDLOCKD_NODE_TIMEOUT: node-timeout
std::string NameOf(std::string_view variable) {
  std::string name(variable.substr(kPrefix.size()));
  for (char& c : name) {
    c = c == '_' ? '-' : static_cast<char>(std::tolower(static_cast<unsigned char>(c)));
  }
  return name;
}

std::string_view Trimmed(std::string_view text) {
  const auto first = text.find_first_not_of(' ');
  if (first == std::string_view::npos) return {};
  return text.substr(first, text.find_last_not_of(' ') - first + 1);
}

// Whether an element of the list starts here, after a comma.
bool StartsElement(const Setting& setting, std::string_view text) {
  return setting.starts.empty() ||
         std::any_of(setting.starts.begin(), setting.starts.end(),
                     [&](const std::string& start) { return Trimmed(text).starts_with(start); });
}

Given Values(const Setting& setting, std::string_view text) {
  if (setting.type != Setting::Type::kList) {
    return {{{std::string(text), setting.variable()}}};
  }
  Given given;
  text = text.substr(0, text.find_last_not_of(", ") + 1);
  while (true) {
    auto comma = text.find(',');
    while (comma != std::string_view::npos && !StartsElement(setting, text.substr(comma + 1))) {
      comma = text.find(',', comma + 1);
    }
    given.values.push_back({std::string(Trimmed(text.substr(0, comma))), setting.variable()});
    if (comma == std::string_view::npos) return given;
    text.remove_prefix(comma + 1);
  }
}

}  // namespace

Environment ProcessEnvironment() {
  Environment found;
  for (const char* const* entry = environ; *entry != nullptr; ++entry) {
    const std::string_view text(*entry);
    const auto equals = text.find('=');
    if (text.starts_with(kPrefix) && equals != std::string_view::npos) {
      found.emplace(text.substr(0, equals), text.substr(equals + 1));
    }
  }
  return found;
}

FromEnvironment ReadEnvironment(const Environment& environment, const Settings& settings) {
  FromEnvironment result;
  std::vector<std::string> names = settings.names();
  names.insert(names.begin(), NameOf(kConfigFile));
  for (const auto& [variable, value] : environment) {
    if (variable == kConfigFile) {
      result.config_file = value;
      continue;
    }
    const std::string name = NameOf(variable);
    const Setting* const setting = settings.Find(name);
    if (setting != nullptr && setting->variable() == variable) {
      if (!value.empty()) result.given[name] = Values(*setting, value);
      continue;
    }
    if (IsServiceLink(variable, value)) continue;
    const std::string nearest = NearestOf(name, names);
    if (!nearest.empty()) {
      throw ConfigError("the environment variable " + variable +
                        " is not an option; did you mean " + VariableOf(nearest) + "?");
    }
    result.unknown.push_back(variable);
  }
  return result;
}

}  // namespace redlock::config
