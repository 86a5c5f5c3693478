#include "server/redis/step_writer.h"

#include <algorithm>
#include <array>
#include <functional>
#include <tuple>
#include <variant>

#include "server/core/format.h"
#include "server/redis/resp.h"

namespace redlock::redis {
namespace {

constexpr std::string_view kMetaPrefix = "redlockd:meta:{";

bool IsPlain(const Key& key) { return !key.IsSeveral() && !key.IsShared() && !key.IsSemaphore(); }

// An acquisition that the script carries out with others like it.
bool IsPlain(const AcquireStep& step) { return !step.adopt && IsPlain(step.key); }

// An extension that usually leaves the metadata unchanged.
bool IsPlain(const ExtendStep& step) {
  return !step.adopt && step.raise_to.value == 0 && step.least_delay == Duration() &&
         IsPlain(step.key);
}

bool IsPlain(const ReleaseStep& step) {
  return step.announce && !step.only_attempt && !step.at_end_of && step.seal.value == 0 &&
         step.keep_for == Duration() && !step.leave_delay && !step.key.IsSeveral();
}

// Everything in a step that its text depends on. The bindings name every member, so that a new one
// does not compile before it is considered here.
auto FieldsOf(const AcquireStep& step) {
  const auto& [key, token, ttl, longest, fence, attempt, owner, adopt, expected] = step;
  return std::tie(key, token, ttl, longest, fence, attempt, owner, adopt);
}

auto FieldsOf(const ExtendStep& step) {
  const auto& [key, token, ttl, longest, raise_to, least_delay, keeper, adopt, downgrade_from,
               expected] = step;
  return std::tie(key, token, ttl, longest, raise_to, least_delay, keeper, adopt, downgrade_from);
}

// It owns its arguments and names no expectation.
const ReleaseStep& FieldsOf(const ReleaseStep& step) { return step; }

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
  std::array<char, std::size_t{4} * 20 + kMaxLabelBytes + kMaxOriginBytes + 16> text_;
  std::size_t size_ = 0;
};

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

// The keys of steps that name none.
const Key& MarkKey() {
  static const Key key{std::string(kMarkKey)};
  return key;
}

const Key& TrialKey() {
  static const Key key{std::string(kTrialKey)};
  return key;
}

}  // namespace

template <typename Step>
const StepText& StepWriter::WriteOnce(const Step& step) {
  if (const auto* last = std::get_if<Last<Step>>(&last_); last && *last == FieldsOf(step)) {
    return text_;
  }
  last_ = std::monostate();
  Set(step);
  last_.template emplace<Last<Step>>(FieldsOf(step));
  return text_;
}

template const StepText& StepWriter::WriteOnce(const AcquireStep& step);
template const StepText& StepWriter::WriteOnce(const ExtendStep& step);
template const StepText& StepWriter::WriteOnce(const ReleaseStep& step);

void StepWriter::AddKey(std::string_view key) {
  ++text_.key_count;
  AppendWord(text_.keys, key);
}

void StepWriter::AddMetaKey(std::string_view key) {
  ++text_.key_count;
  AppendWord(text_.keys, kMetaPrefix, key, "}");
}

void StepWriter::Argument(std::string_view word) {
  ++text_.argument_count;
  AppendWord(text_.arguments, word);
}

void StepWriter::Argument(std::string_view first, std::string_view second, std::string_view third) {
  ++text_.argument_count;
  AppendWord(text_.arguments, first, second, third);
}

void StepWriter::Argument(const std::optional<Keeper>& keeper) {
  if (keeper) {
    Argument(Decimal(keeper->number));
    Argument(IdText(keeper->id));
  } else {
    Argument("");
    Argument("");
  }
}

void StepWriter::Begin(StepGroup group, const Key& key) {
  text_.group = group;
  text_.key_hashes.clear();
  key.ForEach([this](std::string_view name) {
    text_.key_hashes.push_back(std::hash<std::string_view>()(name));
  });
  text_.keys.clear();
  text_.arguments.clear();
  text_.key_count = 0;
  text_.argument_count = 0;
  text_.fence = {};
  text_.longest_ttl = {};
  text_.inspects = false;
}

void StepWriter::BeginPlain(StepGroup group, const Key& key) {
  Begin(group, key);
  AddKey(key.value());
  AddMetaKey(key.value());
}

void StepWriter::BeginOther(StepKind kind, const Key& key) {
  Begin(StepGroup::kOther, key);
  std::size_t count = 0;
  key.ForEach([&](std::string_view name) {
    AddKey(name);
    AddMetaKey(name);
    ++count;
  });
  if (key.IsSemaphore()) {
    Argument("slot");
    Argument(Decimal(key.limit()));
    Argument(Decimal(key.slot()));
  } else if (count > 1 || key.IsShared()) {
    Argument(key.IsShared() ? "shared" : "together");
    Argument(Decimal(count));
  }
  Argument(NameOf(kind));
}

