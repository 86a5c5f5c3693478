package io.redlockd.internal;

import java.util.concurrent.Future;
import java.util.concurrent.ScheduledThreadPoolExecutor;
import java.util.concurrent.TimeUnit;

/** Runs short tasks later, on one thread for all clients of the process. */
final class Delays {
  private static final ScheduledThreadPoolExecutor TIMER = timer();

  private Delays() {}

  private static ScheduledThreadPoolExecutor timer() {
    ScheduledThreadPoolExecutor timer = new ScheduledThreadPoolExecutor(1, task -> {
      Thread thread = new Thread(task, "redlockd-delays");
      thread.setDaemon(true);
      return thread;
    });
    timer.setRemoveOnCancelPolicy(true);
    return timer;
  }

  /** The task must not block. What it throws is logged. */
  static Future<?> after(long nanos, Runnable task) {
    return TIMER.schedule(() -> Callbacks.contain(task), nanos, TimeUnit.NANOSECONDS);
  }
}
