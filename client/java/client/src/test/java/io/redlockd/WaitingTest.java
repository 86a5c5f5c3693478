package io.redlockd;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertThrows;
import static org.junit.jupiter.api.Assertions.assertTrue;

import java.util.concurrent.CompletableFuture;
import java.util.concurrent.ExecutionException;
import org.junit.jupiter.api.Test;

final class WaitingTest {
  /** A future that is completed between the interruption of its reader and its cancellation. */
  private static final class Late extends CompletableFuture<String> {
    private final LockException failure; // null: it succeeds

    Late(LockException failure) {
      this.failure = failure;
    }

    @Override
    public String get() throws InterruptedException, ExecutionException {
      if (!isDone()) {
        throw new InterruptedException();
      }
      return super.get();
    }

    @Override
    public boolean cancel(boolean interrupts) {
      if (failure == null) {
        complete("lease");
      } else {
        completeExceptionally(failure);
      }
      return super.cancel(interrupts);
    }
  }

  @Test
  void aResultThatComesWithTheInterruptionIsNotDropped() throws Exception {
    assertEquals("lease", Waiting.interruptibly(new Late(null)));
    assertTrue(Thread.interrupted());
    LockException failure = new LockTimeoutException(Reason.DEADLINE_EXCEEDED, "k", "too late", null, null, null);
    assertEquals(failure, assertThrows(LockException.class, () -> Waiting.interruptibly(new Late(failure))));
    assertTrue(Thread.interrupted());
  }

  @Test
  void anInterruptionCancelsTheCall() {
    CompletableFuture<String> call = new CompletableFuture<>();
    Thread.currentThread().interrupt();
    assertThrows(InterruptedException.class, () -> Waiting.interruptibly(call));
    assertTrue(call.isCancelled());
  }
}
