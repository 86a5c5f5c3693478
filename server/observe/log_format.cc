#include "server/observe/log_format.h"

#include <spdlog/details/log_msg.h>
#include <spdlog/pattern_formatter.h>

#include <algorithm>
#include <string_view>

#include "server/core/format.h"
#include "server/core/utf8.h"
#include "server/observe/request_tag.h"

namespace redlock::observe {
namespace {

void Append(spdlog::memory_buf_t& out, std::string_view text) {
  out.append(text.data(), text.data() + text.size());
}

// Appends the text, cut to kLongestMessage. Escapes control characters and malformed UTF-8: keys
// and texts from callers and nodes may contain any byte, and an entry must stay one line of text.
void AppendEscaped(spdlog::memory_buf_t& out, std::string_view text, bool quotes) {
  const std::size_t start = out.size();
  while (!text.empty()) {
    if (out.size() - start >= kLongestMessage) {
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
      if (quotes && (byte == '"' || byte == '\\')) out.push_back('\\');
      Append(out, text.substr(0, length));
    }
    text.remove_prefix(std::max<std::size_t>(length, 1));
  }
}

// "message request=... trace=... span=..."
class TextMessage final : public spdlog::custom_flag_formatter {
 public:
  void format(const spdlog::details::log_msg& message, const std::tm& /*time*/,
              spdlog::memory_buf_t& out) override {
    AppendEscaped(out, {message.payload.data(), message.payload.size()}, false);
    const RequestTag* const tag = TaggedLines::Current();
    if (tag == nullptr) return;
    Append(out, " request=");
    Append(out, tag->request_id);
    if (!tag->trace) return;
    Append(out, " trace=");
    Append(out, tag->trace->trace_id);
    Append(out, " span=");
    Append(out, tag->trace->span_id);
  }
  [[nodiscard]] std::unique_ptr<spdlog::custom_flag_formatter> clone() const override {
    return std::make_unique<TextMessage>();
  }
};

// One JSON object per line: time (UTC), level, message, and the request if there is one.
class JsonFormatter final : public spdlog::formatter {
 public:
  void format(const spdlog::details::log_msg& message, spdlog::memory_buf_t& out) override {
    time_.format(message, out);
    Field(out, "message", {message.payload.data(), message.payload.size()});
    if (const RequestTag* const tag = TaggedLines::Current()) {
      Field(out, "request_id", tag->request_id);
      if (tag->trace) {
        Field(out, "trace_id", tag->trace->trace_id);
        Field(out, "span_id", tag->trace->span_id);
      }
    }
    Append(out, "}\n");
  }

  [[nodiscard]] std::unique_ptr<spdlog::formatter> clone() const override {
    return std::make_unique<JsonFormatter>();
  }

 private:
  static void Field(spdlog::memory_buf_t& out, std::string_view name, std::string_view value) {
    Append(out, ",\"");
    Append(out, name);
    Append(out, "\":\"");
    AppendEscaped(out, value, true);
    out.push_back('"');
  }

  spdlog::pattern_formatter time_{R"({"time":"%Y-%m-%dT%H:%M:%S.%eZ","level":"%l")",
                                  spdlog::pattern_time_type::utc, ""};
};

std::unique_ptr<spdlog::formatter> TextFormatter() {
  auto formatter = std::make_unique<spdlog::pattern_formatter>();
  formatter->add_flag<TextMessage>('*').set_pattern("%Y-%m-%d %H:%M:%S.%e %l %*");
  return formatter;
}

}  // namespace

std::unique_ptr<spdlog::formatter> MakeFormatter(config::LogFormat format) {
  switch (format) {
    case config::LogFormat::kText:
      return TextFormatter();
    case config::LogFormat::kJson:
      return std::make_unique<JsonFormatter>();
  }
  return TextFormatter();
}

}  // namespace redlock::observe
