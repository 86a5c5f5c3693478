// Which request a line of the log belongs to.
#pragma once

#include <optional>
#include <string>
#include <string_view>

namespace redlock::observe {

// Of a W3C traceparent (https://www.w3.org/TR/trace-context/#traceparent-header): 32 and 16
// lower-case hexadecimal digits.
struct TraceContext {
  std::string trace_id;
  std::string span_id;  // the caller's
};

// Nothing where the header is not valid.
[[nodiscard]] std::optional<TraceContext> ParseTraceparent(std::string_view header);

// 1 to 128 letters, digits and characters of -_.:/+= : what is written to the log as it came.
[[nodiscard]] bool IsRequestId(std::string_view text);

struct RequestTag {
  std::string request_id;
  std::optional<TraceContext> trace;
};

// While it lives, the lines that this thread logs carry the tag. Not nested; the tag must outlive
// it.
class TaggedLines {
 public:
  explicit TaggedLines(const RequestTag& tag);
  ~TaggedLines();
  TaggedLines(const TaggedLines&) = delete;
  TaggedLines& operator=(const TaggedLines&) = delete;

  // Null where there is none.
  [[nodiscard]] static const RequestTag* Current();
};

}  // namespace redlock::observe
