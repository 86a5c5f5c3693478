package load;

import java.util.Map;
import java.util.concurrent.CompletableFuture;
import java.util.concurrent.CompletionStage;
import java.util.concurrent.ConcurrentHashMap;
import java.util.concurrent.Executor;
import java.util.concurrent.TimeUnit;
import java.util.concurrent.atomic.AtomicInteger;

/**
 * Checks that a library locks what is measured: counts the holders of each key in this process, and ends the process
 * if there are too many. Each holds for a while, because holders that release at once overlap too rarely to be noticed.
 */
final class Witness implements Subject {
  private static final int EXCLUSIVE = 1 << 20; // what an exclusive holder counts: more than all others together
  private static final long HOLD_MS = 1;
  private static final Executor LATER = CompletableFuture.delayedExecutor(HOLD_MS, TimeUnit.MILLISECONDS);

  private final Subject subject;
  private final Map<String, AtomicInteger> holders = new ConcurrentHashMap<>();

  Witness(Subject subject) {
    this.subject = subject;
  }

  @Override
  public Held acquire(Wanted wanted) throws Exception {
    return entered(wanted, subject.acquire(wanted));
  }

  @Override
  public CompletionStage<Held> acquireAsync(Wanted wanted) {
    return subject.acquireAsync(wanted).thenApply(held -> entered(wanted, held));
  }

  private Held entered(Wanted wanted, Held held) {
    int most = wanted.shared() ? EXCLUSIVE - 1 : wanted.maxHolders() > 0 ? wanted.maxHolders() : EXCLUSIVE;
    for (String key : wanted.keys()) {
      if (holders.computeIfAbsent(key, name -> new AtomicInteger()).addAndGet(weight(wanted)) > most) {
        System.err.println("too many holders at the same time: " + wanted);
        System.exit(1); // the other workers may wait for what this one holds
      }
    }
    return new WitnessedHeld(this, wanted, held);
  }

  private void leave(Wanted wanted) {
    wanted.keys().forEach(key -> holders.get(key).addAndGet(-weight(wanted)));
  }

  private static int weight(Wanted wanted) {
    return wanted.shared() || wanted.maxHolders() > 0 ? 1 : EXCLUSIVE;
  }

  private record WitnessedHeld(Witness witness, Wanted wanted, Held held) implements Held {
    @Override
    public void release() throws Exception {
      Thread.sleep(HOLD_MS);
      witness.leave(wanted);
      held.release();
    }

    @Override
    public CompletionStage<Void> releaseAsync() {
      return CompletableFuture.runAsync(() -> witness.leave(wanted), LATER).thenCompose(done -> held.releaseAsync());
    }
  }
}
