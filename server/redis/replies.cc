#include "server/redis/replies.h"

#include <algorithm>
#include <array>
#include <charconv>
#include <chrono>
#include <span>
#include <string>

#include "server/core/nodes/kept.h"
#include "server/core/utf8.h"
#include "server/redis/node_error.h"
#include "server/redis/resp.h"

namespace redlock::redis {
namespace {

// 100 years in ms: Redis takes more than we can count.
constexpr long long kMostMillis = 3'155'760'000'000;

std::optional<long long> NumberIn(std::string_view text) {
  long long number = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), number);
  if (error != std::errc() || end != text.data() + text.size()) return std::nullopt;
  return number;
}

std::optional<long long> NumberOf(const redisReply& reply) {
  if (reply.type == REDIS_REPLY_INTEGER) return reply.integer;
  if (reply.type != REDIS_REPLY_STRING) return std::nullopt;
  return NumberIn(TextOf(reply));
}

FencingToken FenceOf(const redisReply& reply) {
  return {static_cast<std::uint64_t>(std::max(NumberOf(reply).value_or(0), 0LL))};
}

Duration RemainingOf(const redisReply& reply) {
  // PTTL is -1 for a key without expiry, which only a stranger can have written: no advice.
  if (reply.type != REDIS_REPLY_INTEGER || reply.integer <= 0) return {};
  return std::chrono::milliseconds(std::min(reply.integer, kMostMillis));
}

// Removes the number at the front of the text, and the space after it. Nothing if there is none.
std::optional<std::uint64_t> TakeNumber(std::string_view& text) {
  std::uint64_t number = 0;
  const char* const end = text.data() + text.size();
  const auto [space, error] = std::from_chars(text.data(), end, number);
  if (error != std::errc() || space == end || *space != ' ') return std::nullopt;
  text.remove_prefix(static_cast<std::size_t>(space - text.data()) + 1);
  return number;
}

// As in the metadata: a number, a space, and an id.
std::optional<Keeper> KeeperIn(std::string_view text) {
  const auto number = TakeNumber(text);
  if (!number) return std::nullopt;
  Keeper keeper{.number = *number, .id = {}};
  const char* const end = text.data() + text.size();
  const auto [rest, error] = std::from_chars(text.data(), end, keeper.id.value, kIdBase);
  if (error != std::errc() || rest != end) return std::nullopt;
  return keeper;
}

// Removes the last word from the text. Returns the time in ms that it is, if it is one: an age, or
// a time since 1970.
std::optional<Duration> TakeTime(std::string_view& text) {
  const std::size_t space = text.rfind(' ');
  if (space == std::string_view::npos) return std::nullopt;
  const auto millis = NumberIn(text.substr(space + 1));
  text = text.substr(0, space);
  constexpr long long kMost = 8'000'000'000'000;  // the year 2223
  if (!millis || *millis < 0 || *millis > kMost) return std::nullopt;
  return std::chrono::milliseconds(*millis);
}

// Removes the delay and the value, which begin with kTermsMark, from the end of the text, and
// stores them in `owner`.
void TakeTerms(std::string_view& text, Owner& owner) {
  const std::size_t mark = std::min(text.find(kTermsMark), text.size());
  std::string_view terms = text.substr(std::min(mark + 1, text.size()));
  text = text.substr(0, mark);
  const auto delay = TakeNumber(terms);
  const auto number = delay ? TakeNumber(terms) : std::nullopt;
  if (!number || *delay > std::uint64_t{kMostMillis}) return;
  owner.lock_delay = std::chrono::milliseconds(*delay);
  owner.value_number = *number;
  owner.value = PublishedValue(Utf8Prefix(terms, kMaxValueBytes));
}

// Removes the origin, which begins with kOriginMark, from the front of the text, and stores it in
// `owner`. Removes nothing if it is incomplete.
void TakeOrigin(std::string_view& text, Owner& owner) {
  if (!text.starts_with(kOriginMark)) return;
  constexpr int kWords = 3;
  std::size_t end = kOriginMark.size() - 1;  // of the last word
  for (int i = 0; i < kWords; ++i) {
    if (end >= text.size()) return;
    end = std::min(text.find(' ', end + 1), text.size());
  }
  const std::string_view words = text.substr(kOriginMark.size(), end - kOriginMark.size());
  if (words.size() > kMaxOriginBytes || Utf8Prefix(words, words.size()).size() != words.size()) {
    return;
  }
  owner.origin = Origin(words);
  text.remove_prefix(end);
}

