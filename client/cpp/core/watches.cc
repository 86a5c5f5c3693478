#include "client/cpp/core/watches.h"

#include <algorithm>
#include <set>
#include <utility>

#include "client/cpp/core/keys.h"
#include "client/cpp/core/validation.h"

namespace redlock::client {
namespace {

constexpr Duration kSilence = std::chrono::milliseconds(500);  // besides one and a half intervals

}  // namespace

std::optional<Error> CheckItems(const std::vector<WatchItem>& items) {
  if (items.empty()) return Error{Reason::kInvalidArgument, "items: must not be empty"};
  std::set<std::vector<std::string>> keys;  // in whatever mode
  for (const WatchItem& item : items) {
    if (auto error = CheckKey(item.key)) return error;
    if (auto error = CheckToken(item.token, true)) return error;
    if (auto error = CheckTtl(item.ttl)) return error;
    if (auto error = CheckInterval(item.interval, item.ttl)) return error;
    if (!keys.insert(NamesOf(item.key)).second) {
      return Error{Reason::kInvalidArgument,
                   "items: the key " + InWords(item.key) + " occurs twice"};
    }
  }
  return std::nullopt;
}

Watches::Watches(std::size_t endpoints, Clock& clock, Random& random, Duration first_event)
    : endpoints_(endpoints),
      clock_(clock),
      random_(random),
      first_event_(first_event),
      now_(clock.Now()) {}

WatchId Watches::Start(std::vector<WatchItem> items, const WatchOptions& options) {
  now_ = clock_.Now();
  const WatchId id = ++last_watch_;
  Watch watch{.items = std::move(items),
              .keep_watching = options.keep_watching_after_loss,
              .route = Connector(endpoints_, {}, {}, random_)};
  Open(id, started_.emplace(id, std::move(watch)).first->second);
  return id;
}

void Watches::Close(WatchId watch) {
  now_ = clock_.Now();
  const auto found = started_.find(watch);
  if (found != started_.end()) End(found, {Reason::kCancelled, "the watch was closed"});
}

void Watches::CloseAll(const Error& why) {
  now_ = clock_.Now();
  while (!started_.empty()) End(started_.begin(), why);
}

void Watches::OnEvent(WatchId id, std::uint64_t attempt, const Event& event) {
  now_ = clock_.Now();
  const auto found = started_.find(id);
  if (found == started_.end() || found->second.attempt != attempt) return;
  Watch& watch = found->second;
  if (!watch.opened) return;
  watch.heard = true;
  watch.silent_at = After(now_, Patience(watch));
  const std::string key = KeyOf(watch, event);
  WatchEvent out{.key = key, .error = event.error};
  switch (event.type) {
    case EventType::kExtended:
      if (!event.grant) return;
      out.type = WatchEvent::Type::kExtended;
      out.lease = Lease{.key = event.key,  // with the slot
                        .token = event.grant->token,
                        .fencing_token = event.grant->fencing_token,
                        .valid_until = After(now_, event.grant->validity).time_since_epoch()};
      break;
    case EventType::kExtendFailed:
      out.type = WatchEvent::Type::kExtendFailed;
      break;
    case EventType::kLost:
      out.type = WatchEvent::Type::kLost;
      break;
    case EventType::kDraining:
      out.type = WatchEvent::Type::kStreamFailed;
      Report(id, std::move(out));
      effects_.emplace_back(CancelWatch{id});
      Move(id, watch);
      return;
  }
  Report(id, std::move(out));
  if (event.type != EventType::kLost || watch.keep_watching) return;
  std::erase_if(watch.items, [&key](const WatchItem& item) { return item.key == key; });
}

// As in the item, which need not name the slot that its token has.
std::string Watches::KeyOf(const Watch& watch, const Event& event) {
  const std::string any_slot = AnySlot(event.key);
  const bool names_none = std::any_of(watch.items.begin(), watch.items.end(),
                                      [&](const auto& item) { return item.key == any_slot; });
  return names_none ? any_slot : event.key;
}

void Watches::OnEnded(WatchId id, std::uint64_t attempt, const std::optional<Error>& why) {
  now_ = clock_.Now();
  const auto found = started_.find(id);
  if (found == started_.end() || found->second.attempt != attempt) return;
  Watch& watch = found->second;
  if (!watch.opened) return;
  if (!why && !watch.keep_watching) watch.items.clear();  // all are lost or released
  if (why && !watch.items.empty())
    Report(id, {.type = WatchEvent::Type::kStreamFailed, .key = {}, .lease = {}, .error = *why});
  Move(id, watch);
}

void Watches::Open(WatchId id, Watch& watch) {
  watch.attempt = ++last_attempt_;
  watch.opened = now_;
  watch.heard = false;
  watch.silent_at = After(now_, first_event_);
  effects_.emplace_back(
      OpenWatch{id, watch.attempt, watch.route.endpoint(), watch.items, watch.keep_watching});
}

void Watches::Move(WatchId id, Watch& watch) {
  const Duration lasted = now_ - *std::exchange(watch.opened, std::nullopt);
  if (watch.heard) {
    watch.route.OnLost(now_, lasted);
  } else {
    watch.route.OnFailed(now_);
  }
  if (IsDue(watch)) Open(id, watch);
}

// How long the next event may take. When the keepalive of the connection notices that a daemon has
// fallen silent, another one can no longer save a lock with a short TTL.
Duration Watches::Patience(const Watch& watch) {
  Duration shortest = Duration::max();
  for (const WatchItem& item : watch.items) {
    shortest = std::min(shortest, item.interval.value_or(item.ttl / 2));
  }
  return watch.items.empty() ? kSilence : shortest + shortest / 2 + kSilence;
}

// A watch without items only waits for its end.
bool Watches::IsDue(const Watch& watch) const {
  return !watch.opened && !watch.items.empty() && watch.route.connect_at() <= now_;
}

void Watches::End(Started::iterator found, Error why) {
  if (found->second.opened) effects_.emplace_back(CancelWatch{found->first});
  Report(found->first,
         {.type = WatchEvent::Type::kEnded, .key = {}, .lease = {}, .error = std::move(why)});
  started_.erase(found);
}

void Watches::Report(WatchId id, WatchEvent event) {
  effects_.emplace_back(Watched{id, std::move(event)});
}

void Watches::Tick() {
  now_ = clock_.Now();
  for (auto& [id, watch] : started_) {
    if (watch.opened && watch.silent_at <= now_) {
      effects_.emplace_back(CancelWatch{id});
      if (!watch.items.empty()) {
        Report(id, {.type = WatchEvent::Type::kStreamFailed,
                    .key = {},
                    .lease = {},
                    .error = {Reason::kUnreachable, "the daemon has fallen silent"}});
      }
      Move(id, watch);
    }
    if (IsDue(watch)) Open(id, watch);
  }
}

TimePoint Watches::NextDeadline() const {
  TimePoint next = kNever;
  for (const auto& [id, watch] : started_) {
    if (watch.opened) next = std::min(next, watch.silent_at);
    if (!watch.opened && !watch.items.empty()) next = std::min(next, watch.route.connect_at());
  }
  return next;
}

std::vector<Effect> Watches::TakeEffects() { return std::exchange(effects_, {}); }

}  // namespace redlock::client
