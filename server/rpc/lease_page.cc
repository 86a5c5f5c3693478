#include "server/rpc/lease_page.h"

#include <algorithm>
#include <charconv>
#include <tuple>
#include <utility>

#include "server/rpc/wire.h"

namespace redlock::rpc {
namespace {

constexpr std::size_t kDefault = 100;

v1::LeaseKind KindOf(LeaseListing::Kind kind) {
  switch (kind) {
    case LeaseListing::Kind::kWatched:
      return v1::LEASE_KIND_WATCHED;
    case LeaseListing::Kind::kLost:
      return v1::LEASE_KIND_LOST;
    case LeaseListing::Kind::kWaiting:
      return v1::LEASE_KIND_WAITING;
  }
  return v1::LEASE_KIND_UNSPECIFIED;
}

void Fill(v1::LeaseEntry& out, const LeaseListing& listing) {
  out.set_key(listing.key.value());
  out.set_kind(KindOf(listing.kind));
  if (listing.kind == LeaseListing::Kind::kWatched) {
    rpc::Fill(*out.mutable_validity(), listing.validity);
  }
  out.set_consecutive_failures(listing.failures);
  out.set_position(static_cast<std::int32_t>(listing.position));
  out.set_owner(listing.owner.value());
}

}  // namespace

void LeasePage::Gather(runtime::ShardPool& shards, const v1::ListLeasesRequest& request,
                       Answer answer) {
  const std::shared_ptr<LeasePage> page(new LeasePage(request, std::move(answer)));
  page->Visit(shards, 0);
}

LeasePage::LeasePage(const v1::ListLeasesRequest& request, Answer answer)
    : size_(request.page_size() == 0 ? kDefault : static_cast<std::size_t>(request.page_size())),
      token_(request.page_token()),
      answer_(std::move(answer)) {}

void LeasePage::Visit(runtime::ShardPool& shards, std::size_t number) {
  if (number == shards.shards().size()) {
    Cut();
    return;
  }
  shards.shards()[number]->Do([self = shared_from_this(), &shards, number](Shard& shard) {
    for (LeaseListing& listing : shard.ListLeases()) self->all_.push_back(std::move(listing));
    self->Visit(shards, number + 1);
  });
}

std::size_t LeasePage::First() const {
  std::size_t first = 0;
  const auto colon = token_.find(':');
  if (colon == std::string::npos) return first;
  const std::string last_key = token_.substr(colon + 1);
  std::size_t told = 0;
  std::from_chars(token_.data(), token_.data() + colon, told);
  while (first < all_.size() && all_[first].key.value() < last_key) ++first;
  for (; told > 0 && first < all_.size() && all_[first].key.value() == last_key; --told) ++first;
  return first;
}

void LeasePage::Cut() {
  std::sort(all_.begin(), all_.end(), [](const LeaseListing& a, const LeaseListing& b) {
    return std::tie(a.key.value(), a.kind, a.position) <
           std::tie(b.key.value(), b.kind, b.position);
  });
  const std::size_t first = First();
  const std::size_t end = std::min(all_.size(), first + size_);
  v1::ListLeasesResponse response;
  for (std::size_t i = first; i < end; ++i) Fill(*response.add_entries(), all_[i]);
  if (end < all_.size()) {
    const std::string& key = all_[end - 1].key.value();
    std::size_t told = 0;
    for (std::size_t i = end; i > 0 && all_[i - 1].key.value() == key; --i) ++told;
    response.set_next_page_token(std::to_string(told) + ":" + key);
  }
  answer_(grpc::Status::OK, response);
}

}  // namespace redlock::rpc
