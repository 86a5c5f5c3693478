#include "server/core/nodes/set_record.h"

#include <algorithm>
#include <charconv>
#include <limits>

#include "server/core/fnv1a.h"
#include "server/core/format.h"

namespace redlock {
namespace {

// The first line. A later format gets another number.
constexpr std::string_view kFormat = "redlockd node set 1";

// Removes the first word, up to a space or the end.
std::string_view TakeWord(std::string_view& text) {
  const std::string_view word = text.substr(0, text.find(' '));
  text.remove_prefix(std::min(word.size() + 1, text.size()));
  return word;
}

bool ParseNumber(std::string_view text, std::uint64_t& number) {
  const char* const end = text.data() + text.size();
  const auto [rest, error] = std::from_chars(text.data(), end, number);
  return error == std::errc() && rest == end;
}

bool ParseMillis(std::string_view text, Duration& duration) {
  constexpr std::uint64_t kMost = 1000ULL * 60 * 60 * 24 * 36500;  // 100 years
  std::uint64_t number = 0;
  if (!ParseNumber(text, number) || number > kMost) return false;
  duration = std::chrono::milliseconds(number);
  return true;
}

// One line: the name of a field, a space, and its value.
bool ParseField(std::string_view line, SetRecord& record) {
  const std::string_view field = TakeWord(line);
  if (field == "set") {
    record.set_id = line;
  } else if (field == "epoch") {
    return ParseNumber(line, record.epoch);
  } else if (field == "max_ttl_ms") {
    return ParseMillis(line, record.max_ttl);
  } else if (field == "fence_retention_ms") {
    return ParseMillis(line, record.fence_retention);
  } else if (field == "wait_ms") {
    return ParseMillis(line, record.wait);
  } else if (field == "member" || field == "before") {
    std::string id(TakeWord(line));
    auto& members = field == "member" ? record.members : record.before;
    members.push_back({std::move(id), std::string(line)});
  } else if (field == "add") {
    record.wanted_add.emplace_back(line);
  } else if (field == "remove") {
    record.wanted_remove.emplace_back(line);
  } else {
    return false;
  }
  return true;
}

bool AreDistinct(const std::vector<Member>& members) {
  return std::ranges::none_of(members, [](const Member& m) { return m.id.empty(); }) &&
         std::ranges::is_sorted(members, {}, &Member::id) &&
         std::ranges::adjacent_find(members, {}, &Member::id) == members.end();
}

bool IsComplete(const SetRecord& record) {
  return !record.set_id.empty() && record.epoch > 0 && !record.members.empty() &&
         record.members.size() <= kMostMembers && record.max_ttl > Duration{} &&
         AreDistinct(record.members) && AreDistinct(record.before);
}

}  // namespace

const Member* SetRecord::Find(std::string_view id) const {
  const auto found = std::ranges::find(members, id, &Member::id);
  return found == members.end() ? nullptr : &*found;
}

bool SetRecord::IsUndoneBy(const SetRecord& next) const {
  return std::ranges::equal(next.members, before, {}, &Member::id, &Member::id) &&
         next.max_ttl == max_ttl && next.fence_retention == fence_retention && next.wait >= wait;
}

std::string Encode(const SetRecord& record) {
  std::string text(kFormat);
  const auto field = [&text](std::string_view name, std::string_view value) {
    text += '\n';
    text += name;
    text += ' ';
    text += value;
  };
  field("set", record.set_id);
  field("epoch", std::to_string(record.epoch));
  field("max_ttl_ms", std::to_string(Millis(record.max_ttl)));
  field("fence_retention_ms", std::to_string(Millis(record.fence_retention)));
  field("wait_ms", std::to_string(Millis(record.wait)));
  for (const Member& member : record.members) field("member", member.id + ' ' + member.name);
  for (const Member& member : record.before) field("before", member.id + ' ' + member.name);
  for (const std::string& name : record.wanted_add) field("add", name);
  for (const std::string& id : record.wanted_remove) field("remove", id);
  return text;
}

std::optional<SetRecord> DecodeRecord(std::string_view text) {
  SetRecord record;
  bool first = true;
  while (!text.empty()) {
    const std::string_view line = text.substr(0, text.find('\n'));
    text.remove_prefix(std::min(line.size() + 1, text.size()));
    if (std::exchange(first, false) ? line != kFormat : !ParseField(line, record)) {
      return std::nullopt;
    }
  }
  if (!IsComplete(record)) return std::nullopt;
  return record;
}

std::string StampOf(const SetRecord& record) {
  return std::to_string(record.epoch) + '-' + std::to_string(Fnv1a(Encode(record)));
}

}  // namespace redlock
