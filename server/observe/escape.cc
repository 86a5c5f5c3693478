#include "server/observe/escape.h"

#include <algorithm>

#include "server/core/format.h"
#include "server/core/utf8.h"

namespace redlock::observe {

void Append(spdlog::memory_buf_t& out, std::string_view text) {
  out.append(text.data(), text.data() + text.size());
}

void AppendEscaped(spdlog::memory_buf_t& out, std::string_view text, Quotes quotes,
                   std::size_t most) {
  const std::size_t start = out.size();
  while (!text.empty()) {
    if (out.size() - start >= most) {
      Append(out, "...");
      return;
    }
    const auto byte = static_cast<unsigned char>(text.front());
    const std::size_t length = SequenceLength(text);
    if (length == 0) {
      Append(out, "\\ufffd");
    } else if (byte < 0x20 || byte == 0x7f) {
      Append(out, "\\u00");
      Append(out, Hexadecimal({&byte, 1}));
    } else {
      if (quotes == Quotes::kEscaped && (byte == '"' || byte == '\\')) out.push_back('\\');
      Append(out, text.substr(0, length));
    }
    text.remove_prefix(std::max<std::size_t>(length, 1));
  }
}

void AppendField(spdlog::memory_buf_t& out, std::string_view name, std::string_view value,
                 std::size_t most) {
  Append(out, ",\"");
  Append(out, name);
  Append(out, "\":\"");
  AppendEscaped(out, value, Quotes::kEscaped, most);
  out.push_back('"');
}

void AppendFields(spdlog::memory_buf_t& out, const RequestTag& tag) {
  AppendField(out, "request_id", tag.request_id);
  if (!tag.trace) return;
  AppendField(out, "trace_id", tag.trace->trace_id);
  AppendField(out, "span_id", tag.trace->span_id);
}

}  // namespace redlock::observe
