package io.redlockd.internal.core;

import static org.junit.jupiter.api.Assertions.assertEquals;

import java.util.ArrayList;
import java.util.List;
import org.junit.jupiter.api.Test;

class TimersTest {
  private final Timers timers = new Timers();
  private final List<String> ran = new ArrayList<>();

  @Test
  void actionsRunInOrder() {
    timers.add(2, () -> ran.add("b"));
    timers.add(1, () -> ran.add("a"));
    timers.add(2, () -> ran.add("c"));
    timers.add(3, () -> ran.add("d"));
    timers.run(2);
    assertEquals(List.of("a", "b", "c"), ran);
    assertEquals(3, timers.next());
  }

  @Test
  void cancelledActionsDoNotRun() {
    List<Timers.Timer> added = new ArrayList<>();
    for (int i = 0; i < 1000; ++i) {
      added.add(timers.add(i, () -> ran.add("no")));
    }
    timers.add(500, () -> ran.add("yes"));
    added.forEach(Timers.Timer::cancel);
    added.forEach(Timers.Timer::cancel);
    assertEquals(500, timers.next());
    timers.run(1000);
    assertEquals(List.of("yes"), ran);
    assertEquals(Times.NEVER, timers.next());
  }

  @Test
  void sumsDoNotOverflow() {
    assertEquals(Times.NEVER, Times.after(Long.MAX_VALUE - 1, 2));
    assertEquals(Times.LONG_AGO, Times.after(Long.MIN_VALUE + 1, -2));
    assertEquals(Times.LONG_AGO, Times.after(Times.LONG_AGO, 5));
    assertEquals(Times.NEVER, Times.after(Times.NEVER, -5));
  }
}
