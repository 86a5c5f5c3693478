// The guard's mark on a node, as text.
//
//   <run>        trusted: the node has kept its data since this run of its server marked it
//   <run>+       and it was durable then
//   *<run>:<n>   fresh: it was empty when it was enrolled, and has carried no lock since
//   ?<run>:<n>   quarantined: it had lost its data
//   !<run>:<n>   quarantined: it may have old data
//
// <run> is the beginning of the run id that the server draws at startup, and <n> a random number,
// so that a second loss shows.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

namespace redlock {

inline constexpr char kDurableMark = '+';
inline constexpr char kFreshMark = '*';
inline constexpr char kEmptiedMark = '?';
inline constexpr char kOldDataMark = '!';

// The part of a run id that a mark names: 16 of 40 hexadecimal digits, which is 64 bits.
[[nodiscard]] inline std::string RunOf(std::string_view run_id) {
  constexpr std::size_t kDigits = 16;
  return std::string(run_id.substr(0, kDigits));
}

[[nodiscard]] inline std::string MakeMark(char kind, std::string_view run, std::uint64_t number) {
  return kind + std::string(run) + ':' + std::to_string(number);
}

[[nodiscard]] inline bool IsFresh(std::string_view mark) { return mark.starts_with(kFreshMark); }

// No lock can have been granted since the node had no data.
[[nodiscard]] inline bool IsBlank(std::string_view mark) { return mark.empty() || IsFresh(mark); }

[[nodiscard]] inline bool IsProvisional(std::string_view mark) {
  return mark.starts_with(kEmptiedMark) || mark.starts_with(kOldDataMark);
}

// Whether a fresh or provisional mark was made in this run.
[[nodiscard]] inline bool NamesRun(std::string_view mark, std::string_view run) {
  return mark.size() > run.size() && mark.substr(1, run.size()) == run;
}

}  // namespace redlock
