package io.redlockd.internal;

import java.lang.System.Logger.Level;
import java.util.concurrent.Executor;
import java.util.concurrent.ForkJoinPool;
import java.util.concurrent.RejectedExecutionException;
import java.util.concurrent.TimeUnit;

/** Runs the user's code, and contains what it throws. Thread-safe. */
final class Callbacks implements Executor {
  private static final System.Logger LOG = System.getLogger("io.redlockd");
  private static final int LEAST_THREADS = 2;
  private static final int MOST_THREADS = 256; // if tasks block by means that the pool knows
  private static final long IDLE_SECONDS = 10;

  private final Executor executor;
  private final ForkJoinPool own; // null: the executor is the user's

  Callbacks(Executor users) {
    this.own = users == null ? pool() : null;
    this.executor = users == null ? own : users;
  }

  private static ForkJoinPool pool() {
    int threads = Math.max(LEAST_THREADS, Runtime.getRuntime().availableProcessors());
    return new ForkJoinPool(
        threads,
        pool -> {
          var thread = ForkJoinPool.defaultForkJoinWorkerThreadFactory.newThread(pool);
          thread.setName("redlockd-callback-" + thread.getPoolIndex());
          return thread;
        },
        null,
        true, // in the order of submission
        0,
        MOST_THREADS,
        1,
        pool -> true,
        IDLE_SECONDS,
        TimeUnit.SECONDS);
  }

  @Override
  public void execute(Runnable task) {
    Runnable contained = () -> contain(task);
    try {
      executor.execute(contained);
    } catch (RejectedExecutionException shutDown) { // a loss must be signalled all the same
      Thread thread = new Thread(contained, "redlockd-callback");
      thread.setDaemon(true);
      thread.start();
    }
  }

  /** Runs a task, and logs what it throws. */
  static void contain(Runnable task) {
    try {
      task.run();
    } catch (Throwable thrown) {
      LOG.log(Level.DEBUG, "a callback threw an exception", thrown);
    }
  }

  void close() {
    if (own != null) {
      own.shutdown();
    }
  }
}
