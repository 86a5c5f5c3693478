#include "server/rpc/lease_page.h"

#include <algorithm>
#include <charconv>
#include <iterator>
#include <tuple>
#include <utility>

#include "server/rpc/wire.h"

namespace redlock::rpc {
namespace {

constexpr std::size_t kDefault = 100;

bool GoesBefore(const LeaseListing& a, const LeaseListing& b) {
  return std::tuple(a.key.names(), a.kind, a.position) <
         std::tuple(b.key.names(), b.kind, b.position);
}

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

// The page token is UTF-8, but the joint name of several keys is not.
constexpr std::string_view kNoUtf8 = "\xff";
constexpr std::string_view kEscape = "\x01";

std::string Escaped(const std::string& key) {
  std::string text;
  for (const char c : key) {
    if (c == kEscape[0] || c == kNoUtf8[0]) text += kEscape;
    text += c == kNoUtf8[0] ? ',' : c;
  }
  return text;
}

std::string Unescaped(std::string_view text) {
  std::string key;
  for (std::size_t i = 0; i < text.size(); ++i) {
    const bool escaped = text[i] == kEscape[0] && i + 1 < text.size();
    if (escaped) ++i;
    key += escaped && text[i] == ',' ? kNoUtf8[0] : text[i];
  }
  return key;
}

void FillEntry(v1::LeaseEntry& out, const LeaseListing& listing) {
  SetKey(out, listing.key);
  out.set_kind(KindOf(listing.kind));
  if (listing.kind == LeaseListing::Kind::kWatched) {
    Fill(*out.mutable_validity(), listing.validity);
  }
  out.set_consecutive_failures(listing.failures);
  out.set_position(static_cast<std::int32_t>(listing.position));
  out.set_owner(listing.owner.label.str());
  if (listing.kind == LeaseListing::Kind::kWaiting) {
    Fill(*out.mutable_waiter(), listing);
  } else {
    Fill(*out.mutable_holder(), {.owner = listing.owner,
                                 .fence = listing.fence,
                                 .slot = listing.key.slot(),
                                 .remaining = listing.validity});
  }
}

}  // namespace

void LeasePage::Gather(runtime::ShardPool& shards, const v1::ListLeasesRequest& request,
                       Shows shows, Answer answer) {
  const std::shared_ptr<LeasePage> page(
      new LeasePage(request, std::move(shows), std::move(answer)));
  page->Visit(shards, 0);
}

LeasePage::LeasePage(const v1::ListLeasesRequest& request, Shows shows, Answer answer)
    : size_(request.page_size() == 0 ? kDefault : static_cast<std::size_t>(request.page_size())),
      shows_(std::move(shows)),
      answer_(std::move(answer)) {
  const std::string& token = request.page_token();
  const auto colon = token.find(':');
  if (colon == std::string::npos) return;
  last_key_ = Unescaped(token.substr(colon + 1));
  std::from_chars(token.data(), token.data() + colon, told_);
}

void LeasePage::Visit(runtime::ShardPool& shards, std::size_t number) {
  if (number == shards.shards().size()) {
    Cut();
    return;
  }
  shards.shards()[number]->Do([self = shared_from_this(), &shards, number](Shard& shard) {
    self->Take(shard.ListLeases());
    self->Visit(shards, number + 1);
  });
}

void LeasePage::Take(std::vector<LeaseListing> listed) {
  std::erase_if(listed, [this](const auto& lease) {
    return lease.key.names() < last_key_ || (shows_ && !shows_(lease.key));
  });
  // One more entry shows that there is another page.
  const std::size_t most = std::min(told_, listed.size()) + size_ + 1;
  if (listed.size() > most) {
    std::nth_element(listed.begin(), listed.begin() + static_cast<std::ptrdiff_t>(most),
                     listed.end(), GoesBefore);
    listed.resize(most);
  }
  std::move(listed.begin(), listed.end(), std::back_inserter(taken_));
}

void LeasePage::Cut() {
  std::sort(taken_.begin(), taken_.end(), GoesBefore);
  std::size_t first = 0;
  while (first < told_ && first < taken_.size() && taken_[first].key.names() == last_key_) ++first;
  const std::size_t end = std::min(taken_.size(), first + size_);
  v1::ListLeasesResponse response;
  for (std::size_t i = first; i < end; ++i) FillEntry(*response.add_entries(), taken_[i]);
  if (end < taken_.size()) {
    const std::string key(taken_[end - 1].key.names());
    std::size_t told = 0;
    for (std::size_t i = end; i > 0 && taken_[i - 1].key.names() == key; --i) ++told;
    response.set_next_page_token(std::to_string(told) + ":" + Escaped(key));
  }
  answer_(grpc::Status::OK, response);
}

}  // namespace redlock::rpc
