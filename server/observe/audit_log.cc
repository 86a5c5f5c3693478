#include "server/observe/audit_log.h"

#include <fcntl.h>
#include <spdlog/spdlog.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <chrono>
#include <ctime>
#include <iterator>
#include <stdexcept>
#include <utility>

#include "server/config/config.h"
#include "server/core/format.h"
#include "server/observe/escape.h"

namespace redlock::observe {
namespace {

constexpr std::string_view kStandardOutput = "-";
// A line with 8 KiB of keys, each byte escaped, and the other fields.
constexpr std::size_t kLongestLine = std::size_t{64} << 10U;
constexpr std::size_t kLongestText = 1024;
constexpr mode_t kMode = 0640;  // the umask may remove more

// The log of the process, while there is one.
std::atomic<const LineWriter*> audit_log_of_the_process = nullptr;

// Does not wait for the reader of a pipe. Returns -1 and sets errno if the path cannot be opened.
int Open(const std::string& path, int more_flags) {
  if (path == kStandardOutput) return fcntl(STDOUT_FILENO, F_DUPFD_CLOEXEC, 0);
  return open(path.c_str(), O_WRONLY | O_APPEND | O_CLOEXEC | O_NONBLOCK | O_NOCTTY | more_flags,
              kMode);
}

std::string Failure(const std::string& path, int error) {
  return "--audit-log " + path + ": cannot open the file for writing: " + ErrorText(error) +
         "; name a file in a directory that exists and that the user of redlockd may write to";
}

int OpenOrThrow(const std::string& path) {
  const int descriptor = Open(path, O_CREAT);
  if (descriptor < 0) throw config::ConfigError(Failure(path, errno));
  return descriptor;
}

// {"time":"2026-01-31T12:00:00.000000Z","event":"..."
void Begin(spdlog::memory_buf_t& out, std::string_view event) {
  using std::chrono::microseconds;
  constexpr std::int64_t kPerSecond = 1'000'000;
  const std::int64_t now =
      std::chrono::duration_cast<microseconds>(std::chrono::system_clock::now().time_since_epoch())
          .count();
  const std::time_t seconds = now / kPerSecond;
  std::tm utc{};
  gmtime_r(&seconds, &utc);
  fmt::format_to(std::back_inserter(out),
                 R"({{"time":"{:04}-{:02}-{:02}T{:02}:{:02}:{:02}.{:06}Z","event":"{}")",
                 utc.tm_year + 1900, utc.tm_mon + 1, utc.tm_mday, utc.tm_hour, utc.tm_min,
                 utc.tm_sec, now % kPerSecond, event);
}

void AppendKey(spdlog::memory_buf_t& out, const Key& key) {
  if (!key.IsSeveral()) {
    AppendField(out, "key", key.names());
  } else {
    Append(out, R"(,"keys":[)");
    bool first = true;
    key.ForEach([&](std::string_view name) {
      Append(out, std::exchange(first, false) ? "\"" : ",\"");
      AppendEscaped(out, name, Quotes::kEscaped);
      out.push_back('"');
    });
    out.push_back(']');
  }
  if (key.IsShared()) AppendField(out, "mode", "shared");
  if (!key.IsSemaphore()) return;
  fmt::format_to(std::back_inserter(out), R"(,"max_holders":{})", key.limit());
  if (key.slot() != 0) fmt::format_to(std::back_inserter(out), R"(,"slot":{})", key.slot());
}

void AppendSeconds(spdlog::memory_buf_t& out, std::string_view name,
                   const std::optional<Duration>& duration) {
  if (!duration) return;
  fmt::format_to(std::back_inserter(out), R"(,"{}":{:.6f})", name,
                 std::chrono::duration<double>(*duration).count());
}

void AppendIfAny(spdlog::memory_buf_t& out, std::string_view name, std::string_view text) {
  if (!text.empty()) AppendField(out, name, text, kLongestText);
}

std::string DroppedLine(std::uint64_t dropped) {
  spdlog::memory_buf_t line;
  Begin(line, "lines_dropped");
  fmt::format_to(std::back_inserter(line), ",\"lines\":{}}}\n", dropped);
  return {line.data(), line.size()};
}

}  // namespace

void CheckAuditLog(const std::string& path) {
  if (const int descriptor = Open(path, 0); descriptor >= 0) {
    close(descriptor);
    return;
  }
  int error = errno;
  if (error == ENOENT) {  // it would be created
    const auto slash = path.rfind('/');
    const std::string directory = slash == std::string::npos ? "." : path.substr(0, slash + 1);
    if (access(directory.c_str(), W_OK | X_OK) == 0) return;
    error = errno;
  }
  throw config::ConfigError(Failure(path, error));
}

AuditLog::AuditLog(std::string path)
    : path_(std::move(path)),
      descriptor_(OpenOrThrow(path_)),
      writer_(descriptor_, {.report = DroppedLine, .tick = {}}, kLongestLine) {
  audit_log_of_the_process = &writer_;
}

// The descriptor stays open, because the writer's thread may be left behind.
AuditLog::~AuditLog() { audit_log_of_the_process = nullptr; }

void AuditLog::Write(const AuditEvent& event, const AuditCaller& caller) {
  spdlog::memory_buf_t line;
  Begin(line, event.event);
  AppendKey(line, event.key);
  AppendIfAny(line, "owner", event.owner.value());
  if (event.fence.value != 0) {
    fmt::format_to(std::back_inserter(line), R"(,"fencing_token":{})", event.fence.value);
  }
  if (event.already_held) Append(line, R"(,"already_held":true)");
  AppendSeconds(line, "waited_seconds", event.waited);
  AppendSeconds(line, "held_seconds", event.held);
  AppendIfAny(line, "reason", event.reason);
  AppendIfAny(line, "why", event.why);
  AppendIfAny(line, "identity", caller.identity);
  AppendField(line, "peer", caller.peer);
  AppendFields(line, caller.tag);
  Append(line, "}\n");
  writer_.Put({line.data(), line.size()}, LineWriter::Weight::kImportant);
}

// The new file gets the descriptor of the old one, because the writer's thread keeps using it.
void AuditLog::Reopen() {
  const int fresh = Open(path_, O_CREAT);
  if (fresh < 0) throw std::runtime_error(Failure(path_, errno));
  const bool replaced = dup3(fresh, descriptor_, O_CLOEXEC) >= 0;
  const int error = errno;
  close(fresh);
  if (!replaced) throw std::runtime_error(Failure(path_, error));
}

void AuditLog::WarnOfDropped() {
  const std::uint64_t dropped = writer_.dropped();
  if (dropped == warned_of_) return;
  spdlog::warn(
      "--audit-log {}: {} lines were dropped, because the file could not be written fast enough "
      "or at all; check the disk, or the reader of a pipe",
      path_, dropped - std::exchange(warned_of_, dropped));
}

std::uint64_t DroppedAuditLines() {
  const LineWriter* const writer = audit_log_of_the_process;
  return writer == nullptr ? 0 : writer->dropped();
}

}  // namespace redlock::observe
