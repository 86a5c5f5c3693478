#include "server/redis/step_batch.h"

#include <array>

#include "server/core/format.h"
#include "server/redis/resp.h"

namespace redlock::redis {
namespace {

constexpr std::string_view kMetaPrefix = "redlockd:meta:{";
// EVALSHA, the hash and the number of keys; the mark's key; the mark and the retention.
constexpr std::size_t kWordsBefore = 3 + 1 + 2;

Decimal IdText(AttemptId id) { return Decimal(id.value, kIdBase); }

// As in meta's t: the digest of the token, a space, and a label of 128 bytes at most.
class HolderText {
 public:
  HolderText(const OwnerToken& token, const OwnerLabel& owner) {
    const Decimal digest(DigestOf(token), kIdBase);
    const std::string_view text = digest;
    text.copy(text_.data(), text.size());
    size_ = text.size();
    if (owner.empty()) return;
    text_[size_] = ' ';
    size_ += 1 + owner.value().copy(text_.data() + size_ + 1, 128);
  }
  // NOLINTNEXTLINE(google-explicit-constructor): it is a text
  operator std::string_view() const { return {text_.data(), size_}; }

 private:
  std::array<char, 160> text_;
  std::size_t size_;
};

}  // namespace

void StepBatch::Begin(StepKind kind, const Key& key) {
  ++size_;
  AppendWord(keys_, key.value());
  keys_ += '$';
  keys_ += Decimal(kMetaPrefix.size() + key.value().size() + 1);
  keys_ += "\r\n";
  keys_ += kMetaPrefix;
  keys_ += key.value();
  keys_ += "}\r\n";
  Argument(NameOf(kind));
}

void StepBatch::Argument(std::string_view word) {
  ++argument_count_;
  AppendWord(arguments_, word);
}

void StepBatch::Argument(const std::optional<Keeper>& keeper) {
  if (keeper) {
    Argument(Decimal(keeper->number));
    Argument(IdText(keeper->id));
  } else {
    Argument("");
    Argument("");
  }
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
  Begin(step.adopt ? StepKind::kAcquireOrExtend : StepKind::kAcquire, step.key);
  Argument(step.token.value());
  Argument(Decimal(Millis(step.ttl)));
  Argument(Decimal(step.fence.value));
  Argument(HolderText(step.token, step.owner));
  Argument(IdText(step.attempt));
}

void StepBatch::Add(const HandOverStep& step) {
  Expect(step.expected);
  Begin(StepKind::kHandOver, step.key);
  Argument(step.from.value());
  Argument(step.to.value());
  Argument(Decimal(Millis(step.ttl)));
  Argument(Decimal(step.fence.value));
  Argument(HolderText(step.to, step.owner));
  Argument(IdText(step.attempt));
}

void StepBatch::Add(const ExtendStep& step) {
  Expect(step.expected);
  Begin(step.adopt ? StepKind::kAdopt : StepKind::kExtend, step.key);
  Argument(step.token.value());
  Argument(Decimal(Millis(step.ttl)));
  Argument(Decimal(step.raise_to.value));
  Argument(Decimal(DigestOf(step.token), kIdBase));
  Argument(step.keeper);
}

void StepBatch::Add(const RepairStep& step) {
  Expect(step.expected);
  Begin(StepKind::kRepair, step.key);
  Argument(step.token.value());
  Argument(Decimal(Millis(step.ttl)));
  Argument(Decimal(step.fence.value));
  Argument(Decimal(DigestOf(step.token), kIdBase));
  std::string keeper;
  if (step.keeper) {
    keeper += Decimal(step.keeper->number);
    keeper += ' ';
    keeper += IdText(step.keeper->id);
  }
  Argument(keeper);
  Argument(step.counts ? "1" : "0");
}

void StepBatch::Add(const ReleaseStep& step) {
  if (step.announce && !step.only_attempt && !step.at_end_of && step.seal.value == 0) {
    Begin(StepKind::kRelease, step.key);
    Argument(step.token.value());
    return;
  }
  Begin(StepKind::kReleaseIf, step.key);
  Argument(step.token.value());
  if (step.only_attempt) {
    Argument(IdText(*step.only_attempt));
  } else {
    Argument("");
  }
  Argument(Decimal(step.seal.value));
  Argument(step.announce ? "1" : "0");
  Argument(step.at_end_of);
}

void StepBatch::Add(const InspectStep& step) {
  Expect(step.expected);
  Begin(StepKind::kInspect, step.key);
}

void StepBatch::Add(const MarkStep& step) {
  ++size_;
  AppendWord(keys_, kMarkKey);
  AppendWord(keys_, kMarkKey);
  Argument(NameOf(StepKind::kMark));
  Argument(step.from);
  Argument(step.to);
  Argument(step.stamp);
}

std::string StepBatch::Command(std::string_view hash, std::string_view retention_ms) const {
  constexpr std::size_t kOfTheFrame = 200;
  std::string out;
  out.reserve(keys_.size() + arguments_.size() + kOfTheFrame);
  AppendHeader(out, kWordsBefore + 2 * size_ + argument_count_);
  AppendWord(out, "EVALSHA");
  AppendWord(out, hash);
  AppendWord(out, Decimal(1 + 2 * size_));
  AppendWord(out, kMarkKey);
  out += keys_;
  if (stamp_.empty() && mark_.empty()) {
    AppendWord(out, "");
  } else {
    AppendWord(out, stamp_ + ' ' + mark_);
  }
  AppendWord(out, retention_ms);
  out += arguments_;
  return out;
}

}  // namespace redlock::redis
