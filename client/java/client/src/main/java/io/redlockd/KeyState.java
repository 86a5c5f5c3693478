package io.redlockd;

import java.time.Duration;
import java.util.List;
import java.util.Optional;

/**
 * What an {@link KeyObserver} reports of a key. Immutable. What is not stated otherwise is set for HELD only.
 *
 * @param state whether the key is held
 * @param holders the number of holders: more than 1 only if they share the key or if it is a semaphore
 * @param owner the label of the exclusive holder, or empty
 * @param value the value that the exclusive holder publishes, or empty
 * @param fencingToken the fencing token of the holder, or the highest of all holders that were reported so far. A leader's messages
 *     carry it, so that whoever receives them can refuse those of an earlier leader
 * @param heldFor for how long the exclusive holder has held the key, by the clocks of the nodes; empty: unknown
 * @param remaining after which time the lock expires unless it is extended; extensions are not reported
 * @param heldBy the holders, in the order of their fencing tokens
 * @param shared whether the key is shared
 * @param maxHolders the limit of the semaphore; 0: the key is none
 * @param keptFor for VACANT: for how long nobody will be granted the key although nobody holds it, because of {@link
 *     AcquireOptions#withKeepFor} or {@link AcquireOptions#withLockDelay}; empty: the key is free
 * @param message for UNDECIDED: why, for people
 */
public record KeyState(
    State state,
    int holders,
    String owner,
    String value,
    long fencingToken,
    Optional<Duration> heldFor,
    Duration remaining,
    List<Holder> heldBy,
    boolean shared,
    int maxHolders,
    Optional<Duration> keptFor,
    String message) {
  /** What is known of the holder of a key. */
  public enum State {
    /** A quorum of nodes names the same holder with the same fencing token. */
    HELD,
    /** A quorum of nodes has no holder. */
    VACANT,
    /**
     * Neither could be confirmed for as long as the last holder's TTL, or for a second if there was none. The key may be held: by
     * the last holder or by another one.
     */
    UNDECIDED
  }
}
