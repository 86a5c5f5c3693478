package io.redlockd.internal.core;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertFalse;
import static org.junit.jupiter.api.Assertions.assertNull;
import static org.junit.jupiter.api.Assertions.assertTrue;

import io.redlockd.KeyState;
import io.redlockd.KeyState.State;
import io.redlockd.redlock.v1.Holder;
import io.redlockd.redlock.v1.HolderState;
import io.redlockd.redlock.v1.LockMode;
import io.redlockd.redlock.v1.ObserveResponse;
import java.time.Duration;
import java.util.Optional;
import org.junit.jupiter.api.Test;

/** What an observer reports. */
class ObservationTest {
  private static final long START = 3600 * Times.SECONDS;
  private static final ObserveResponse VACANT = of(HolderState.HOLDER_STATE_VACANT).build();

  private final Observation observation = new Observation(START);

  private static ObserveResponse.Builder of(HolderState state) {
    return ObserveResponse.newBuilder().setState(state);
  }

  private static ObserveResponse.Builder held(long fence, String value) {
    return of(HolderState.HOLDER_STATE_HELD)
        .setHolders(1)
        .setOwner("one")
        .setValue(value)
        .setFencingToken(fence)
        .setRemaining(Times.proto(10 * Times.SECONDS))
        .addHeldBy(Holder.newBuilder().setOwner("one").setFencingToken(fence).setValue(value));
  }

  private String next(ObserveResponse.Builder response) {
    observation.onState(response.build(), START);
    return text();
  }

  private String text() {
    KeyState state = observation.take();
    return state == null ? "nothing" : state.state() + " " + state.fencingToken() + " " + state.value() + state.message();
  }

  @Test
  void theFieldsArrive() {
    ObserveResponse response = held(7, "v")
        .setHeldFor(Times.proto(3 * Times.SECONDS))
        .setMode(LockMode.LOCK_MODE_SHARED)
        .setMaxHolders(4)
        .setHeldBy(0, Holder.newBuilder()
            .setOwner("one").setIdentity("id").setPeer("peer").setDaemon("host").setFencingToken(7).setSlot(2)
            .setHeldFor(Times.proto(Times.SECONDS)).setRemaining(Times.proto(Times.SECONDS)).setValue("w"))
        .build();
    observation.onState(response, START);
    KeyState state = observation.take();
    assertEquals(State.HELD, state.state());
    assertEquals(1, state.holders());
    assertEquals("one", state.owner());
    assertEquals("v", state.value());
    assertEquals(7, state.fencingToken());
    assertEquals(Optional.of(Duration.ofSeconds(3)), state.heldFor());
    assertEquals(Duration.ofSeconds(10), state.remaining());
    assertTrue(state.shared());
    assertEquals(4, state.maxHolders());
    assertEquals(Optional.empty(), state.keptFor());
    io.redlockd.Holder holder = state.heldBy().get(0);
    assertEquals(
        new io.redlockd.Holder(
            "one", "id", "peer", "host", 7, 2, Optional.of(Duration.ofSeconds(1)), Duration.ofSeconds(1), "w"),
        holder);
    observation.onState(VACANT.toBuilder().setKeptFor(Times.proto(Times.SECONDS)).build(), START);
    state = observation.take();
    assertEquals(Optional.of(Duration.ofSeconds(1)), state.keptFor());
    assertEquals(Optional.empty(), state.heldFor());
    assertFalse(state.shared());
  }

  @Test
  void aStateIsNotRepeated() {
    assertEquals("HELD 7 v", next(held(7, "v")));
    assertEquals("nothing", next(held(7, "v").setRemaining(Times.proto(Times.SECONDS)).setHeldFor(Times.proto(1))));
    assertEquals("HELD 7 w", next(held(7, "w")));
    assertEquals("HELD 7 w", next(held(7, "w").setOwner("two")));
    assertEquals("HELD 8 w", next(held(8, "w")));
    assertEquals("HELD 8 w", next(held(8, "w").setHolders(2)));
    assertEquals("VACANT 0 ", next(VACANT.toBuilder()));
    assertEquals("nothing", next(VACANT.toBuilder()));
    assertEquals("VACANT 0 ", next(VACANT.toBuilder().setKeptFor(Times.proto(Times.SECONDS))));
    assertEquals("nothing", next(VACANT.toBuilder().setKeptFor(Times.proto(1))));
    assertEquals("UNDECIDED 0 why", next(of(HolderState.HOLDER_STATE_UNDECIDED).setMessage("why")));
    assertEquals("nothing", next(of(HolderState.HOLDER_STATE_UNDECIDED).setMessage("another why")));
  }

  @Test
  void anotherKindOfHolderIsAChange() {
    assertEquals("HELD 7 ", next(held(7, "")));
    assertEquals("HELD 7 ", next(shared(7, 1)));
    assertEquals("HELD 7 ", next(held(7, "").setMaxHolders(2)));
    assertEquals("HELD 7 ", next(held(7, "").setMaxHolders(3)));
  }

