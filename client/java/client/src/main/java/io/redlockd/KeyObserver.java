package io.redlockd;

import java.util.concurrent.CompletionStage;

/** Reports who holds a key; see {@link RedlockClient#observe}. Thread-safe. */
public interface KeyObserver extends AutoCloseable {
  /**
   * Ends the observer. Returns at once. A callback that is running ends by itself, and no other one follows. A second call does
   * nothing.
   */
  @Override
  void close();

  /**
   * Returns a stage that completes normally when the observer has ended, after its last callback: with a {@link
   * LockCancelledException} after a close, or with why no daemon serves the observer, for example {@link LockAccessException}. Its
   * dependents run on the client's executor.
   *
   * @return the stage
   */
  CompletionStage<LockException> ended();
}
