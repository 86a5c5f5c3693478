package io.redlockd.internal.core;

import static org.junit.jupiter.api.Assertions.assertTrue;

import io.redlockd.internal.Driver;
import io.redlockd.internal.Options;
import java.util.List;
import java.util.concurrent.CountDownLatch;
import java.util.concurrent.TimeUnit;
import org.junit.jupiter.api.Test;

/** The thread that tells the machine the time. */
class ClockThreadTest {
  @Test
  void anErrorDoesNotStopIt() throws Exception {
    Driver driver = new Driver(new Options(
        List.of("127.0.0.1:1"), "me", World.GRACE, Times.SECONDS, Times.SECONDS, false, null, null, null, null, null));
    CountDownLatch later = new CountDownLatch(1);
    driver.act(machine -> {
      machine.timers.add(machine.now() + 10 * Times.MILLIS, () -> {
        throw new IllegalStateException("a fault of the client");
      });
      machine.timers.add(machine.now() + 50 * Times.MILLIS, later::countDown);
    });
    assertTrue(later.await(10, TimeUnit.SECONDS));
    driver.close().join();
  }
}
