// Makes the texts of other clients harmless to a terminal: control characters in a label or key
// could forge lines of the output or control the terminal.
#pragma once

#include <google/protobuf/message.h>

#include <string>
#include <string_view>

namespace redlockctl {

// Escapes control characters, such as \n, \x1b and \u009b.
[[nodiscard]] std::string Shown(std::string_view text);

// Lists names: "a, b".
[[nodiscard]] std::string Listed(const auto& names) {
  std::string list;
  for (const std::string& name : names) list += (list.empty() ? "" : ", ") + name;
  return list;
}

// Escapes all texts of the message and of the messages in it.
void EscapeTexts(google::protobuf::Message& message);

// Returns the message with its texts escaped.
template <typename Message>
[[nodiscard]] Message ShownMessage(Message message) {
  EscapeTexts(message);
  return message;
}

}  // namespace redlockctl
