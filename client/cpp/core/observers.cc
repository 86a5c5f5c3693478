#include "client/cpp/core/observers.h"

#include <algorithm>
#include <utility>

#include "client/cpp/core/keys.h"
#include "client/cpp/core/validation.h"

namespace redlock::client {
namespace {

// How long a state stands after its stream has broken, at least, and how long the first one may
// take. A daemon needs a second to report that nothing can be decided, and it says why.
constexpr Duration kPatience = std::chrono::milliseconds(1'500);

bool IsSame(const Holder& one, const Holder& other) {
  return one.fencing_token == other.fencing_token && one.slot == other.slot &&
         one.value == other.value && one.owner == other.owner;
}

// Times and words differ between two reports of one state.
bool IsSame(const KeyState& one, const KeyState& other) {
  return one.state == other.state && one.holders == other.holders &&
         one.fencing_token == other.fencing_token && one.value == other.value &&
         one.owner == other.owner &&
         (one.kept_for > Duration::zero()) == (other.kept_for > Duration::zero()) &&
         std::equal(one.held_by.begin(), one.held_by.end(), other.held_by.begin(),
                    other.held_by.end(),
                    [](const Holder& left, const Holder& right) { return IsSame(left, right); });
}

}  // namespace

const char* to_string(HolderState state) {
  switch (state) {
    case HolderState::kHeld:
      return "HELD";
    case HolderState::kVacant:
      return "VACANT";
    case HolderState::kUndecided:
      break;
  }
  return "UNDECIDED";
}

std::optional<Error> CheckObserved(const std::string& key) {
  if (auto error = CheckKey(key)) return error;
  if (NamesOf(key).size() == 1) return std::nullopt;
  return Error{Reason::kInvalidArgument,
               "key: an observer has a single key; observe one of " + InWords(key)};
}

Observers::Observers(std::vector<std::string> endpoints, Clock& clock, Random& random)
    : endpoints_(std::move(endpoints)), clock_(clock), random_(random), now_(clock.Now()) {}

ObserverId Observers::Start(const std::string& key) {
  now_ = clock_.Now();
  const ObserverId id = ++last_observer_;
  Observer observer{.key = NamesOf(key).front(),
                    .route = Connector(endpoints_.size(), {}, {}, random_),
                    .failures = std::vector<std::string>(endpoints_.size())};
  observer.undecided_at = After(now_, kPatience);
  Open(id, started_.emplace(id, std::move(observer)).first->second);
  return id;
}

void Observers::Close(ObserverId id) {
  now_ = clock_.Now();
  const auto found = started_.find(id);
  if (found == started_.end() || found->second.ended) return;
  End(id, found->second, {Reason::kCancelled, "the observer was closed"});
  found->second.pending.reset();
}

void Observers::CloseAll(const Error& why) {
  now_ = clock_.Now();
  for (auto& [id, observer] : started_) {
    if (observer.ended) continue;
    End(id, observer, why);
    observer.pending.reset();
  }
}

void Observers::Forget(ObserverId id) {
  Close(id);
  started_.erase(id);
}

std::optional<Result<KeyState>> Observers::Take(ObserverId id) {
  Observer& observer = started_.at(id);
  if (observer.pending) {
    observer.taken = std::exchange(observer.pending, std::nullopt);
    return Result<KeyState>(*observer.taken);
  }
  if (observer.ended) return Result<KeyState>(*observer.ended);
  return std::nullopt;
}

void Observers::OnState(ObserverId id, std::uint64_t attempt, KeyState state) {
  now_ = clock_.Now();
  const auto found = started_.find(id);
  if (found == started_.end() || found->second.attempt != attempt) return;
  Observer& observer = found->second;
  if (!observer.opened) return;
  observer.heard = true;
  observer.failures.assign(endpoints_.size(), {});
  const bool held = state.state == HolderState::kHeld;
  if (held && !Passes(observer, state)) return;
  observer.stands_until = After(now_, held ? state.remaining : Duration::zero());
  observer.undecided_at = kNever;
  Report(id, observer, std::move(state));
}

// Whether a held state may follow those before. An exclusive holder follows all holders. The
// holders of shares and slots follow only the exclusive ones: when one of them leaves, the highest
// fencing token of the others may be lower. The state then keeps the higher one, as within a stream
// of the daemon.
bool Observers::Passes(Observer& observer, KeyState& state) {
  const bool several = state.shared || state.max_holders != 0;
  const std::uint64_t least = several ? observer.exclusive_fence : observer.highest_fence;
  if (state.fencing_token < least) return false;
  if (!several) observer.exclusive_fence = state.fencing_token;
  observer.highest_fence = std::max(observer.highest_fence, state.fencing_token);
  state.fencing_token = observer.highest_fence;
  return true;
}

void Observers::OnEnded(ObserverId id, std::uint64_t attempt, const Error& why, bool final) {
  now_ = clock_.Now();
  const auto found = started_.find(id);
  if (found == started_.end() || found->second.attempt != attempt) return;
  Observer& observer = found->second;
  if (!observer.opened) return;
  if (final) {
    observer.opened.reset();
    End(id, observer, why);
    return;
  }
  observer.failures[observer.route.endpoint()] = why.message;
  if (observer.undecided_at == kNever) {
    observer.undecided_at = std::max(observer.stands_until, After(now_, kPatience));
  }
  Move(id, observer);
}

void Observers::Open(ObserverId id, Observer& observer) {
  observer.attempt = ++last_attempt_;
  observer.opened = now_;
  observer.heard = false;
  effects_.emplace_back(OpenObserve{id, observer.attempt, observer.route.endpoint(), observer.key});
}

void Observers::Move(ObserverId id, Observer& observer) {
  const Duration lasted = now_ - *std::exchange(observer.opened, std::nullopt);
  if (observer.heard) {
    observer.route.OnLost(now_, lasted);
  } else {
    observer.route.OnFailed(now_);
  }
  if (IsDue(observer)) Open(id, observer);
}

bool Observers::IsDue(const Observer& observer) const {
  return !observer.opened && !observer.ended && observer.route.connect_at() <= now_;
}

// The reader must not get the state that it got last a second time.
void Observers::Report(ObserverId id, Observer& observer, KeyState state) {
  if (observer.taken && IsSame(*observer.taken, state)) {
    observer.pending.reset();
    return;
  }
  observer.pending = std::move(state);
  effects_.emplace_back(Observed{id});
}

void Observers::End(ObserverId id, Observer& observer, const Error& why) {
  if (std::exchange(observer.opened, std::nullopt)) effects_.emplace_back(CancelObserve{id});
  observer.ended = why;
  observer.undecided_at = kNever;
  effects_.emplace_back(Observed{id});
}

Error Observers::WhyUndecided(const Observer& observer) const {
  std::string text;
  for (const std::string& failure : observer.failures) {
    if (!text.empty() && !failure.empty()) text += "; ";
    text += failure;
  }
  if (text.empty()) text = endpoints_[observer.route.endpoint()] + ": no answer yet";
  return {Reason::kUnreachable,
          InWords(observer.key) + ": no daemon reports who holds it: " + text};
}

void Observers::Tick() {
  now_ = clock_.Now();
  for (auto& [id, observer] : started_) {
    if (observer.undecided_at <= now_) {
      observer.undecided_at = kNever;
      Report(id, observer, {.state = HolderState::kUndecided, .error = WhyUndecided(observer)});
    }
    if (IsDue(observer)) Open(id, observer);
  }
}

TimePoint Observers::NextDeadline() const {
  TimePoint next = kNever;
  for (const auto& [id, observer] : started_) {
    next = std::min(next, observer.undecided_at);
    if (!observer.opened && !observer.ended) next = std::min(next, observer.route.connect_at());
  }
  return next;
}

std::vector<Effect> Observers::TakeEffects() { return std::exchange(effects_, {}); }

}  // namespace redlock::client
