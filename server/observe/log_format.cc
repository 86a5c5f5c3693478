#include "server/observe/log_format.h"

#include <spdlog/details/log_msg.h>
#include <spdlog/pattern_formatter.h>

#include <string_view>

#include "server/observe/escape.h"
#include "server/observe/journal.h"
#include "server/observe/request_tag.h"

namespace redlock::observe {
namespace {

// "message request=... trace=... span=..."
class TextMessage final : public spdlog::custom_flag_formatter {
 public:
  void format(const spdlog::details::log_msg& message, const std::tm& /*time*/,
              spdlog::memory_buf_t& out) override {
    AppendEscaped(out, {message.payload.data(), message.payload.size()}, Quotes::kKept,
                  kLongestMessage);
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

class Priority final : public spdlog::custom_flag_formatter {
 public:
  void format(const spdlog::details::log_msg& message, const std::tm& /*time*/,
              spdlog::memory_buf_t& out) override {
    Append(out, JournalPriority(message.level));
  }
  [[nodiscard]] std::unique_ptr<spdlog::custom_flag_formatter> clone() const override {
    return std::make_unique<Priority>();
  }
};

// One JSON object per line: time (UTC), level, message, and the request if there is one.
class JsonFormatter final : public spdlog::formatter {
 public:
  explicit JsonFormatter(Reader reader) : reader_(reader) {}

  void format(const spdlog::details::log_msg& message, spdlog::memory_buf_t& out) override {
    if (reader_ == Reader::kJournal) Append(out, JournalPriority(message.level));
    time_.format(message, out);
    AppendField(out, "message", {message.payload.data(), message.payload.size()}, kLongestMessage);
    if (const RequestTag* const tag = TaggedLines::Current()) AppendFields(out, *tag);
    Append(out, "}\n");
  }

  [[nodiscard]] std::unique_ptr<spdlog::formatter> clone() const override {
    return std::make_unique<JsonFormatter>(reader_);
  }

 private:
  const Reader reader_;
  spdlog::pattern_formatter time_{R"({"time":"%Y-%m-%dT%H:%M:%S.%eZ","level":"%l")",
                                  spdlog::pattern_time_type::utc, ""};
};

std::unique_ptr<spdlog::formatter> TextFormatter(Reader reader) {
  auto formatter = std::make_unique<spdlog::pattern_formatter>();
  formatter->add_flag<TextMessage>('*').add_flag<Priority>('<').set_pattern(
      reader == Reader::kJournal ? "%<%l %*" : "%Y-%m-%d %H:%M:%S.%e %l %*");
  return formatter;
}

}  // namespace

std::unique_ptr<spdlog::formatter> MakeFormatter(config::LogFormat format, Reader reader) {
  switch (format) {
    case config::LogFormat::kText:
      return TextFormatter(reader);
    case config::LogFormat::kJson:
      return std::make_unique<JsonFormatter>(reader);
  }
  return TextFormatter(reader);
}

}  // namespace redlock::observe
