#include "server/redis/step_batch.h"

#include <algorithm>

#include "server/core/format.h"
#include "server/redis/resp.h"

namespace redlock::redis {
namespace {

// EVALSHA, the hash and the number of keys; the mark's key; what is expected, the retention, and
// the numbers of acquisitions and of releases.
constexpr std::size_t kWordsBefore = 3 + 1 + 4;
// If there are acquisitions or hand-overs: the lowest and the highest fence, and how long to keep
// the metadata.
constexpr std::size_t kGrantWords = 3;
// If there are hand-overs or extensions: a word that announces them, and their number.
constexpr std::size_t kAnnouncementWords = 2;
// If there are extensions: how long to keep the metadata.
constexpr std::size_t kExtensionWords = 1;
// Of the keys and of the arguments, if the call has many steps.
constexpr std::size_t kUsualBytes = 1024;

// With leading zeros: 16 digits, as many as the highest fence has.
std::string Padded(FencingToken fence) {
  const Decimal digits(fence.value);
  std::string padded(16 - std::string_view(digits).size(), '0');
  padded += digits;
  return padded;
}

}  // namespace

bool StepBatch::Takes(const StepText& step) const {
  return std::ranges::none_of(step.key_hashes, [&](std::size_t hash) {
    return std::ranges::any_of(keys_, [&](const HashedKey& other) {
      // The releases of a call are decided by one look at all keys, and so are its hand-overs and
      // its extensions.
      return other.hash == hash &&
             (other.group != step.group || step.group == StepGroup::kRelease ||
              step.group == StepGroup::kHandOver || step.group == StepGroup::kExtension);
    });
  });
}

bool StepBatch::Takes(const Expected& expected) const {
  return (expected.stamp.empty() || stamp_.empty() || expected.stamp == stamp_) &&
         (expected.mark.empty() || mark_.empty() || expected.mark == mark_);
}

void StepBatch::Add(const StepText& step, const Expected& expected) {
  if (!expected.stamp.empty()) stamp_ = expected.stamp;
  if (!expected.mark.empty()) mark_ = expected.mark;
  for (const std::size_t hash : step.key_hashes) keys_.push_back({hash, step.group});
  Words& words = groups_.at(static_cast<std::size_t>(step.group));
  if (words.steps == 0) {
    words.keys.reserve(kUsualBytes);
    words.arguments.reserve(kUsualBytes);
  }
  words.keys += step.keys;
  words.arguments += step.arguments;
  words.key_count += step.key_count;
  words.argument_count += step.argument_count;
  ++words.steps;
  ++steps_;
  if (step.inspects) ++inspections_;
  longest_ttl_ = std::max(longest_ttl_, step.longest_ttl);
  words.lowest = words.steps == 1 ? step.fence : std::min(words.lowest, step.fence);
  words.highest = std::max(words.highest, step.fence);
}

std::string StepBatch::Command(std::string_view hash, Duration retention) const {
  std::size_t key_count = 1;
  std::size_t argument_count = 0;
  std::size_t bytes = 250;  // of the words before the steps'
  for (const Words& words : groups_) {
    key_count += words.key_count;
    argument_count += words.argument_count;
    bytes += words.keys.size() + words.arguments.size();
  }
  const auto words_of = [&](StepGroup group) -> const Words& {
    return groups_.at(static_cast<std::size_t>(group));
  };
  std::string out;
  out.reserve(bytes);
  const Words& acquisitions = words_of(StepGroup::kAcquisition);
  const Words& releases = words_of(StepGroup::kRelease);
  const Words& hand_overs = words_of(StepGroup::kHandOver);
  const Words& extensions = words_of(StepGroup::kExtension);
  const Decimal metadata_lifetime(Millis(longest_ttl_ + retention));
  const auto append_grant_words = [&](const Words& words) {
    AppendWord(out, Padded(words.lowest));
    AppendWord(out, Padded(words.highest));
    AppendWord(out, metadata_lifetime);
  };
  const auto announce = [&](std::string_view word, const Words& words) {
    AppendWord(out, word);
    AppendWord(out, Decimal(words.steps));
  };
  AppendHeader(out, kWordsBefore + (acquisitions.steps != 0 ? kGrantWords : 0) +
                        (hand_overs.steps != 0 ? kAnnouncementWords + kGrantWords : 0) +
                        (extensions.steps != 0 ? kAnnouncementWords + kExtensionWords : 0) +
                        key_count - 1 + argument_count);
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
  AppendWord(out, Decimal(acquisitions.steps));
  AppendWord(out, Decimal(releases.steps));
  if (acquisitions.steps != 0) append_grant_words(acquisitions);
  out += acquisitions.arguments;
  out += releases.arguments;
  if (hand_overs.steps != 0) {
    announce(kHandOversWord, hand_overs);
    append_grant_words(hand_overs);
    out += hand_overs.arguments;
  }
  if (extensions.steps != 0) {
    announce(kExtensionsWord, extensions);
    AppendWord(out, metadata_lifetime);
    out += extensions.arguments;
  }
  out += words_of(StepGroup::kOther).arguments;
  return out;
}

}  // namespace redlock::redis
