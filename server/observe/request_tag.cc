#include "server/observe/request_tag.h"

#include <algorithm>
#include <cctype>

namespace redlock::observe {
namespace {

constexpr std::size_t kVersion = 2;
constexpr std::size_t kTraceId = 32;
constexpr std::size_t kSpanId = 16;
constexpr std::size_t kFlags = 2;
constexpr std::size_t kLength = kVersion + 1 + kTraceId + 1 + kSpanId + 1 + kFlags;

bool IsHex(std::string_view text) {
  return std::all_of(text.begin(), text.end(),
                     [](char c) { return (c >= '0' && c <= '9') || (c >= 'a' && c <= 'f'); });
}

bool IsZero(std::string_view text) { return text.find_first_not_of('0') == std::string_view::npos; }

thread_local const RequestTag* current = nullptr;

}  // namespace

std::optional<TraceContext> ParseTraceparent(std::string_view header) {
  if (header.size() < kLength) return std::nullopt;
  const std::string_view version = header.substr(0, kVersion);
  const std::string_view trace_id = header.substr(kVersion + 1, kTraceId);
  const std::string_view span_id = header.substr(kVersion + 1 + kTraceId + 1, kSpanId);
  const std::string_view flags = header.substr(kLength - kFlags, kFlags);
  // Later versions may append fields after another dash. Version 00 ends here.
  const bool ends = header.size() == kLength || (version != "00" && header[kLength] == '-');
  const bool dashed = header[kVersion] == '-' && header[kVersion + 1 + kTraceId] == '-' &&
                      header[kLength - kFlags - 1] == '-';
  if (!ends || !dashed || version == "ff") return std::nullopt;
  if (!IsHex(version) || !IsHex(trace_id) || !IsHex(span_id) || !IsHex(flags)) return std::nullopt;
  if (IsZero(trace_id) || IsZero(span_id)) return std::nullopt;
  return TraceContext{std::string(trace_id), std::string(span_id)};
}

bool IsRequestId(std::string_view text) {
  constexpr std::size_t kLongest = 128;
  constexpr std::string_view kOthers = "-_.:/+=";
  return !text.empty() && text.size() <= kLongest &&
         std::all_of(text.begin(), text.end(), [kOthers](unsigned char c) {
           return (c < 0x80 && std::isalnum(c) != 0) ||
                  kOthers.find(static_cast<char>(c)) != std::string_view::npos;
         });
}

TaggedLines::TaggedLines(const RequestTag& tag) { current = &tag; }
TaggedLines::~TaggedLines() { current = nullptr; }
const RequestTag* TaggedLines::Current() { return current; }

}  // namespace redlock::observe
