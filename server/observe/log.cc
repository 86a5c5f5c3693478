#include "server/observe/log.h"

#include <google/protobuf/stubs/logging.h>
#include <spdlog/pattern_formatter.h>
#include <spdlog/sinks/stdout_sinks.h>
#include <spdlog/spdlog.h>

#include <memory>
#include <string_view>

namespace redlock::observe {
namespace {

// One JSON object a line: time (UTC), level, message.
class JsonFormatter final : public spdlog::formatter {
 public:
  void format(const spdlog::details::log_msg& message, spdlog::memory_buf_t& out) override {
    time_.format(message, out);
    Append(out, R"(,"message":")");
    for (const char c : message.payload) Escape(out, c);
    Append(out, "\"}\n");
  }

  [[nodiscard]] std::unique_ptr<spdlog::formatter> clone() const override {
    return std::make_unique<JsonFormatter>();
  }

 private:
  static void Append(spdlog::memory_buf_t& out, std::string_view text) {
    out.append(text.data(), text.data() + text.size());
  }

  static void Escape(spdlog::memory_buf_t& out, char c) {
    constexpr std::string_view kDigits = "0123456789abcdef";
    const auto byte = static_cast<unsigned char>(c);
    if (c == '"' || c == '\\') {
      out.push_back('\\');
      out.push_back(c);
    } else if (byte < 0x20) {
      Append(out, "\\u00");
      out.push_back(kDigits[byte >> 4U]);
      out.push_back(kDigits[byte & 15U]);
    } else {
      out.push_back(c);
    }
  }

  spdlog::pattern_formatter time_{R"({"time":"%Y-%m-%dT%H:%M:%S.%eZ","level":"%l")",
                                  spdlog::pattern_time_type::utc, ""};
};

}  // namespace

void StartLog(const config::Config& config) {
  // protobuf complains of bad requests on standard error; their senders are told, that is enough.
  google::protobuf::SetLogHandler(nullptr);
  auto logger = spdlog::stderr_logger_mt("redlockd");
  switch (config.log_format) {
    case config::LogFormat::kText:
      logger->set_pattern("%Y-%m-%d %H:%M:%S.%e %^%l%$ %v");
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
