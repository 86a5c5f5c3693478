#include "server/access/access_list.h"

#include <toml++/toml.h>

#include <algorithm>
#include <optional>
#include <stdexcept>

#include "server/core/pattern.h"

namespace redlock::access {
namespace {

[[noreturn]] void Fail(const toml::node& node, const std::string& what) {
  throw std::runtime_error("line " + std::to_string(node.source().begin.line) + ": " + what);
}

std::optional<Action> VerbOf(std::string_view name) {
  if (name == "acquire") return Action::kAcquire;
  if (name == "extend") return Action::kExtend;
  if (name == "release") return Action::kRelease;
  if (name == "inspect") return Action::kInspect;
  if (name == "admin") return Action::kAdmin;
  return std::nullopt;
}

std::vector<std::string> Strings(const toml::node& node, const std::string& name) {
  std::vector<std::string> strings;
  const toml::array* const array = node.as_array();
  if (array == nullptr || array->empty()) Fail(node, name + " must be a non-empty list of strings");
  for (const toml::node& element : *array) {
    const auto text = element.value<std::string>();
    if (!text || !element.is_string()) Fail(element, name + " must be a non-empty list of strings");
    strings.push_back(*text);
  }
  return strings;
}

}  // namespace

AccessList AccessList::Parse(std::string_view text) {
  toml::table file;
  try {
    file = toml::parse(text);
  } catch (const toml::parse_error& error) {
    throw std::runtime_error("line " + std::to_string(error.source().begin.line) + ": " +
                             std::string(error.description()));
  }
  AccessList list;
  for (const auto& [name, node] : file) {
    const toml::array* const rules = node.as_array();
    if (name != "rule" || rules == nullptr) {
      Fail(node, "unknown name '" + std::string(name.str()) + "': only [[rule]] is allowed");
    }
    for (const toml::node& element : *rules) {
      const toml::table* const table = element.as_table();
      if (table == nullptr) Fail(element, "rule must be a table: write [[rule]]");
      Rule rule;
      for (const auto& [field, value] : *table) {
        if (field == "identity") {
          if (!value.is_string()) Fail(value, "identity must be a string");
          rule.identity = *value.value<std::string>();
        } else if (field == "keys") {
          rule.keys = Strings(value, "keys");
        } else if (field == "verbs") {
          for (const std::string& word : Strings(value, "verbs")) {
            const auto verb = VerbOf(word);
            if (!verb) {
              Fail(value, "unknown verb '" + word +
                              "': must be acquire, extend, release, inspect or admin");
            }
            rule.verbs.push_back(*verb);
          }
        } else {
          Fail(value,
               "unknown field '" + std::string(field.str()) + "': must be identity, keys or verbs");
        }
      }
      if (rule.identity.empty()) Fail(element, "the rule has no identity");
      if (rule.verbs.empty()) Fail(element, "the rule has no verbs");
      if (rule.keys.empty()) rule.keys = {"*"};
      list.rules_.push_back(std::move(rule));
    }
  }
  return list;
}

bool AccessList::Rule::Concerns(std::string_view caller, Action verb) const {
  return std::find(verbs.begin(), verbs.end(), verb) != verbs.end() && Matches(identity, caller);
}

bool AccessList::Allows(std::string_view identity, Action verb, std::string_view key) const {
  return std::any_of(rules_.begin(), rules_.end(), [&](const Rule& rule) {
    return rule.Concerns(identity, verb) &&
           std::any_of(rule.keys.begin(), rule.keys.end(),
                       [key](const std::string& pattern) { return Matches(pattern, key); });
  });
}

bool AccessList::AllowsAllKeys(std::string_view identity, Action verb) const {
  return std::any_of(rules_.begin(), rules_.end(), [&](const Rule& rule) {
    return rule.Concerns(identity, verb) &&
           std::any_of(rule.keys.begin(), rule.keys.end(), [](const std::string& pattern) {
             return !pattern.empty() && pattern.find_first_not_of('*') == std::string::npos;
           });
  });
}

bool AccessList::AllowsSomeKeys(std::string_view identity, Action verb) const {
  return std::any_of(rules_.begin(), rules_.end(),
                     [&](const Rule& rule) { return rule.Concerns(identity, verb); });
}

}  // namespace redlock::access
