package io.redlockd;

import java.util.concurrent.CancellationException;
import java.util.concurrent.CompletableFuture;
import java.util.concurrent.ExecutionException;

/** Ways to wait for a future. */
final class Waiting {
  private Waiting() {}

  /** Waits for a call that ends when its future is cancelled. An interruption that comes together with the result is kept for later. */
  static <T> T interruptibly(CompletableFuture<T> future) throws InterruptedException {
    try {
      return future.get();
    } catch (InterruptedException interrupted) {
      if (future.cancel(true)) {
        throw interrupted;
      }
      Thread.currentThread().interrupt();
      return uninterruptibly(future);
    } catch (ExecutionException failed) {
      throw asThrown(failed);
    }
  }

  /** Waits for a call that is bounded. An interruption is kept for later. */
  static <T> T uninterruptibly(CompletableFuture<T> future) {
    boolean interrupted = false;
    try {
      while (true) {
        try {
          return future.get();
        } catch (InterruptedException again) {
          interrupted = true;
        } catch (ExecutionException failed) {
          throw asThrown(failed);
        }
      }
    } finally {
      if (interrupted) {
        Thread.currentThread().interrupt();
      }
    }
  }

  /** Returns the exception of a failed call with the stack trace of the caller. */
  static RuntimeException asThrown(ExecutionException failed) {
    if (failed.getCause() instanceof LockException error) {
      error.setStackTrace(new Throwable().getStackTrace());
      return error;
    }
    if (failed.getCause() instanceof CancellationException cancelled) {
      return cancelled;
    }
    return new IllegalStateException(failed.getCause());
  }
}
