// The safeguards that the tests take out one by one, to see that something fails without them
// (tests/sim/mutants.cmake). Each protects one promise; whoever adds one adds it here.
#pragma once

namespace redlock {

enum class Safeguard {
  // Rounds
  kDrift,                 // validity leaves out the drift of clocks
  kValidityAtDecision,    // a quorum that was reached too late is no lock
  kRepairsDoNotVote,      // an extension counts only nodes that still held the key
  kFencesAgree,           // an extension makes the fences of the nodes agree
  kRaiseAboveAll,         // and raises them above what any holder had
  kAdoptedFencesAgree,    // likewise an acquisition that finds the lock held
  kFenceComparedByGrant,  // a node grants only above the fence that it stores
  kFenceComparedByHandOver,
  kRepairRaisesTheFence,   // a node that stores a higher fence is healed above it
  kRollBack,               // what a lost attempt was granted is given back
  kRollBackLateGrant,      // also if its roll-back overtook the grant
  kNoRepairDuringRelease,  // a node is not healed while the lock is released
  kHandOverFreesTheRest,   // nodes that missed a hand-over are freed
  // Releases of tokens that are used again
  kSeal,                  // a late copy does not end a later hold
  kRepeatWithHigherSeal,  // a releaser whose clock is behind tries again
  kSealOnlyWhatIsHeld,    // a stranger's release leaves the holder's fence alone
  kDenialOfAllNodes,      // "not held" without a seal waits for all nodes
  // Watchdogs and streams
  kLossInTime,            // LOST is reported when the validity ends
  kLossExpires,           // what is lost is not released
  kBrokenStreamExpires,   // a stream that breaks or is half-closed does not release
  kSilenceFromReading,    // the grace counts from what was read last
  kEndComparesTheStream,  // a stream's end leaves alone what a later stream has adopted
  kRepairNamesTheStream,  // and so it does on a node that was healed
  kAdoptionsInOrder,      // a delayed adoption does not replace a later one
  kFoundHeldExpires,      // silence does not release what extend_if_held found held
  // The guard of the nodes
  kQuarantine,
  kMarkComparedByGrant,
  kMarkNamesTheRun,
  kGrantByWrongClock,
  kSecondLoss,
  kOldDataDoesNotExtend,
  kNewSetNeedsQuorum,
  kNewSetCountsReachable,
  kUptimeOfUnknownRun,
};

#ifdef REDLOCK_WITHOUT
[[nodiscard]] constexpr bool Has(Safeguard safeguard) {
  return safeguard != Safeguard::REDLOCK_WITHOUT;
}
#else
[[nodiscard]] constexpr bool Has(Safeguard /*safeguard*/) { return true; }
#endif

}  // namespace redlock
