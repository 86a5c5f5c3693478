#include "server/redis/step_batch.h"

#include <algorithm>
#include <array>
#include <functional>

#include "server/core/format.h"
#include "server/redis/resp.h"

namespace redlock::redis {
namespace {

constexpr std::string_view kMetaPrefix = "redlockd:meta:{";
// EVALSHA, the hash and the number of keys; the mark's key; what is expected, the retention, and
// the numbers of acquisitions and of releases.
constexpr std::size_t kWordsBefore = 3 + 1 + 4;
// If there are acquisitions: the lowest and the highest fence, and how long to keep the metadata.
constexpr std::size_t kGrantWords = 3;

Decimal IdText(AttemptId id) { return Decimal(id.value, kIdBase); }

// A text that is put together without an allocation.
class Line {
 public:
  // The holder as in the metadata: the digest of the token, the origin and the label. Its terms
  // follow.
  static Line Holder(const OwnerToken& token, const Owner& owner) {
    Line line;
    line.AppendHolder(token, owner);
    return line;
  }
  // The metadata that a grant stores, up to the terms. The lease belongs to the stream of the
  // attempt.
  static Line Granted(FencingToken fence, AttemptId attempt, const OwnerToken& token,
                      const Owner& owner) {
    Line line;
    line.Append(Decimal(fence.value));
    line.Append(" a ");
    line.Append(Decimal(fence.value));
    line.Append(" ");
    line.Append(IdText(attempt));
    line.Append(" ");
    line.AppendHolder(token, owner);
    return line;
  }
  // NOLINTNEXTLINE(google-explicit-constructor): it is a text
  operator std::string_view() const { return {text_.data(), size_}; }

 private:
  void Append(std::string_view text) { size_ += text.copy(text_.data() + size_, text.size()); }
  void AppendHolder(const OwnerToken& token, const Owner& owner) {
    Append(Decimal(DigestOf(token), kIdBase));
    if (!owner.origin.empty()) {
      Append(kOriginMark);
      Append(std::string_view(owner.origin.value()).substr(0, kMaxOriginBytes));
    }
    if (owner.label.empty()) return;
    Append(" ");
    Append(std::string_view(owner.label.value()).substr(0, kMaxLabelBytes));
  }

