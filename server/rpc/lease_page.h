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

// Visits one shard after the other, takes what may be on the page from each, and then cuts the page
// out. Of many leases only those are put in order: it is done in the shards' turns. A page's token
// is its last key and how many entries of that key have been told, since a key may have many
// waiters.
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
  void Take(std::vector<LeaseListing> listed);
  void Cut();

  const std::size_t size_;
  const Answer answer_;
  // Of the pages before: the last key, and how many entries of it they had.
  std::string last_key_;
  std::size_t told_ = 0;
  std::vector<LeaseListing> taken_;
};

}  // namespace redlock::rpc
