package io.redlockd.internal;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertThrows;
import static org.junit.jupiter.api.Assertions.assertTrue;

import io.redlockd.internal.core.Times;
import java.io.IOException;
import java.util.Random;
import org.junit.jupiter.api.Test;

/** The clock that counts suspend time, over clocks that the test sets. */
class BootClockTest {
  private static final long RESOLUTION = 10 * Times.MILLIS;

  private long running = 5_000 * Times.SECONDS; // stands still during a suspend
  private long booted = 7_777 * Times.SECONDS + 3 * Times.MILLIS; // the true time
  private int readings;
  private final BootClock clock = new BootClock(() -> running, this::coarse, RESOLUTION);

  private long coarse() {
    ++readings;
    return booted / RESOLUTION * RESOLUTION;
  }

  private void run(long time) {
    running += time;
    booted += time;
  }

  @Test
  void itRunsWithThePreciseClock() {
    long before = clock.now();
    run(300_000);
    assertEquals(before + 300_000, clock.now());
  }

  @Test
  void itCountsASuspend() {
    run(20 * Times.MILLIS);
    long before = clock.now();
    booted += 3_600 * Times.SECONDS;
    run(2 * Times.MILLIS);
    long counted = clock.now() - before;
    assertTrue(counted >= 3_600 * Times.SECONDS - RESOLUTION, () -> "counted " + counted);
    assertTrue(counted <= 3_600 * Times.SECONDS + RESOLUTION + 2 * Times.MILLIS, () -> "counted " + counted);
    assertEquals(1, clock.suspends());
  }

  @Test
  void itIsNeverBehindByMoreThanItsErrorHoweverOftenTheMachineSleeps() {
    Random random = new Random(1);
    long began = booted;
    long before = clock.now();
    for (int i = 0; i < 2_000; ++i) {
      run((long) (random.nextDouble() * 5 * Times.MILLIS));
      booted += (long) (random.nextDouble() * 15 * Times.MILLIS);
      run(Times.MILLIS);
      long behind = booted - began - (clock.now() - before);
      assertTrue(behind <= clock.error(), () -> "behind by " + behind);
      assertTrue(behind >= -RESOLUTION, () -> "ahead by " + -behind);
    }
  }

  @Test
  void withoutASuspendNoneIsFound() {
    for (int i = 0; i < 1_000; ++i) {
      run(1_700_000);
      clock.now();
    }
    assertEquals(0, clock.suspends());
  }

  @Test
  void theCoarseClockIsReadOncePerMillisecond() {
    int before = readings;
    for (int i = 0; i < 1_000; ++i) {
      run(10_000);
      clock.now();
    }
    assertTrue(readings - before <= 10, () -> "read " + readings + " times");
  }

  @Test
  void theClockOfThisMachineRuns() throws InterruptedException {
    long before = BootClock.SYSTEM.now();
    Thread.sleep(20);
    assertTrue(BootClock.SYSTEM.now() - before >= 20 * Times.MILLIS);
  }

  @Test
  void uptimeIsParsed() throws IOException {
    assertEquals(66_418_100 * Times.MILLIS, BootClock.Uptime.parse("66418.10 30360.37\n"));
    assertThrows(IOException.class, () -> BootClock.Uptime.parse(""));
    assertThrows(IOException.class, () -> BootClock.Uptime.parse("x.10 1"));
  }
}