  // Two fences, an id and a digest of at most 20 bytes each, the label and the origin, and the
  // separators.
  std::array<char, 4 * 20 + kMaxLabelBytes + kMaxOriginBytes + 16> text_;
  std::size_t size_ = 0;
};

// With leading zeros: 16 digits, as many as the highest fence has.
std::string Padded(FencingToken fence) {
  const Decimal digits(fence.value);
  std::string padded(16 - std::string_view(digits).size(), '0');
  padded += digits;
  return padded;
}

// The delay and the value of a holder as in the metadata. Most holders have none.
std::string TermsOf(const Owner& owner, Duration delay) {
  if (delay == Duration() && owner.value.empty() && owner.value_number == 0) return {};
  std::string terms(1, kTermsMark);
  terms += Decimal(Millis(delay));
  terms += ' ';
  terms += Decimal(owner.value_number);
  terms += ' ';
  terms += std::string_view(owner.value.value()).substr(0, kMaxValueBytes);
  return terms;
}

}  // namespace

void StepBatch::Words::Key(std::string_view key) {
  ++key_count;
  AppendWord(keys, key);
}

void StepBatch::Words::MetaKey(std::string_view key) {
  ++key_count;
  AppendWord(keys, kMetaPrefix, key, "}");
}

void StepBatch::Words::Argument(std::string_view word) {
  ++argument_count;
  AppendWord(arguments, word);
}

void StepBatch::Words::Argument(std::string_view part, std::string_view rest) {
  ++argument_count;
  AppendWord(arguments, part, rest);
}

void StepBatch::Words::Argument(const std::optional<Keeper>& keeper) {
  if (keeper) {
    Argument(Decimal(keeper->number));
    Argument(IdText(keeper->id));
  } else {
    Argument("");
    Argument("");
  }
}

StepBatch::Words& StepBatch::Begin(StepGroup group, const redlock::Key& key) {
  key.ForEach([&](std::string_view name) {
    keys_.push_back({std::hash<std::string_view>()(name), group});
  });
  ++steps_;
  Words& words = groups_.at(static_cast<std::size_t>(group));
  ++words.steps;
  return words;
}

StepBatch::Words& StepBatch::BeginOther(StepKind kind, const Key& key) {
  Words& words = Begin(StepGroup::kOther, key);
  std::size_t count = 0;
  key.ForEach([&](std::string_view name) {
    words.Key(name);
    words.MetaKey(name);
    ++count;
  });
  if (key.IsSemaphore()) {
    words.Argument("slot");
    words.Argument(Decimal(key.limit()));
    words.Argument(Decimal(key.slot()));
  } else if (count > 1 || key.IsShared()) {
    words.Argument(key.IsShared() ? "shared" : "together");
    words.Argument(Decimal(count));
  }
  words.Argument(NameOf(kind));
  return words;
}

const Key& MarkKey() {
  static const Key key{std::string(kMarkKey)};
  return key;
}

const Key& TrialKey() {
  static const Key key{std::string(kTrialKey)};
  return key;
}

StepGroup StepBatch::GroupOf(const AcquireStep& step) {
  const bool plain =
      !step.adopt && !step.key.IsSeveral() && !step.key.IsShared() && !step.key.IsSemaphore();
  return plain ? StepGroup::kAcquisition : StepGroup::kOther;
}

StepGroup StepBatch::GroupOf(const ReleaseStep& step) {
  const bool plain = step.announce && !step.only_attempt && !step.at_end_of &&
                     step.seal.value == 0 && step.keep_for == Duration() && !step.leave_delay &&
                     !step.key.IsSeveral();
  return plain ? StepGroup::kRelease : StepGroup::kOther;
}

bool StepBatch::Takes(StepGroup group, const redlock::Key& key) const {
  bool takes = true;
  key.ForEach([&](std::string_view name) {
    const std::size_t hash = std::hash<std::string_view>()(name);
    takes = takes && std::ranges::none_of(keys_, [&](const HashedKey& other) {
              // The releases of a call are decided by one look at all keys.
              return other.hash == hash && (other.group != group || group == StepGroup::kRelease);
            });
  });
  return takes;
}

bool StepBatch::Takes(const Expected& expected) const {
  return (expected.stamp.empty() || stamp_.empty() || expected.stamp == stamp_) &&
         (expected.mark.empty() || mark_.empty() || expected.mark == mark_);
}

void StepBatch::Expect(const Expected& expected) {
  if (!expected.stamp.empty()) stamp_ = expected.stamp;
  if (!expected.mark.empty()) mark_ = expected.mark;
}

void StepBatch::Add(const AcquireStep& step) {
  Expect(step.expected);
  const bool plain = GroupOf(step) == StepGroup::kAcquisition;
  const StepKind kind = step.adopt ? StepKind::kAcquireOrExtend : StepKind::kAcquire;
  Words& words = plain ? Begin(StepGroup::kAcquisition, step.key) : BeginOther(kind, step.key);
  if (plain) {
    words.Key(step.key.value());
    words.MetaKey(step.key.value());
    lowest_ = words.steps == 1 ? step.fence : std::min(lowest_, step.fence);
    highest_ = std::max(highest_, step.fence);
  }
  words.Argument(step.token.value());
  const Duration delay = DelayOf(step.ttl, step.owner, step.longest);
  longest_ttl_ = std::max(longest_ttl_, step.ttl + delay);
  words.Argument(Decimal(Millis(step.ttl + delay)));
  words.Argument(Line::Granted(step.fence, step.attempt, step.token, step.owner),
                 TermsOf(step.owner, delay));
  if (!step.adopt) return;
  words.Argument(Decimal(Millis(step.ttl)));
  words.Argument(Decimal(Millis(step.longest)));
}

void StepBatch::Add(const HandOverStep& step) {
  Expect(step.expected);
  Words& words = BeginOther(StepKind::kHandOver, step.key);
  words.Argument(step.from.value());
  words.Argument(step.to.value());
  const Duration delay = DelayOf(step.ttl, step.owner, step.longest);
  words.Argument(Decimal(Millis(step.ttl + delay)));
  words.Argument(Line::Granted(step.fence, step.attempt, step.to, step.owner),
                 TermsOf(step.owner, delay));
}

void StepBatch::Add(const ExtendStep& step) {
  Expect(step.expected);
  Words& words = BeginOther(step.adopt ? StepKind::kAdopt : StepKind::kExtend, step.key);
  words.Argument(step.token.value());
  words.Argument(Decimal(Millis(step.ttl)));
  words.Argument(Decimal(Millis(step.longest)));
  words.Argument(Decimal(step.raise_to.value));
  words.Argument(Decimal(Millis(step.least_delay)));
  words.Argument(Decimal(DigestOf(step.token), kIdBase));
  words.Argument(step.keeper);
  if (step.key.IsShared()) words.Argument(Decimal(step.downgrade_from.value));
}

void StepBatch::Add(const RepairStep& step) {
  Expect(step.expected);
  Words& words = BeginOther(StepKind::kRepair, step.key);
  words.Argument(step.token.value());
  const Duration delay = DelayOf(step.ttl, step.owner, step.longest);
  words.Argument(Decimal(Millis(step.ttl + delay)));
  words.Argument(Decimal(step.fence.value));
  std::string rest = TermsOf(step.owner, delay);
  rest += ' ';
  rest += step.held_for ? std::string_view(Decimal(Millis(*step.held_for))) : kUnknownTime;
  words.Argument(Line::Holder(step.token, step.owner), rest);
  std::string keeper;
  if (step.keeper) {
    keeper += Decimal(step.keeper->number);
    keeper += ' ';
    keeper += IdText(step.keeper->id);
  }
  words.Argument(keeper);
  words.Argument(step.counts ? "1" : "0");
}

void StepBatch::Add(const ReleaseStep& step) {
  if (GroupOf(step) == StepGroup::kRelease) {
    Words& words = Begin(StepGroup::kRelease, step.key);
    words.Key(step.key.names());
    words.Argument(step.token.value());
    return;
  }
  Words& words =
      BeginOther(StepKind::kReleaseIf, step.key.Exclusive());  // the node knows how it is held
  words.Argument(step.token.value());
  if (step.only_attempt) {
    words.Argument(IdText(*step.only_attempt));
  } else {
    words.Argument("");
  }
  words.Argument(Decimal(step.seal.value));
  words.Argument(step.announce ? "1" : "0");
  words.Argument(step.at_end_of);
  if (step.keep_for != Duration()) {
    words.Argument(Decimal(Millis(step.keep_for)));
  } else {
    words.Argument(step.leave_delay ? "delay" : "");
  }
  words.Argument(Decimal(DigestOf(step.token), kIdBase));
}

void StepBatch::Add(const IntendStep& step) {
  Words& words = BeginOther(StepKind::kIntend, step.key.Shared());
  words.Argument(IdText(step.id));
  words.Argument(Decimal(Millis(step.ttl)));
}

void StepBatch::Add(const ProclaimStep& step) {
  Expect(step.expected);
  Words& words =
      BeginOther(StepKind::kProclaim, step.key.Exclusive());  // the node knows how it is held
  words.Argument(step.token.value());
  words.Argument(Decimal(step.number));
  words.Argument(step.value.value());
  words.Argument(Decimal(DigestOf(step.token), kIdBase));
}

void StepBatch::Add(const InspectStep& step) {
  Expect(step.expected);
  ++inspections_;
  BeginOther(StepKind::kInspect, step.key).Argument(step.observe ? "1" : "0");
}

void StepBatch::Add(const MarkStep& step) {
  Words& words = Begin(StepGroup::kOther, MarkKey());
  words.Key(kMarkKey);
  words.Key(kMarkKey);
  words.Argument(NameOf(StepKind::kMark));
  words.Argument(step.from);
  words.Argument(step.to);
  words.Argument(step.stamp);
}

void StepBatch::Add(const TryGrantStep& /*step*/) { BeginOther(StepKind::kTryGrant, TrialKey()); }

std::string StepBatch::Command(std::string_view hash, Duration retention) const {
  std::size_t key_count = 1;
  std::size_t argument_count = 0;
  std::size_t bytes = 250;  // of the words before the steps'
  for (const Words& words : groups_) {
    key_count += words.key_count;
    argument_count += words.argument_count;
    bytes += words.keys.size() + words.arguments.size();
  }
  const auto steps_of = [&](StepGroup group) {
    return Decimal(groups_.at(static_cast<std::size_t>(group)).steps);
  };
  std::string out;
  out.reserve(bytes);
  const bool acquires = groups_.at(static_cast<std::size_t>(StepGroup::kAcquisition)).steps != 0;
  const std::size_t grant_words = acquires ? kGrantWords : 0;
  AppendHeader(out, kWordsBefore + grant_words + key_count - 1 + argument_count);
  AppendWord(out, "EVALSHA");
  AppendWord(out, hash);
  AppendWord(out, Decimal(key_count));
  AppendWord(out, kMarkKey);
  for (const Words& words : groups_) out += words.keys;
  if (stamp_.empty() && mark_.empty()) {
    AppendWord(out, "");
  } else {
    AppendWord(out, stamp_ + ' ' + mark_);
  }
  AppendWord(out, Decimal(Millis(retention)));
  AppendWord(out, steps_of(StepGroup::kAcquisition));
  AppendWord(out, steps_of(StepGroup::kRelease));
  if (acquires) {
    AppendWord(out, Padded(lowest_));
    AppendWord(out, Padded(highest_));
    AppendWord(out, Decimal(Millis(longest_ttl_ + retention)));
  }
  for (const Words& words : groups_) out += words.arguments;
  return out;
}

}  // namespace redlock::redis
