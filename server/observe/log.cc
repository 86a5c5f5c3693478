#include "server/observe/log.h"

#include <google/protobuf/stubs/logging.h>
#include <spdlog/pattern_formatter.h>
#include <spdlog/sinks/stdout_sinks.h>
#include <spdlog/spdlog.h>

#include <memory>
#include <string_view>

#include "server/core/format.h"
#include "server/observe/request_tag.h"

namespace redlock::observe {
namespace {

void Append(spdlog::memory_buf_t& out, std::string_view text) {
  out.append(text.data(), text.data() + text.size());
}

// Escapes control characters. Keys and texts from callers may contain any byte, and an entry must
// stay on one line.
void AppendEscaped(spdlog::memory_buf_t& out, std::string_view text, bool quotes) {
  for (const char c : text) {
    const auto byte = static_cast<unsigned char>(c);
    if (byte < 0x20 || byte == 0x7f) {
      Append(out, "\\u00");
      Append(out, Hexadecimal({&byte, 1}));
      continue;
    }
    if (quotes && (c == '"' || c == '\\')) out.push_back('\\');
    out.push_back(c);
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
  formatter->add_flag<TextMessage>('*').set_pattern("%Y-%m-%d %H:%M:%S.%e %^%l%$ %*");
  return formatter;
}

}  // namespace

void StartLog(const config::Config& config) {
  // protobuf logs malformed requests to standard error. Their senders get an error, which is
  // enough.
  google::protobuf::SetLogHandler(nullptr);
  auto logger = spdlog::stderr_logger_mt("redlockd");
  switch (config.log_format) {
    case config::LogFormat::kText:
      logger->set_formatter(TextFormatter());
      break;
    case config::LogFormat::kJson:
      logger->set_formatter(std::make_unique<JsonFormatter>());
      break;
  }
  logger->set_level(spdlog::level::from_str(config.log_level));
  logger->flush_on(spdlog::level::info);
  spdlog::set_default_logger(std::move(logger));
}

}  // namespace redlock::observe
