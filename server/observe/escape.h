// Text from callers and nodes, in lines of the logs.
#pragma once

#include <spdlog/common.h>

#include <cstddef>
#include <string_view>

#include "server/observe/request_tag.h"

namespace redlock::observe {

void Append(spdlog::memory_buf_t& out, std::string_view text);

enum class Quotes { kKept, kEscaped };
// Appends the text, cut to about `most` bytes. Escapes control characters and malformed UTF-8: keys
// and texts from callers and nodes may contain any byte, and an entry must stay one line of text.
void AppendEscaped(spdlog::memory_buf_t& out, std::string_view text, Quotes quotes,
                   std::size_t most = std::string_view::npos);

// Appends ,"name":"value" to a JSON object.
void AppendField(spdlog::memory_buf_t& out, std::string_view name, std::string_view value,
                 std::size_t most = std::string_view::npos);
// The same for the ids of the request: request_id, trace_id and span_id.
void AppendFields(spdlog::memory_buf_t& out, const RequestTag& tag);

}  // namespace redlock::observe