void StepWriter::Set(const AcquireStep& step) {
  if (IsPlain(step)) {
    BeginPlain(StepGroup::kAcquisition, step.key);
    text_.fence = step.fence;
  } else {
    BeginOther(step.adopt ? StepKind::kAcquireOrExtend : StepKind::kAcquire, step.key);
  }
  Argument(step.token.value());
  const Duration delay = DelayOf(step.ttl, step.owner, step.longest);
  text_.longest_ttl = step.ttl + delay;
  Argument(Decimal(Millis(step.ttl + delay)));
  Argument(Line::Granted(step.fence, step.attempt, step.token, step.owner),
           TermsOf(step.owner, delay));
  if (!step.adopt) return;
  Argument(Decimal(Millis(step.ttl)));
  Argument(Decimal(Millis(step.longest)));
}

void StepWriter::Set(const HandOverStep& step) {
  const Duration delay = DelayOf(step.ttl, step.owner, step.longest);
  if (IsPlain(step.key)) {
    BeginPlain(StepGroup::kHandOver, step.key);
    text_.fence = step.fence;
    text_.longest_ttl = step.ttl + delay;
  } else {
    BeginOther(StepKind::kHandOver, step.key);
  }
  Argument(step.from.value());
  Argument(step.to.value());
  Argument(Decimal(Millis(step.ttl + delay)));
  Argument(Line::Granted(step.fence, step.attempt, step.to, step.owner),
           TermsOf(step.owner, delay));
}

void StepWriter::Set(const ExtendStep& step) {
  const Decimal digest(DigestOf(step.token), kIdBase);
  const bool plain = IsPlain(step);
  if (plain) {
    BeginPlain(StepGroup::kExtension, step.key);
    text_.longest_ttl = step.ttl;
  } else {
    BeginOther(step.adopt ? StepKind::kAdopt : StepKind::kExtend, step.key);
  }
  Argument(step.token.value());
  Argument(Decimal(Millis(step.ttl)));
  Argument(Decimal(Millis(step.longest)));
  if (plain && step.keeper) {
    Argument(Decimal(step.keeper->number));
    Argument(IdText(step.keeper->id), " ", digest);
    return;
  }
  if (plain) {
    Argument("");
    Argument("-", " ", digest);
    return;
  }
  Argument(Decimal(step.raise_to.value));
  Argument(Decimal(Millis(step.least_delay)));
  Argument(digest);
  Argument(step.keeper);
  if (step.key.IsShared()) Argument(Decimal(step.downgrade_from.value));
}

void StepWriter::Set(const RepairStep& step) {
  BeginOther(StepKind::kRepair, step.key);
  Argument(step.token.value());
  const Duration delay = DelayOf(step.ttl, step.owner, step.longest);
  Argument(Decimal(Millis(step.ttl + delay)));
  Argument(Decimal(step.fence.value));
  std::string rest = TermsOf(step.owner, delay);
  rest += ' ';
  rest += step.held_for ? std::string_view(Decimal(Millis(*step.held_for))) : kUnknownTime;
  Argument(Line::Holder(step.token, step.owner), rest);
  std::string keeper;
  if (step.keeper) {
    keeper += Decimal(step.keeper->number);
    keeper += ' ';
    keeper += IdText(step.keeper->id);
  }
  Argument(keeper);
  Argument(step.counts ? "1" : "0");
}

void StepWriter::Set(const ReleaseStep& step) {
  if (IsPlain(step)) {
    Begin(StepGroup::kRelease, step.key);
    AddKey(step.key.names());
    Argument(step.token.value());
    return;
  }
  BeginOther(StepKind::kReleaseIf, step.key.Exclusive());  // the node knows how it is held
  Argument(step.token.value());
  if (step.only_attempt) {
    Argument(IdText(*step.only_attempt));
  } else {
    Argument("");
  }
  Argument(Decimal(step.seal.value));
  Argument(step.announce ? "1" : "0");
  Argument(step.at_end_of);
  if (step.keep_for != Duration()) {
    Argument(Decimal(Millis(step.keep_for)));
  } else {
    Argument(step.leave_delay ? "delay" : "");
  }
  Argument(Decimal(DigestOf(step.token), kIdBase));
}

void StepWriter::Set(const IntendStep& step) {
  BeginOther(StepKind::kIntend, step.key.Shared());
  Argument(IdText(step.id));
  Argument(Decimal(Millis(step.ttl)));
}

void StepWriter::Set(const ProclaimStep& step) {
  BeginOther(StepKind::kProclaim, step.key.Exclusive());  // the node knows how it is held
  Argument(step.token.value());
  Argument(Decimal(step.number));
  Argument(step.value.value());
  Argument(Decimal(DigestOf(step.token), kIdBase));
}

void StepWriter::Set(const InspectStep& step) {
  BeginOther(StepKind::kInspect, step.key);
  Argument(step.observe ? "1" : "0");
  text_.inspects = true;
}

void StepWriter::Set(const MarkStep& step) {
  Begin(StepGroup::kOther, MarkKey());
  AddKey(kMarkKey);
  AddKey(kMarkKey);
  Argument(NameOf(StepKind::kMark));
  Argument(step.from);
  Argument(step.to);
  Argument(step.stamp);
}

void StepWriter::Set(const TryGrantStep& /*step*/) { BeginOther(StepKind::kTryGrant, TrialKey()); }

}  // namespace redlock::redis
