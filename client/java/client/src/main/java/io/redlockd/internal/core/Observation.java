package io.redlockd.internal.core;

import io.redlockd.Holder;
import io.redlockd.KeyState;
import io.redlockd.KeyState.State;
import io.redlockd.redlock.v1.HolderState;
import io.redlockd.redlock.v1.LockMode;
import io.redlockd.redlock.v1.ObserveResponse;
import java.time.Duration;
import java.util.List;
import java.util.Optional;

/**
 * Decides what an observer reports. Keeps one state for a caller that is slow: the latest. Not thread-safe.
 *
 * <p>While no daemon reports, the last state stands for as long as its holder's lock lasts if it is not extended, and for a second at
 * least. Then it becomes UNDECIDED.
 */
public final class Observation {
  private static final long STANDS = Times.SECONDS;

  private KeyState latest; // to be reported; null: none
  private State stands; // the last state that counts; null: none
  private KeyState reported; // null: none
  private long highestFence;
  private long exclusiveFence; // the highest of those who did not share the key
  private long expires = Times.LONG_AGO; // of the lock in the latest state, unless it has been extended
  private long undecidedAt; // NEVER: a daemon reports
  private String why = "no daemon has answered yet";

  /** Begins without a stream. */
  public Observation(long now) {
    undecidedAt = Times.after(now, STANDS);
  }

  /** A daemon has reported a state. Does nothing if the state is that of an earlier holder. */
  public void onState(ObserveResponse response, long now) {
    if (isOutdated(response)) {
      return;
    }
    KeyState state = read(response, highestFence);
    if (state == null) {
      return;
    }
    expires = Times.after(now, Times.nanos(state.remaining()));
    undecidedAt = Times.NEVER;
    accept(state);
  }

  // One of several holders may leave, and the others have lower fencing tokens.
  private boolean isOutdated(ObserveResponse response) {
    if (response.getState() != HolderState.HOLDER_STATE_HELD) {
      return false;
    }
    boolean several = response.getMode() == LockMode.LOCK_MODE_SHARED || response.getMaxHolders() != 0;
    long fence = response.getFencingToken();
    if (Long.compareUnsigned(fence, several ? exclusiveFence : highestFence) < 0) {
      return true;
    }
    if (!several) {
      exclusiveFence = fence;
    }
    highestFence = Long.compareUnsigned(fence, highestFence) > 0 ? fence : highestFence;
    return false;
  }

  /** No daemon reports at present. */
  public void onBroken(String reason, long now) {
    why = reason;
    if (undecidedAt == Times.NEVER && stands != State.UNDECIDED) {
      undecidedAt = Math.max(expires, Times.after(now, STANDS));
    }
  }

  /** When {@link #tick} must be called next; NEVER: nothing is due. */
  public long nextDeadline() {
    return undecidedAt;
  }

  /** Does what is due. */
  public void tick(long now) {
    if (undecidedAt <= now) {
      undecidedAt = Times.NEVER;
      accept(undecided(why));
    }
  }

  private void accept(KeyState state) {
    latest = state;
    stands = state.state();
    if (stands == State.UNDECIDED) {
      why = state.message();
    }
  }

  /** Why no state is known. */
  public String why() {
    return why;
  }

  /** Whether {@link #take} may return a state. */
  public boolean isPending() {
    return latest != null;
  }

  /** Returns the state that is to be reported next; null: none. */
  public KeyState take() {
    KeyState next = latest;
    latest = null;
    if (next == null || (reported != null && isSame(next, reported))) {
      return null;
    }
    reported = next;
    return next;
  }

  // Times pass, and UNDECIDED is reported once.
  private static boolean isSame(KeyState one, KeyState other) {
    return one.state() == other.state()
        && one.holders() == other.holders()
        && one.shared() == other.shared()
        && one.maxHolders() == other.maxHolders()
        && one.fencingToken() == other.fencingToken()
        && one.owner().equals(other.owner())
        && one.value().equals(other.value())
        && one.keptFor().isPresent() == other.keptFor().isPresent()
        && one.heldBy().stream().map(Published::of).toList().equals(other.heldBy().stream().map(Published::of).toList());
  }

  /** What does not change by itself. */
  private record Published(long fencingToken, int slot, String owner, String value) {
    static Published of(Holder holder) {
      return new Published(holder.fencingToken(), holder.slot(), holder.owner(), holder.value());
    }
  }

  private static KeyState undecided(String message) {
    return new KeyState(
        State.UNDECIDED, 0, "", "", 0, Optional.empty(), Duration.ZERO, List.of(), false, 0, Optional.empty(), message);
  }

  // Null: of a kind that this version of the client does not know.
  private static KeyState read(ObserveResponse response, long fence) {
    State state = switch (response.getState()) {
      case HOLDER_STATE_HELD -> State.HELD;
      case HOLDER_STATE_VACANT -> State.VACANT;
      case HOLDER_STATE_UNDECIDED -> State.UNDECIDED;
      case HOLDER_STATE_UNSPECIFIED, UNRECOGNIZED -> null;
    };
    if (state == null) {
      return null;
    }
    return new KeyState(
        state,
        response.getHolders(),
        response.getOwner(),
        response.getValue(),
        state == State.HELD ? fence : 0,
        response.hasHeldFor() ? Optional.of(duration(response.getHeldFor())) : Optional.empty(),
        duration(response.getRemaining()),
        response.getHeldByList().stream().map(Observation::read).toList(),
        response.getMode() == LockMode.LOCK_MODE_SHARED,
        response.getMaxHolders(),
        response.hasKeptFor() ? Optional.of(duration(response.getKeptFor())) : Optional.empty(),
        response.getMessage());
  }

  private static Holder read(io.redlockd.redlock.v1.Holder holder) {
    return new Holder(
        holder.getOwner(),
        holder.getIdentity(),
        holder.getPeer(),
        holder.getDaemon(),
        holder.getFencingToken(),
        holder.getSlot(),
        holder.hasHeldFor() ? Optional.of(duration(holder.getHeldFor())) : Optional.empty(),
        duration(holder.getRemaining()),
        holder.getValue());
  }

  private static Duration duration(com.google.protobuf.Duration duration) {
    return Duration.ofNanos(Times.nanos(duration));
  }
}