// What follows so many words, each with the space after it. Nothing if there are fewer.
std::optional<std::string_view> AfterWords(std::string_view text, int words) {
  for (; words > 0; --words) {
    const std::size_t space = text.find(' ');
    if (space == std::string_view::npos) return std::nullopt;
    text.remove_prefix(space + 1);
  }
  return text;
}

// Where the digest at the front of a holder ends.
std::size_t DigestEnd(std::string_view holder) {
  constexpr std::array kNext = {' ', kTermsMark};
  return std::min(holder.find_first_of(kNext.data(), 0, kNext.size()), holder.size());
}

// The holder in a result, after the digest. Other programs can write to the metadata too. `clock`:
// the node's, if the last word is when the node granted the key, and not how long ago.
Owner OwnerIn(std::string_view text, WallTime now, std::optional<Duration> clock = std::nullopt) {
  text.remove_prefix(DigestEnd(text));
  Owner owner;
  if (auto age = TakeTime(text)) {
    if (clock) age = std::max(*clock - *age, Duration());
    owner.since = now.time_since_epoch() - *age;
  }
  TakeTerms(text, owner);
  TakeOrigin(text, owner);
  if (!text.empty()) {
    owner.label = OwnerLabel(Utf8Prefix(text.substr(1), kMaxLabelBytes));
  }
  return owner;
}

// The holder in metadata, after the digest. `clock`: the node's. Without it, the time is unknown.
Owner StoredOwnerIn(std::string_view text, WallTime now, std::optional<Duration> clock) {
  Owner owner = OwnerIn(text, now, clock.value_or(Duration()));
  if (!clock) owner.since = Duration();
  return owner;
}

// Whether this is the holder with the token, and not an earlier one.
bool IsHolder(std::string_view holder, const OwnerToken& token) {
  return holder.substr(0, DigestEnd(holder)) == std::string_view(Decimal(DigestOf(token), kIdBase));
}

// The holder in a result, if it is the one with this token.
Owner OwnerOf(const redisReply& holder, const OwnerToken& token, WallTime now) {
  return IsHolder(TextOf(holder), token) ? OwnerIn(TextOf(holder), now) : Owner();
}

// One character for each slot: '1' if it is in use.
SlotSet SlotsIn(std::string_view text) {
  SlotSet slots;
  for (std::size_t i = 0; i < std::min(text.size(), slots.size()); ++i) slots[i] = text[i] == '1';
  return slots;
}

// 0: none.
int SlotIn(const redisReply& reply) {
  return static_cast<int>(std::clamp<long long>(NumberOf(reply).value_or(0), 0, kMostSlots));
}

// What an adoption or an extension that was granted answers.
bool ParseExtension(std::span<redisReply* const> rest, WallTime now, NodeReply& parsed) {
  if (rest.size() != 3 && rest.size() != 4) return false;
  const auto fence = NumberOf(*rest[0]);
  constexpr long long kMost = 1LL << 53;
  if (!fence || *fence > kMost || *fence < -kMost) return false;
  parsed.fence_of_earlier_holder = *fence < 0;
  parsed.fence = {static_cast<std::uint64_t>(*fence < 0 ? -*fence : *fence)};
  parsed.keeper = KeeperIn(TextOf(*rest[1]));
  parsed.owner = OwnerIn(TextOf(*rest[2]), now);
  if (rest.size() == 4) parsed.own_slot = SlotIn(*rest[3]);
  return true;
}

