#include "client/redlockctl/shown.h"

#include <array>
#include <cstdio>
#include <vector>

namespace redlockctl {
namespace {

// U+0080 to U+009F, which terminals treat like escape sequences, are encoded as C2 80 to C2 9F.
constexpr unsigned char kLeadOfC1 = 0xc2;
constexpr unsigned char kFirstC1 = 0x80;
constexpr unsigned char kLastC1 = 0x9f;
constexpr unsigned char kDelete = 0x7f;

std::string Escaped(const char* format, unsigned char character) {
  std::array<char, 8> text{};
  std::snprintf(text.data(), text.size(), format, character);
  return text.data();
}

}  // namespace

std::string Shown(std::string_view text) {
  std::string shown;
  for (std::size_t i = 0; i < text.size(); ++i) {
    const auto byte = static_cast<unsigned char>(text[i]);
    const auto next = static_cast<unsigned char>(i + 1 < text.size() ? text[i + 1] : 0);
    if (byte == '\n') {
      shown += "\\n";
    } else if (byte == '\t') {
      shown += "\\t";
    } else if (byte < ' ' || byte == kDelete) {
      shown += Escaped("\\x%02x", byte);
    } else if (byte == kLeadOfC1 && next >= kFirstC1 && next <= kLastC1) {
      shown += Escaped("\\u00%02x", next);
      ++i;
    } else {
      shown += text[i];
    }
  }
  return shown;
}

void EscapeTexts(google::protobuf::Message& message) {
  using google::protobuf::FieldDescriptor;
  const auto* const reflection = message.GetReflection();
  std::vector<const FieldDescriptor*> fields;
  reflection->ListFields(message, &fields);
  for (const FieldDescriptor* const field : fields) {
    const bool is_text = field->type() == FieldDescriptor::TYPE_STRING;
    const bool is_message = field->type() == FieldDescriptor::TYPE_MESSAGE;
    const int size = field->is_repeated() ? reflection->FieldSize(message, field) : 1;
    for (int i = 0; i < size && (is_text || is_message); ++i) {
      if (is_message) {
        EscapeTexts(field->is_repeated() ? *reflection->MutableRepeatedMessage(&message, field, i)
                                         : *reflection->MutableMessage(&message, field));
      } else if (field->is_repeated()) {
        reflection->SetRepeatedString(&message, field, i,
                                      Shown(reflection->GetRepeatedString(message, field, i)));
      } else {
        reflection->SetString(&message, field, Shown(reflection->GetString(message, field)));
      }
    }
  }
}

}  // namespace redlockctl