  @Test
  void anotherHolderOfAShareIsAChange() {
    assertEquals("HELD 7 ", next(held(7, "").setHeldBy(0, Holder.newBuilder().setFencingToken(5))));
    assertEquals("HELD 7 ", next(held(7, "").setHeldBy(0, Holder.newBuilder().setFencingToken(6))));
  }

  @Test
  void fencingTokensDoNotGoBack() {
    assertEquals("HELD 9 ", next(held(9, "")));
    assertEquals("nothing", next(held(7, "")));
    assertEquals("VACANT 0 ", next(VACANT.toBuilder()));
    assertEquals("nothing", next(held(8, "")));
    assertEquals("HELD 9 again", next(held(9, "again")));
    assertEquals("HELD -1 ", next(held(-1, ""))); // fencing tokens have no sign
    assertEquals("nothing", next(held(10, "")));
  }

  private static ObserveResponse.Builder shared(long fence, int holders) {
    return held(fence, "").setMode(LockMode.LOCK_MODE_SHARED).setHolders(holders);
  }

  @Test
  void theLastOfSeveralHoldersMayLeaveFirst() {
    assertEquals("HELD 5 ", next(held(5, "")));
    assertEquals("HELD 9 ", next(shared(9, 2)));
    assertEquals("HELD 9 ", next(shared(7, 1))); // is reported, and not as a step back
    assertEquals("nothing", next(shared(4, 2))); // from before the exclusive holder
    assertEquals("nothing", next(held(8, "")));
    assertEquals("HELD 10 ", next(held(10, "").setMaxHolders(3)));
    assertEquals("HELD 10 ", next(held(6, "").setMaxHolders(3)));
  }

  @Test
  void aStateOfALaterVersionIsIgnored() {
    assertEquals("nothing", next(of(HolderState.HOLDER_STATE_UNSPECIFIED)));
    assertEquals("nothing", next(ObserveResponse.newBuilder().setStateValue(17)));
  }

  @Test
  void aSlowReaderGetsTheLatestState() {
    next(VACANT.toBuilder());
    observation.onState(held(7, "").build(), START);
    observation.onState(held(8, "").build(), START);
    assertEquals("HELD 8 ", text());
    assertEquals("nothing", text());
    observation.onState(VACANT, START);
    observation.onState(held(8, "").build(), START);
    assertEquals("nothing", text()); // as the reader knows it
  }

  // --- Without a daemon

  private String undecidedAt(long at) {
    observation.tick(at - 1);
    assertNull(observation.take(), "too early");
    assertEquals(at, observation.nextDeadline());
    observation.tick(at);
    assertEquals(Times.NEVER, observation.nextDeadline());
    return text();
  }

  @Test
  void withoutAnAnswerTheBeginningIsUndecidedAfterASecond() {
    observation.onBroken("refused", START + 1);
    assertEquals("UNDECIDED 0 refused", undecidedAt(START + Times.SECONDS));
    observation.onBroken("refused again", START + 2 * Times.SECONDS); // reported once
    assertEquals(Times.NEVER, observation.nextDeadline());
    assertEquals("VACANT 0 ", next(VACANT.toBuilder()));
  }

  @Test
  void theLastHolderStandsUntilItsLockExpires() {
    observation.onState(held(7, "v").build(), START);
    text();
    assertEquals(Times.NEVER, observation.nextDeadline());
    observation.onBroken("reset", START + 4 * Times.SECONDS);
    observation.onBroken("refused", START + 5 * Times.SECONDS); // does not begin again
    assertEquals("UNDECIDED 0 refused", undecidedAt(START + 10 * Times.SECONDS));
    assertEquals("HELD 7 v", next(held(7, "v"))); // not a repetition
  }

  @Test
  void aLockThatWasExtendedStandsForASecond() {
    observation.onState(held(7, "v").build(), START);
    text();
    observation.onBroken("reset", START + 60 * Times.SECONDS);
    assertEquals("UNDECIDED 0 reset", undecidedAt(START + 61 * Times.SECONDS));
  }

  @Test
  void vacantStandsForASecond() {
    observation.onState(VACANT, START);
    text();
    observation.onBroken("reset", START + 60 * Times.SECONDS);
    assertEquals("UNDECIDED 0 reset", undecidedAt(START + 61 * Times.SECONDS));
  }

  @Test
  void aNewStreamInTimeChangesNothing() {
    observation.onState(VACANT, START);
    text();
    observation.onBroken("reset", START);
    assertEquals("nothing", next(VACANT.toBuilder()));
    assertEquals(Times.NEVER, observation.nextDeadline());
  }

  @Test
  void anEarlierHolderDecidesNothing() {
    observation.onState(held(9, "").build(), START);
    text();
    observation.onBroken("reset", START);
    assertEquals("nothing", next(held(7, "")));
    assertEquals("UNDECIDED 0 reset", undecidedAt(START + 10 * Times.SECONDS));
  }
}