// The metadata that an extension has left unchanged. `clock`: the node's. False where it is
// something else.
bool ParseMetadata(std::string_view text, WallTime now, std::optional<Duration> clock,
                   NodeReply& parsed) {
  const auto fence = TakeNumber(text);
  constexpr std::string_view kConfirmed = "c ";
  if (!fence || *fence > kMaxFencingToken.value || !text.starts_with(kConfirmed)) return false;
  text.remove_prefix(kConfirmed.size());
  constexpr int kKeeperWords = 2;
  const auto holder = AfterWords(text, kKeeperWords);
  if (!holder) return false;
  parsed.outcome = Outcome::kGranted;
  parsed.fence = {*fence};
  parsed.keeper = KeeperIn(text.substr(0, text.size() - holder->size() - 1));
  parsed.owner = StoredOwnerIn(*holder, now, clock);
  return true;
}

// The usual refusal of an acquisition: the TTL left, the token at the key, and the metadata.
// `clock`: the node's.
void ParseTaken(std::span<redisReply* const> rest, WallTime now, std::optional<Duration> clock,
                NodeReply& parsed) {
  parsed.outcome = Outcome::kHeld;
  parsed.remaining = RemainingOf(*rest[0]);
  parsed.holder = OwnerToken(TextOf(*rest[1]));
  constexpr int kWordsBefore = 4;  // the fence, the state and the keeper's two
  const auto holder = AfterWords(TextOf(*rest[2]), kWordsBefore);
  if (holder && IsHolder(*holder, parsed.holder)) {
    parsed.owner = StoredOwnerIn(*holder, now, clock);
  }
}

// A wild number from a broken node must not overflow on its way to nanoseconds.
std::optional<Duration> ClockOf(std::optional<long long> micros) {
  constexpr long long kMost = 8'000'000'000'000'000;  // the year 2223
  if (!micros || *micros < 0 || *micros > kMost) return std::nullopt;
  return std::chrono::microseconds(*micros);
}

// A wild number from a broken node must fit in an int.
constexpr long long kMostSharers = 1'000'000'000;

// Of each share or slot that Inspect lists: token, TTL, holder, fence, slot.
constexpr std::size_t kPartsOfAShare = 5;

// What Inspect answers about a key that is not free. False where something is missing.
bool ParseHolders(std::span<redisReply* const> rest, WallTime now, NodeReply& parsed) {
  if (rest.size() < 4 || (rest.size() - 4) % kPartsOfAShare != 0) return false;
  parsed.fence = FenceOf(*rest[0]);
  parsed.remaining = RemainingOf(*rest[1]);
  parsed.holder = OwnerToken(TextOf(*rest[2]));
  parsed.owner = OwnerOf(*rest[3], parsed.holder, now);
  const bool in_parts = IsMarker(parsed.holder.value());
  parsed.fence_of_earlier_holder = !in_parts && !IsHolder(TextOf(*rest[3]), parsed.holder);
  const bool is_held =
      in_parts ? rest.size() == 4 : TakeDelay(parsed.holder, parsed.owner, parsed.remaining);
  if (!in_parts && !is_held) parsed.keeping.push_back(parsed.holder);
  for (std::size_t i = 4; i < rest.size(); i += kPartsOfAShare) {
    Share share{.token = OwnerToken(TextOf(*rest[i])),
                .remaining = RemainingOf(*rest[i + 1]),
                .owner = {},
                .fence = FenceOf(*rest[i + 3]),
                .slot = SlotIn(*rest[i + 4])};
    share.owner = OwnerOf(*rest[i + 2], share.token, now);
    if (TakeDelay(share.token, share.owner, share.remaining)) {
      parsed.shares.push_back(std::move(share));
    } else {
      parsed.keeping.push_back(std::move(share.token));
    }
  }
  if (is_held || !parsed.shares.empty()) return true;
  parsed.outcome = Outcome::kNotHeld;
  parsed.holder = OwnerToken();
  parsed.owner = Owner();
  return true;
}

