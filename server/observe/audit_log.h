// The audit log: one JSON line for each lock that a caller acquired, released or lost, or that an
// operator took away. Never contains a token.
//
// Another thread writes the lines (line_writer.h), so that no operation waits for a disk or a
// reader.
#pragma once

#include <atomic>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

#include "server/core/types.h"
#include "server/observe/line_writer.h"
#include "server/observe/request_tag.h"

namespace redlock::observe {

// Who called. For an event that comes later: who opened the stream.
struct AuditCaller {
  std::string identity;  // empty if no credentials are required
  std::string peer;
  RequestTag tag;
};

struct AuditEvent {
  std::string_view event;
  const Key& key;
  OwnerLabel owner = {};
  FencingToken fence = {};              // 0: unknown
  bool already_held = false;            // the token held the lock before
  std::optional<Duration> waited = {};  // of an acquisition
  std::optional<Duration> held = {};    // of the end of a lease, if it is known
  std::string_view reason = {};         // of a loss
  std::string_view why = {};            // of a loss: the message; of a forced release: the
                                        // operator's reason
};

// Throws config::ConfigError if a start with this path would.
void CheckAuditLog(const std::string& path);

// Create one, after all forks. Thread-safe.
class AuditLog {
 public:
  // Opens the file, or standard output for "-". Throws config::ConfigError if it cannot be opened.
  explicit AuditLog(std::string path);
  // Writes what is left, for up to LineQueue::kPatience.
  ~AuditLog();
  AuditLog(const AuditLog&) = delete;
  AuditLog& operator=(const AuditLog&) = delete;

  // Never waits for I/O.
  void Write(const AuditEvent& event, const AuditCaller& caller);
  // Opens the path again, because the file may have been renamed. Throws std::runtime_error if it
  // cannot; the lines then still go to the previous file.
  void Reopen();
  // Logs a warning if lines were dropped since the last call. Call about once per second, on one
  // thread.
  void WarnOfDropped();

 private:
  const std::string path_;
  const int descriptor_;
  LineWriter writer_;
  std::uint64_t warned_of_ = 0;  // dropped lines
};

// How many lines of the audit log this process has dropped, because the file took none or took them
// too slowly.
[[nodiscard]] std::uint64_t DroppedAuditLines();

}  // namespace redlock::observe
