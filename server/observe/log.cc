#include "server/observe/log.h"

#include <google/protobuf/stubs/logging.h>
#include <grpc/support/log.h>
#include <grpcpp/version_info.h>
#include <spdlog/sinks/base_sink.h>
#include <spdlog/spdlog.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <functional>
#include <mutex>
#include <string_view>
#include <utility>

#include "server/observe/journal.h"
#include "server/observe/line_writer.h"
#include "server/observe/log_format.h"
#include "server/observe/throttle.h"

namespace redlock::observe {
namespace {

// The writer of the process's log, while there is one.
std::atomic<LineWriter*> of_the_process = nullptr;

class QueueSink final : public spdlog::sinks::base_sink<std::mutex> {
 public:
  QueueSink(std::unique_ptr<spdlog::formatter> formatter, std::shared_ptr<LineWriter> writer)
      : base_sink(std::move(formatter)), writer_(std::move(writer)) {}

 private:
  void sink_it_(const spdlog::details::log_msg& message) override {
    line_.clear();
    formatter_->format(message, line_);
    writer_->Put({line_.data(), line_.size()}, message.level < spdlog::level::info
                                                   ? LineWriter::Weight::kDetail
                                                   : LineWriter::Weight::kImportant);
  }
  void flush_() override {}

  const std::shared_ptr<LineWriter> writer_;
  spdlog::memory_buf_t line_;
};

std::unique_ptr<spdlog::formatter> FormatterFor(const config::Config& config) {
  return MakeFormatter(config.log_format,
                       JournalReadsStandardError() ? Reader::kJournal : Reader::kAny);
}

std::function<std::string(std::uint64_t)> Reporter(std::shared_ptr<spdlog::formatter> formatter) {
  return [formatter = std::move(formatter)](std::uint64_t dropped) {
    const std::string text =
        std::to_string(dropped) + " log lines were dropped here: standard error did not take them";
    spdlog::memory_buf_t line;
    formatter->format(spdlog::details::log_msg("redlockd", spdlog::level::warn, text), line);
    return std::string(line.data(), line.size());
  };
}

// Later versions of gRPC log by way of Abseil.
#if GRPC_CPP_VERSION_MAJOR == 1 && GRPC_CPP_VERSION_MINOR < 66

spdlog::level::level_enum LevelOf(gpr_log_severity severity) {
  switch (severity) {
    case GPR_LOG_SEVERITY_DEBUG:
      return spdlog::level::debug;
    case GPR_LOG_SEVERITY_INFO:
      return spdlog::level::info;
    case GPR_LOG_SEVERITY_ERROR:
      return spdlog::level::err;
  }
  return spdlog::level::err;
}

// GRPC_VERBOSITY says what gRPC logs; by default, errors only.
void LogForGrpc(gpr_log_func_args* args) {
  const std::string_view path = args->file;
  const std::string where = fmt::format("{}:{}", path.substr(path.rfind('/') + 1), args->line);
  std::string text = fmt::format("gRPC: {} ({})", args->message, where);
  if (args->severity == GPR_LOG_SEVERITY_ERROR) {
    LogThrottled(LevelOf(args->severity), "gRPC", where, std::move(text));
  } else {
    spdlog::log(LevelOf(args->severity), "{}", text);
  }
  // gRPC aborts the process next.
  if (std::string_view(args->message).starts_with("assertion failed")) {
    if (LineWriter* const writer = of_the_process) writer->Flush();
  }
}

void TakeOverGrpcLog() { gpr_set_log_function(LogForGrpc); }

#else

void TakeOverGrpcLog() {}

#endif

}  // namespace

Log::Log(const config::Config& config)
    : writer_(std::make_shared<LineWriter>(
          STDERR_FILENO, LineWriter::Callbacks{.report = Reporter(FormatterFor(config)),
                                               .tick = TendThrottledLines})) {
  of_the_process = writer_.get();
  // protobuf logs malformed requests to standard error. Their senders get an error, which is
  // enough.
  google::protobuf::SetLogHandler(nullptr);
  auto logger = std::make_shared<spdlog::logger>(
      "redlockd", std::make_shared<QueueSink>(FormatterFor(config), writer_));
  logger->set_level(spdlog::level::from_str(config.log_level));
  // spdlog would write to standard error.
  logger->set_error_handler([](const std::string& /*what*/) {});
  spdlog::set_default_logger(std::move(logger));
  TakeOverGrpcLog();
}

Log::~Log() {
  of_the_process = nullptr;
  writer_->Close();  // threads of gRPC may still log
}

void Log::Fatal(const std::string& why) {
  spdlog::set_level(std::min(spdlog::get_level(), spdlog::level::critical));
  spdlog::critical("{}", why);
}

std::uint64_t DroppedLogLines() {
  const LineWriter* const writer = of_the_process;
  return writer == nullptr ? 0 : writer->dropped();
}

}  // namespace redlock::observe
