// The safeguards that mutation tests remove one by one, to prove that some test fails without each
// (tests/sim/mutants.cmake). Each safeguard protects one promise. List every new safeguard here.
#pragma once

namespace redlock {

enum class Safeguard {
  // Rounds
  kDrift,                 // the validity excludes clock drift
  kValidityAtDecision,    // a quorum that grants too late is not a lock
  kRepairsDoNotVote,      // an extension counts only nodes that still held the key
  kFencesAgree,           // an extension makes the fences of the nodes agree
  kRaiseAboveAll,         // it raises them above the fence of every holder
  kAdoptedFencesAgree,    // an acquisition that finds the lock held unifies them too
  kFenceComparedByGrant,  // a node grants only above the fence that it stores
  kFenceComparedByHandOver,
  kFloorCompared,          // and above those of locks that it has forgotten
  kGrantsNoted,            // which include those of grants
  kSealsNoted,             // and the seals of releases
  kMarkRaisesFloor,        // and all of them after a jump of its clock
  kRepairRaisesTheFence,   // a repair stores a fence above the one on the node
  kRollBack,               // the grants of a lost attempt are rolled back
  kRollBackLateGrant,      // even if the roll-back overtook the grant
  kNoRepairDuringRelease,  // no node is repaired while the lock is released
  kHandOverFreesTheRest,   // nodes that missed a hand-over are freed
  // Several keys
  kAllOrNothing,  // a node grants all keys of a claim or none
  kAllExtended,   // only a node that holds all keys votes for an extension
  // Shared keys
  kMarkerStaysForOthers,  // the end of one share leaves the key to the others
  kMarkerOutlivesShares,  // the key is not free before the last share has expired
  kExclusiveAboveShares,  // the fence of an exclusive holder exceeds those of all before it
  kSharesAboveExclusive,  // the fence of a share exceeds those of the exclusive holders before it
  kDowngradeEndsTrust,    // trust in the exclusive lease ends before the downgrade is sent
  kDowngradeComparesTheFence,  // a late downgrade leaves a later exclusive hold alone
  kIntentStopsShares,          // no share overtakes an exclusive acquisition that waits
  // Semaphores
  kLimitCompared,    // nobody gets a slot of a semaphore that has another limit
  kSlotCompared,     // only a node where the token has this slot votes for an extension
  kSlotsAgree,       // an extension that names no slot counts only nodes with the same one
  kOneSlotOfAToken,  // a token gets no second slot on a node
  kSlotAboveSeals,   // a late release of one slot does not end a later hold of another one
  // Releases of reusable tokens
  kSeal,                  // a late copy of a release does not end a later hold
  kRepeatWithHigherSeal,  // a releaser whose clock is behind retries
  kSealOnlyWhatIsHeld,    // a release by a non-holder leaves the fence alone
  kDenialOfAllNodes,      // "not held" without a seal waits for all nodes
  kSealOfAllKeys,         // a node that released only some of several keys has not sealed them
  // Lock delays, kept keys and values
  kExtensionAddsDelay,   // an extension keeps the delay of a lease
  kRepairCarriesTerms,   // so does a repair, and the value and the time of the acquisition
  kDelaysAgree,          // nodes that know a token from different holds take the longer delay
  kSilenceLeavesDelay,   // the lease of a client that is silent stays taken for its delay
  kKeptIsRemembered,     // the key of a repeated release is kept, not free
  kKeepFromAcquisition,  // the time that a key is kept counts from its acquisition
  kNewestValue,          // a value that was proclaimed before another does not replace it
  // Watchdogs and streams
  kLossInTime,            // LOST is reported when the validity ends
  kLossExpires,           // a lost lease is not released
  kBrokenStreamExpires,   // a broken or half-closed stream does not release
  kSilenceFromReading,    // the grace counts from the last message read
  kEndComparesTheStream,  // a stream's end spares a lease that a later stream adopted
  kRepairNamesTheStream,  // also on a node that was repaired
  kAdoptionsInOrder,      // a delayed adoption does not replace a later one
  kFoundHeldExpires,      // silence does not release a lease that extend_if_held found
  kGiveUpNamesTheStream,  // giving up a lease spares a later hold of its token
  // Observers
  kUndecidedIsNotVacant,     // nodes that do not agree are never reported as "no holder"
  kQuarantinedIsNotVacant,   // a quarantined node may have forgotten the holder
  kObservedFencesAgree,      // a holder is reported only if a quorum stores the same fence for it
  kObservedFencesNeverFall,  // an earlier holder is not reported after a later one
  kReadAtExpiry,             // the end of a TTL is noticed, which no node announces
  kReadWhenListening,        // so is a change from before the node announced changes
  // Node guard
  kQuarantine,
  kMarkComparedByGrant,
  kMarkNamesTheRun,
  kGrantByWrongClock,
  kReadByWrongClock,
  kSecondLoss,
  kOldDataDoesNotExtend,
  kUptimeOfUnknownRun,
  kStepIsNoDrift,        // a gain of a clock that was not read for long counts as a step
  kPausePublished,       // daemons that start later know of a jump or an eviction
  kJumpOfAllNodes,       // a step of one node is not taken for a jump of the daemon's own clock
  kSuspendIsProven,      // nor are equal steps of all nodes, unless the machine was suspended
  kDurabilityWithdrawn,  // a node that is no longer durable loses its durable mark
  kEvictionQuarantined,  // a node that may evict locks grants none
  kHealthNeedsGrants,    // a daemon whose nodes cannot grant is not healthy
  // Node sets
  kQuarantineOfTheSet,    // quarantines take the longest TTL of the set, not of the daemon
  kNewSetNeedsAllNodes,   // a set is created only if no node can have a record
  kStampComparedByGrant,  // a node with another record has no vote
  kStampComparedByExtension,
  kStampComparedByRepair,
  kStampComparedByRead,
  kMarkComparedByRead,      // a node that lost its data does not read as vacant
  kStampComparedByMark,     // a quarantine that is too short for the set's longest TTL is not ended
  kPromise,                 // a member that promised a ballot accepts no lower one
  kMarkComparedByAccept,    // a member that forgot its promise accepts nothing
  kHighestAccepted,         // a proposal that may have been decided is made again
  kWaitBetweenChanges,      // leases of an epoch have expired before the set differs by two members
  kPutBackNeedsHolders,     // a released key is not put back after a change
  kFenceComparedByPutBack,  // nor is a lease that another one has followed
  kReadmission,       // a node that lost its data learns what the others promised and accepted
  kRoundKeepsItsSet,  // all votes of a round are counted by one record
};

#ifdef REDLOCK_WITHOUT
[[nodiscard]] constexpr bool Has(Safeguard safeguard) {
  return safeguard != Safeguard::REDLOCK_WITHOUT;
}
#else
[[nodiscard]] constexpr bool Has(Safeguard /*safeguard*/) { return true; }
#endif

}  // namespace redlock
