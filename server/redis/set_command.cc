#include "server/redis/set_command.h"

#include <charconv>
#include <optional>
#include <string_view>
#include <utility>

#include "server/core/format.h"
#include "server/redis/node_error.h"
#include "server/redis/replies.h"
#include "server/redis/scripts.h"

namespace redlock::redis {
namespace {

constexpr std::size_t kDigits = 20;  // of each number of a ballot

std::string MillisText(Duration duration) { return std::to_string(Millis(duration)); }

// With leading zeros and without letters, so that the order of the texts, which depends on the
// node's locale, is that of the numbers.
std::string BallotText(const Ballot& ballot) {
  std::string text;
  for (const std::uint64_t number : {ballot.number, ballot.proposer}) {
    const std::string digits = std::to_string(number);
    text += std::string(kDigits - digits.size(), '0') + digits;
  }
  return text;
}

// An empty text is the lowest ballot.
std::optional<Ballot> BallotOf(std::string_view text) {
  Ballot ballot;
  if (text.empty()) return ballot;
  if (text.size() != 2 * kDigits) return std::nullopt;
  const auto parse = [](std::string_view digits, std::uint64_t& number) {
    const char* const end = digits.data() + digits.size();
    const auto [rest, error] = std::from_chars(digits.data(), end, number);
    return error == std::errc() && rest == end;
  };
  const bool valid =
      parse(text.substr(0, kDigits), ballot.number) && parse(text.substr(kDigits), ballot.proposer);
  return valid ? std::optional(ballot) : std::nullopt;
}

// False if the node stores a text that is not a record.
bool ParseRecord(std::string_view text, std::optional<SetRecord>& record) {
  if (!text.empty()) record = DecodeRecord(text);
  return text.empty() == !record;
}

bool ParseState(const redisReply& reply, SetState& state) {
  const auto word = [&reply](std::size_t i) { return TextOf(*reply.element[i]); };
  state.member = word(1);
  const auto promised = BallotOf(word(3));
  const auto ballot = BallotOf(word(4));
  std::optional<SetRecord> accepted;
  if (!ParseRecord(word(2), state.record) || !ParseRecord(word(5), accepted)) return false;
  if (!promised || !ballot) return false;
  state.promised = *promised;
  if (accepted) state.accepted = Proposal{*ballot, std::move(*accepted)};
  state.readmitted = word(6);
  state.wait = std::chrono::milliseconds(std::max(reply.element[7]->integer, 0LL));
  ParseMark(word(8), state.stamp, state.mark);
  return true;
}

}  // namespace

std::vector<std::string> SetCommand(const SetStep& step) {
  std::vector<std::string> words = {"EVAL",
                                    std::string(NodeSetSource()),
                                    "3",
                                    std::string(kMarkKey),
                                    std::string(kNodeKey),
                                    std::string(kWaitKey)};
  const auto add = [&words](std::initializer_list<std::string> more) {
    words.insert(words.end(), more);
  };
  const SetRecord& record = step.record;
  switch (step.kind) {
    case SetStep::Kind::kRead:
      add({"read"});
      break;
    case SetStep::Kind::kEnroll:
      add({"enroll", step.member, step.mark, step.replaces});
      break;
    case SetStep::Kind::kFound:
      add({"found", step.member, Encode(record)});
      break;
    case SetStep::Kind::kPrepare:
      add({"prepare", step.mark, std::to_string(step.epoch), BallotText(step.ballot)});
      break;
    case SetStep::Kind::kAccept:
      add({"accept", step.mark, std::to_string(step.epoch), BallotText(step.ballot), Encode(record),
           StampOf(record), MillisText(record.wait), step.back ? "1" : "0"});
      break;
    case SetStep::Kind::kLearn:
      add({"learn", step.member, Encode(record), std::to_string(record.epoch), StampOf(record),
           MillisText(record.wait)});
      break;
    case SetStep::Kind::kReadmit: {
      add({"readmit", step.mark, step.new_mark, step.member, Encode(record),
           std::to_string(record.epoch), StampOf(record), BallotText(step.ballot)});
      if (step.accepted) {
        const SetRecord& accepted = step.accepted->record;
        add({BallotText(step.accepted->ballot), Encode(accepted), StampOf(accepted),
             MillisText(WaitAfterReadmission(step))});
      } else {
        add({"", "", "", MillisText(WaitAfterReadmission(step))});
      }
      break;
    }
  }
  return words;
}

SetReply ParseSetReply(const redisReply& reply) {
  constexpr std::size_t kWords = 9;
  if (reply.type == REDIS_REPLY_ERROR) return {.state = {}, .error = DescribeError(TextOf(reply))};
  if (reply.type != REDIS_REPLY_ARRAY || reply.elements != kWords) {
    return {.state = {}, .error = "unexpected reply"};
  }
  SetReply parsed;
  if (!ParseState(reply, parsed.state)) {
    return {.state = {}, .error = "it stores a node set that this version cannot read"};
  }
  parsed.done = reply.element[0]->integer == 1;
  parsed.answered = true;
  return parsed;
}

}  // namespace redlock::redis
