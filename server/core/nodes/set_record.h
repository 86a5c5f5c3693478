// The node set as the nodes store it: who votes, and under which settings. Values; independent of
// threads and clocks.
//
// Every change of the set is a new record with the next epoch. Adjacent epochs differ by at most
// one member, so that any quorum of one meets any quorum of the other.
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "server/core/types.h"

namespace redlock {

// A node that votes. Its id is drawn once and stored on the node itself, so that one server has one
// vote under however many addresses it can be reached.
struct Member {
  std::string id;    // 16 hexadecimal digits
  std::string name;  // the address by which a daemon last reached it; for people, and to find it
  bool operator==(const Member&) const = default;
};

// A set has at most this many members.
inline constexpr std::size_t kMostMembers = 64;

struct SetRecord {
  std::string set_id;  // 16 hexadecimal digits, drawn when the set was created
  std::uint64_t epoch = 0;
  std::vector<Member> members;  // sorted by id, ids distinct
  std::vector<Member> before;   // the members of the previous epoch; empty in the first
  Duration max_ttl{};           // the longest TTL of any lease; whole milliseconds
  Duration fence_retention{};   // how long a key's fencing token outlives its lock; in ms
  // How long a node accepts no other change after it has accepted this record: the longest TTL of
  // this epoch and the one before.
  Duration wait{};
  // The change that is under way. Each step of it is an epoch.
  std::vector<std::string> wanted_add;     // addresses
  std::vector<std::string> wanted_remove;  // ids
  bool operator==(const SetRecord&) const = default;

  // Null if no member has this id.
  [[nodiscard]] const Member* Find(std::string_view id) const;
  [[nodiscard]] bool IsChanging() const { return !wanted_add.empty() || !wanted_remove.empty(); }
  // Whether `next` goes back to the members of the previous epoch and changes nothing else. The
  // nodes accept it without waiting: every quorum of either set meets every quorum of the other.
  [[nodiscard]] bool IsUndoneBy(const SetRecord& next) const;
};

// The record as text of one field per line. Decode() returns nothing for any other text.
[[nodiscard]] std::string Encode(const SetRecord& record);
[[nodiscard]] std::optional<SetRecord> DecodeRecord(std::string_view text);

// Identifies the record in the scripts: the epoch, a hyphen, and a fingerprint of the record. Nodes
// compare it with every step that votes.
[[nodiscard]] std::string StampOf(const SetRecord& record);

// Orders proposals for one epoch (Paxos; Lamport, "Paxos Made Simple", 2001).
struct Ballot {
  std::uint64_t number = 0;    // 0: of the first record of a set, which needs all nodes
  std::uint64_t proposer = 0;  // random, drawn by each proposer
  auto operator<=>(const Ballot&) const = default;
};

struct Proposal {
  Ballot ballot;
  SetRecord record;
  bool operator==(const Proposal&) const = default;
};

// What a node stores about the set.
struct SetState {
  std::string member;                // its id; empty: the node is new, or has lost its data
  std::optional<SetRecord> record;   // the last one that it knows to be decided
  Ballot promised;                   // it accepts no proposal with a lower ballot
  std::optional<Proposal> accepted;  // for the epoch after `record`, not known to be decided
  Duration wait{};                   // remaining: it accepts no change of `record` yet
  std::string readmitted;            // the mark with which it was last readmitted; empty: never
  // What its steps compare: the stamp of `accepted`, or else of `record`, and the guard's mark.
  std::string stamp;
  std::string mark;
};

}  // namespace redlock
