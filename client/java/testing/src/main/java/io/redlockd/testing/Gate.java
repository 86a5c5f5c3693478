package io.redlockd.testing;

/** Decides when bytes may pass the proxy. Thread-safe. */
final class Gate {
  private long delay;
  private boolean cut;

  synchronized void delay(long nanos) {
    delay = nanos;
    notifyAll();
  }

  synchronized void cut() {
    cut = true;
  }

  synchronized void mend() {
    delay = 0;
    cut = false;
    notifyAll();
  }

  /** Waits until bytes that arrived at {@code arrived}, on System.nanoTime(), may pass. */
  synchronized void await(long arrived) throws InterruptedException {
    while (true) {
      long left = delay - (System.nanoTime() - arrived);
      if (cut) {
        wait();
      } else if (left > 0) {
        wait(left / 1_000_000, (int) (left % 1_000_000));
      } else {
        return;
      }
    }
  }
}
