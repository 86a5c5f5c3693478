// One page of AdminService.ListLeases.
#pragma once

#include <grpcpp/support/status.h>

#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "proto/redlock/v1/admin_service.pb.h"
#include "server/runtime/shard_thread.h"

namespace redlock::rpc {

// Visits one shard after the other, and then cuts the page out. A page's token is its last key and
// how many entries of that key have been told, since a key may have many waiters.
class LeasePage : public std::enable_shared_from_this<LeasePage> {
 public:
  using Answer = std::function<void(const grpc::Status&, const v1::ListLeasesResponse&)>;

  static constexpr std::int32_t kMost = 1000;

  // The size has been checked. Answers once, in a turn of a shard. The shards must outlive it.
  static void Gather(runtime::ShardPool& shards, const v1::ListLeasesRequest& request,
                     Answer answer);

 private:
  LeasePage(const v1::ListLeasesRequest& request, Answer answer);
  void Visit(runtime::ShardPool& shards, std::size_t number);
  void Cut();
  [[nodiscard]] std::size_t First() const;

  const std::size_t size_;
  const std::string token_;
  const Answer answer_;
  std::vector<LeaseListing> all_;
};

}  // namespace redlock::rpc
