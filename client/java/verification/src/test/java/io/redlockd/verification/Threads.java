package io.redlockd.verification;

import java.time.Duration;
import java.util.concurrent.Callable;
import java.util.concurrent.ExecutorService;
import java.util.concurrent.Executors;
import java.util.concurrent.ThreadFactory;
import java.util.function.BooleanSupplier;

/** Threads, and waiting for what other threads do. */
final class Threads {
  private static final Duration PATIENCE = Duration.ofSeconds(20);

  private Threads() {}

  static void until(BooleanSupplier condition) throws InterruptedException {
    long end = System.nanoTime() + PATIENCE.toNanos();
    while (!condition.getAsBoolean()) {
      if (System.nanoTime() > end) {
        throw new AssertionError("has not happened within " + PATIENCE.toSeconds() + " s");
      }
      Thread.sleep(5);
    }
  }

  /** Virtual threads if the Java version has them. */
  static ExecutorService virtual() {
    try {
      return (ExecutorService) Executors.class.getMethod("newVirtualThreadPerTaskExecutor").invoke(null);
    } catch (ReflectiveOperationException before21) {
      return Executors.newCachedThreadPool(daemons());
    }
  }

  static ThreadFactory daemons() {
    return task -> {
      Thread thread = new Thread(task);
      thread.setDaemon(true);
      return thread;
    };
  }

  /** A task on a thread of its own, whose outcome the test asks for. */
  static final class Task<T> {
    private final Thread thread;
    private volatile T result;
    private volatile Throwable failure;

    private Task(Callable<T> call) {
      thread = new Thread(() -> {
        try {
          result = call.call();
        } catch (Throwable thrown) {
          failure = thrown;
        }
      });
      thread.setDaemon(true);
    }

    void interrupt() {
      thread.interrupt();
    }

    boolean isWaiting() {
      return thread.getState() == Thread.State.WAITING;
    }

    T result() throws InterruptedException {
      join();
      if (failure != null) {
        throw new AssertionError(failure);
      }
      return result;
    }

    Throwable failure() throws InterruptedException {
      join();
      return failure;
    }

    private void join() throws InterruptedException {
      thread.join(PATIENCE.toMillis());
      if (thread.isAlive()) {
        throw new AssertionError("the thread has not ended");
      }
    }
  }

  static <T> Task<T> start(Callable<T> call) {
    Task<T> task = new Task<>(call);
    task.thread.start();
    return task;
  }
}
