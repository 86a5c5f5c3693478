// Fuzzes replies of a hostile or broken node, in pieces, through hiredis' reader and our parsers.
#include <hiredis/hiredis.h>

#include <algorithm>
#include <cstddef>
#include <cstdint>

#include "server/redis/connection.h"
#include "server/redis/replies.h"
#include "server/redis/server_info.h"

namespace {

using namespace redlock::redis;

void ReadAll(const redisReply& reply) {
  for (const StepKind kind :
       {StepKind::kAcquire, StepKind::kAcquireOrExtend, StepKind::kHandOver, StepKind::kExtend,
        StepKind::kAdopt, StepKind::kRepair, StepKind::kRelease, StepKind::kReleaseIf,
        StepKind::kProclaim, StepKind::kInspect, StepKind::kMark}) {
    constexpr std::size_t kSteps = 3;
    const BatchReply answers(reply, kSteps, redlock::WallTime());
    for (std::size_t step = 0; step < kSteps; ++step) (void)answers.At(step, {kind, {1}});
  }
  (void)ParseTime(reply);
  (void)ParseInfo(TextOf(reply));
  (void)AppendsAlways(reply);
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  if (size == 0) return -1;
  const std::size_t piece = 1 + *data++;  // bytes that arrive at a time
  --size;
  redisReader* const reader = NewReader();
  while (size > 0) {
    const std::size_t now = std::min(piece, size);
    redisReaderFeed(reader, reinterpret_cast<const char*>(data), now);
    data += now;
    size -= now;
    void* raw = nullptr;
    while (redisReaderGetReply(reader, &raw) == REDIS_OK && raw != nullptr) {
      ReadAll(*static_cast<redisReply*>(raw));
      freeReplyObject(raw);
      raw = nullptr;
    }
    if (reader->err != 0) break;
  }
  redisReaderFree(reader);
  return 0;
}
