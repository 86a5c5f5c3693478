// Identifies the request that a log line belongs to.
#pragma once

#include <optional>
#include <string>
#include <string_view>

namespace redlock::observe {

// The ids in a W3C traceparent (https://www.w3.org/TR/trace-context/#traceparent-header): 32 and 16
// lower-case hexadecimal digits.
struct TraceContext {
  std::string trace_id;
  std::string span_id;  // the caller's
};

// Returns nothing if the header is invalid.
[[nodiscard]] std::optional<TraceContext> ParseTraceparent(std::string_view header);

// True for 1 to 128 letters, digits and characters of -_.:/+= . Such ids are logged unchanged.
[[nodiscard]] bool IsRequestId(std::string_view text);

struct RequestTag {
  std::string request_id;
  std::optional<TraceContext> trace;
};

// Adds the tag to all lines that this thread logs during the object's lifetime. Must not be nested.
// The tag must outlive the object.
class TaggedLines {
 public:
  explicit TaggedLines(const RequestTag& tag);
  ~TaggedLines();
  TaggedLines(const TaggedLines&) = delete;
  TaggedLines& operator=(const TaggedLines&) = delete;

  // The tag of the calling thread, or null.
  [[nodiscard]] static const RequestTag* Current();
};

}  // namespace redlock::observe