// What a refusal adds about a key that is shared or a semaphore. False where something is missing.
bool ParseSharedRefusal(std::span<redisReply* const> rest, WallTime now, NodeReply& parsed) {
  Share named{.token = OwnerToken(TextOf(*rest[3])), .owner = {}, .fence = {}};
  named.owner = OwnerOf(*rest[2], named.token, now);
  if (!named.token.empty()) parsed.shares.push_back(std::move(named));
  if (LimitIn(parsed.holder.value()) == 0) {
    parsed.sharers =
        static_cast<int>(std::clamp<long long>(NumberOf(*rest[4]).value_or(0), 0, kMostSharers));
    return true;
  }
  if (rest.size() < 6) return false;
  parsed.used_slots = SlotsIn(TextOf(*rest[4]));
  parsed.own_slot = SlotIn(*rest[5]);
  return true;
}

// What follows the status of a grant; the status alone counts as an array of one. False where
// something is missing.
bool ParseGrant(const AskedStep& asked, std::span<redisReply* const> rest, WallTime now,
                NodeReply& parsed) {
  parsed.outcome = Outcome::kGranted;
  switch (asked.kind) {
    case StepKind::kAcquire:
    case StepKind::kAcquireOrExtend:
      parsed.fence = asked.proposed;
      return rest.empty() || ParseExtension(rest, now, parsed);
    case StepKind::kExtend:
    case StepKind::kAdopt:
      return ParseExtension(rest, now, parsed);
    case StepKind::kRepair:
      if (rest.size() != 1) return false;
      parsed.fence = FenceOf(*rest[0]);
      return true;
    case StepKind::kHandOver:
      parsed.fence = asked.proposed;
      parsed.handed_over = true;
      if (rest.empty()) return true;
      if (rest.size() != 2) return false;
      parsed.fence = FenceOf(*rest[0]);
      parsed.handed_over = NumberOf(*rest[1]).value_or(0) != 0;
      return true;
    case StepKind::kRelease:
    case StepKind::kReleaseIf:
      if (!rest.empty()) parsed.listeners = static_cast<int>(NumberOf(*rest[0]).value_or(0));
      parsed.sealed = rest.size() > 1 && NumberOf(*rest[1]).value_or(0) != 0;
      parsed.still_shared = rest.size() > 2 && NumberOf(*rest[2]).value_or(0) != 0;
      return true;
    case StepKind::kInspect:
      return ParseHolders(rest, now, parsed);
    case StepKind::kProclaim:
    case StepKind::kIntend:
      return rest.empty();
    case StepKind::kTryGrant:
      if (!rest.empty()) parsed.message = DescribeError(TextOf(*rest[0]));
      return true;
    case StepKind::kMark:
      if (rest.size() != 1) return false;
      ParseMark(TextOf(*rest[0]), parsed.stamp, parsed.mark);
      return true;
  }
  return false;
}

// Whether the node's clock comes with a grant or, of a read, with every answer.
bool IsTimed(StepKind kind) {
  switch (kind) {
    case StepKind::kAcquire:
    case StepKind::kAcquireOrExtend:
    case StepKind::kHandOver:
    case StepKind::kMark:
    case StepKind::kInspect:
      return true;
    case StepKind::kExtend:
    case StepKind::kAdopt:
    case StepKind::kRepair:
    case StepKind::kRelease:
    case StepKind::kReleaseIf:
    case StepKind::kIntend:
    case StepKind::kProclaim:
    case StepKind::kTryGrant:
      return false;
  }
  return false;
}

constexpr std::string_view kUnexpected = "unexpected reply";

}  // namespace

void ParseMark(std::string_view value, std::string& stamp, std::string& mark) {
  const std::size_t space = value.find(' ');
  stamp = value.substr(0, space == std::string_view::npos ? 0 : space);
  mark = space == std::string_view::npos ? value : value.substr(space + 1);
}

void ParseMarkReply(const redisReply& reply, NodeReply& parsed) {
  if (reply.type == REDIS_REPLY_ERROR) {
    parsed.message = DescribeError(TextOf(reply));
  } else if (reply.type == REDIS_REPLY_STRING || reply.type == REDIS_REPLY_NIL) {
    ParseMark(TextOf(reply), parsed.stamp, parsed.mark);
    parsed.outcome = Outcome::kGranted;
  }
}

