package io.redlockd;

import java.time.Duration;
import java.util.Optional;

/**
 * A holder of a key, for people. Immutable.
 *
 * @param owner the label that the holder gave, or empty
 * @param identity the identity of the holder, if its daemon requires credentials; otherwise empty
 * @param peer the address from which the holder acquired the lock
 * @param daemon the daemon that acquired the lock
 * @param fencingToken the fencing token
 * @param slot the slot of a semaphore; 0: the key is none
 * @param heldFor for how long the lock has been held, by the clocks of the nodes; empty: unknown
 * @param remaining after which time the lock expires unless it is extended
 * @param value the value that the holder publishes, or empty
 */
public record Holder(
    String owner,
    String identity,
    String peer,
    String daemon,
    long fencingToken,
    int slot,
    Optional<Duration> heldFor,
    Duration remaining,
    String value) {}
