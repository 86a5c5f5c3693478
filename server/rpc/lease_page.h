// Collects one page of AdminService.ListLeases.
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

// Visits the shards one after the other, takes the entries that may be on the page from each, and
// then cuts out the page. Only those entries are sorted, because the work is done on the shards'
// strands. The token of a page is its last key and the number of entries of that key that have been
// listed, because a key may have many waiters.
class LeasePage : public std::enable_shared_from_this<LeasePage> {
 public:
  using Answer = std::function<void(const grpc::Status&, const v1::ListLeasesResponse&)>;

  // Whether the caller may see the leases of this key. Empty: it may see all.
  using Shows = std::function<bool(const Key&)>;

  static constexpr std::int32_t kMost = 1000;

  // The page size must have been checked. Answers once, on the strand of a shard. The shards must
  // outlive the page.
  static void Gather(runtime::ShardPool& shards, const v1::ListLeasesRequest& request, Shows shows,
                     Answer answer);

 private:
  LeasePage(const v1::ListLeasesRequest& request, Shows shows, Answer answer);
  void Visit(runtime::ShardPool& shards, std::size_t number);
  void Take(std::vector<LeaseListing> listed);
  void Cut();

  const std::size_t size_;
  const Shows shows_;
  const Answer answer_;
  // The last key of the previous pages, and how many entries of that key they had.
  std::string last_key_;
  std::size_t told_ = 0;
  std::vector<LeaseListing> taken_;
};

}  // namespace redlock::rpc