BatchReply::BatchReply(const redisReply& reply, std::size_t steps, WallTime now)
    : reply_(reply), now_(now) {
  if (reply.type == REDIS_REPLY_ERROR) {
    failure_ = reply.len == 0 ? std::string(kUnexpected)
                              : DescribeError(TextOf(reply));  // "-\r\n" is an error too
  } else if (reply.type != REDIS_REPLY_ARRAY || reply.elements < steps) {
    failure_ = kUnexpected;
  } else if (reply.elements > steps) {
    clock_ = ClockOf(NumberOf(*reply.element[steps]));
  }
}

NodeReply BatchReply::At(std::size_t step, const AskedStep& asked) const {
  NodeReply parsed;
  if (!failure_.empty()) {
    parsed.message = failure_;
  } else if (!Parse(*reply_.element[step], asked, parsed)) {
    parsed = {.message = std::string(kUnexpected)};
  }
  return parsed;
}

bool BatchReply::Parse(const redisReply& element, const AskedStep& asked, NodeReply& parsed) const {
  std::span<redisReply* const> rest;
  const redisReply* status = &element;
  if (element.type == REDIS_REPLY_ARRAY && element.elements > 0) {
    status = element.element[0];
    rest = std::span(element.element, element.elements).subspan(1);
  } else if (element.type == REDIS_REPLY_STRING && asked.kind == StepKind::kExtend) {
    return ParseMetadata(TextOf(element), now_, clock_, parsed);
  }
  if (status->type == REDIS_REPLY_INTEGER && status->integer == 1) {  // true
    if (!ParseGrant(asked, rest, now_, parsed) || (IsTimed(asked.kind) && !clock_)) return false;
    if (IsTimed(asked.kind)) parsed.clock = clock_;
    return true;
  }
  const std::optional<Status> why =
      status->type == REDIS_REPLY_STRING ? StatusOf(TextOf(*status)) : std::nullopt;
  if (!why || rest.empty()) return false;
  switch (*why) {
    case Status::kTaken:
      if (rest.size() != 3) return false;
      ParseTaken(rest, now_, clock_, parsed);
      return true;
    case Status::kHeld:
      parsed.outcome = Outcome::kHeld;
      parsed.remaining = RemainingOf(*rest[0]);
      if (rest.size() < 3) return true;
      parsed.holder = OwnerToken(TextOf(*rest[1]));
      parsed.owner = OwnerOf(*rest[2], parsed.holder, now_);
      return rest.size() < 5 || ParseSharedRefusal(rest, now_, parsed);
    case Status::kNotHeld:
      if (asked.kind == StepKind::kInspect && !clock_) return false;
      if (asked.kind == StepKind::kInspect) parsed.clock = clock_;
      parsed.outcome = Outcome::kNotHeld;
      parsed.fence = FenceOf(*rest[0]);
      return true;
    case Status::kStaleFence:
      parsed.outcome = Outcome::kStaleFence;
      parsed.fence = FenceOf(*rest[0]);
      return true;
    case Status::kKept:
      parsed.outcome = Outcome::kStaleFence;
      parsed.keeper = Keeper{.number = FenceOf(*rest[0]).value, .id = {}};
      return true;
    case Status::kWrongSet:
      parsed.outcome = Outcome::kOtherSet;
      ParseMark(TextOf(*rest[0]), parsed.stamp, parsed.mark);
      return true;
    case Status::kWrongMark:
      parsed.outcome = Outcome::kQuarantined;
      ParseMark(TextOf(*rest[0]), parsed.stamp, parsed.mark);
      return true;
    case Status::kFailed:
      parsed.message = DescribeError(TextOf(*rest[0]));
      return true;
  }
  return false;
}

std::optional<Duration> ParseTime(const redisReply& reply) {
  if (reply.type != REDIS_REPLY_ARRAY || reply.elements != 2) return std::nullopt;
  constexpr long long kMostSeconds = 8'000'000'000;
  const auto seconds = NumberOf(*reply.element[0]);
  const auto micros = NumberOf(*reply.element[1]);
  if (!seconds || !micros || *seconds < 0 || *seconds > kMostSeconds) return std::nullopt;
  return ClockOf(*seconds * 1'000'000 + *micros % 1'000'000);
}

}  // namespace redlock::redis
