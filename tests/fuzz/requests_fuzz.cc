// Fuzzes messages of a Session and of every call: each becomes a valid command or named violations.
#include <grpcpp/support/byte_buffer.h>

#include <cstddef>
#include <cstdint>
#include <cstdlib>

#include "server/rpc/requests.h"

namespace {

using namespace redlock;
using namespace redlock::rpc;

const RequestRules kRules{.max_ttl = std::chrono::minutes(5), .default_retry = {}, .max_items = 10};

void Require(bool holds) {
  if (!holds) std::abort();
}

void RequireRules(const AcquireCommand& command) {
  Require(!command.key.empty() && command.key.str().size() <= 512);
  Require(command.token.str().size() <= 128 && command.owner.label.str().size() <= 128);
  Require(command.ttl >= std::chrono::milliseconds(10) && command.ttl <= kRules.max_ttl);
  Require(command.retry.max_retries >= -1);
}
void RequireRules(const HoldCommand& command) { RequireRules(command.acquire); }
void RequireRules(const ExtendCommand& command) {
  Require(!command.key.empty() && !command.token.empty());
  Require(command.ttl >= std::chrono::milliseconds(10) && command.ttl <= kRules.max_ttl);
}
void RequireRules(const ReleaseCommand& command) {
  Require(!command.key.empty() && !command.token.empty());
}
void RequireRules(const InspectCommand& command) { Require(!command.key.empty()); }
void RequireRules(const std::vector<WatchCommand>& commands) {
  Require(!commands.empty() && commands.size() <= kRules.max_items);
}

template <typename Command>
void RequireRules(const rpc::Checked<Command>& checked) {
  if (const auto* command = std::get_if<Command>(&checked)) {
    RequireRules(*command);
  } else {
    Require(!std::get<Violations>(checked).empty());
  }
}

template <typename Request>
void Call(const grpc::ByteBuffer& buffer) {
  Request request;
  if (!ParseMessage(buffer, request).empty()) return;
  RequireRules(Check(request, kRules));
}

void Session(const grpc::ByteBuffer& buffer) {
  v1::SessionRequest session;
  if (!ParseMessage(buffer, session).empty()) return;
  for (const auto& operation : session.operations()) {
    if (operation.has_acquire()) RequireRules(CheckHold(operation.acquire(), kRules));
    if (operation.has_extend()) RequireRules(Check(operation.extend(), kRules));
    if (operation.has_release()) RequireRules(Check(operation.release(), kRules));
  }
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  if (size == 0) return -1;
  const grpc::Slice slice(data + 1, size - 1);
  const grpc::ByteBuffer buffer(&slice, 1);
  switch (data[0] % 7) {
    case 0:
      Call<v1::AcquireRequest>(buffer);
      break;
    case 1:
      Call<v1::ExtendRequest>(buffer);
      break;
    case 2:
      Call<v1::ReleaseRequest>(buffer);
      break;
    case 3:
      Call<v1::InspectRequest>(buffer);
      break;
    case 4:
      Call<v1::HoldRequest>(buffer);
      break;
    case 5:
      Call<v1::WatchRequest>(buffer);
      break;
    default:
      Session(buffer);
      break;
  }
  return 0;
}
