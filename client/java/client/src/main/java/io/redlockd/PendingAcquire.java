package io.redlockd;

import io.redlockd.internal.Driver;
import io.redlockd.internal.Errors;
import io.redlockd.internal.core.AcquireCaller;
import io.redlockd.internal.core.AcquireCommand;
import io.redlockd.internal.core.Acquisition;
import io.redlockd.internal.core.Failure;
import io.redlockd.internal.core.KeyNames;
import io.redlockd.internal.core.Lease;
import io.redlockd.internal.core.Machine;
import io.redlockd.redlock.v1.RetryPolicy;
import java.util.concurrent.CompletableFuture;
import java.util.concurrent.ExecutionException;
import java.util.concurrent.atomic.AtomicInteger;
import java.util.concurrent.atomic.AtomicReference;
import java.util.function.Consumer;
import java.util.function.IntConsumer;

/** One call that acquires, adopts or downgrades a lock. The machine calls it under the driver's lock. */
final class PendingAcquire implements AcquireCaller {
  private static final int NONE = -1;

  private final Driver driver;
  private final String key;
  private final IntConsumer onQueued; // null: none
  private final long keepFor; // of the lock
  private final AtomicInteger position = new AtomicInteger(NONE); // not reported yet
  private final CompletableFuture<Lock> decided = new CompletableFuture<>();
  private Acquisition acquisition;
  private final AtomicReference<Lease> joined = new AtomicReference<>(); // that another call has got; null: none
  private volatile Lock lock;

  PendingAcquire(Driver driver, String key, IntConsumer onQueued, long keepFor) {
    this.driver = driver;
    this.key = key;
    this.onQueued = onQueued;
    this.keepFor = keepFor;
  }

  PendingAcquire downgrade(Lease lease) {
    driver.act(machine -> acquisition = machine.downgrade(lease, this));
    return this;
  }

  PendingAcquire start(AcquireCommand command) {
    driver.act(machine -> {
      if (command.token() == null) {
        acquisition = machine.acquire(command, this);
      } else {
        startWithToken(machine, command);
      }
    });
    return this;
  }

  private void startWithToken(Machine machine, AcquireCommand command) {
    Lease held = machine.find(command.key(), command.token());
    if (held != null && command.slot() != 0 && command.slot() != held.slot()) { // only an adoption names a slot
      failed(Failure.of(
          Reason.LOCK_NOT_HELD, "the token holds slot " + held.slot() + ", not slot " + command.slot()));
    } else if (held != null && command.kind() != AcquireCommand.Kind.ACQUIRE) {
      lock = (Lock) held.attachment();
      long longest = command.longest();
      RetryPolicy retry = longest == 0 ? RetryPolicy.newBuilder().setMaxRetries(0).build() : command.retry();
      joined.set(held);
      machine.join(held, command.ttl(), retry, longest, failure -> driver.later(() -> {
        if (failure != null) {
          unjoin();
        }
        decide(lock, failure);
      }));
    } else if (held != null) {
      failed(Failure.of(Reason.LOCK_ALREADY_HELD, "this client holds the lock with the same token"));
    } else if (machine.inUse(command.key(), command.token())) {
      driver.later(() -> decided.completeExceptionally(Errors.invalid(
          "token: is already in use for \"" + KeyNames.inWords(command.key())
              + "\" by a lock that this client requests, downgrades or releases; use a new token")));
    } else {
      acquisition = machine.acquire(command, this);
    }
  }

  @Override
  public void granted(Lease lease) {
    Lock granted = new Lock(driver, lease, keepFor);
    lease.attach(granted);
    lock = granted;
    driver.later(() -> decide(granted, null));
  }

  @Override
  public void failed(Failure failure) {
    driver.later(() -> decide(null, failure));
  }

  private void decide(Lock granted, Failure failure) {
    if (failure == null) {
      decided.complete(granted);
    } else {
      decided.completeExceptionally(Errors.of(key, failure));
    }
  }

  @Override
  public void queued(int ahead) {
    if (onQueued != null && position.getAndSet(ahead) == NONE) {
      driver.later(() -> driver.callBack(() -> onQueued.accept(position.getAndSet(NONE))));
    }
  }

  @Override
  public void lost(Failure failure) {
    Lock losing = lock;
    driver.later(() -> losing.signalLoss(failure));
  }

  /** The caller no longer waits, and does not take a lock that was granted meanwhile. No lock is left behind. */
  private void giveUp() {
    if (acquisition != null) {
      driver.act(machine -> machine.giveUp(acquisition));
    }
    unjoin();
  }

  private void unjoin() {
    Lease left = joined.getAndSet(null);
    if (left != null) {
      driver.act(machine -> machine.unjoin(left));
    }
  }

  /** Waits for the lock. An interruption gives up. */
  Lock await() throws InterruptedException {
    try {
      return decided.get();
    } catch (InterruptedException interrupted) {
      giveUp();
      throw interrupted;
    } catch (ExecutionException failed) {
      throw Waiting.asThrown(failed);
    }
  }

  /** Waits for the lock. Interruptions are kept for later. */
  Lock awaitUninterruptibly() {
    return Waiting.uninterruptibly(decided);
  }

  /**
   * The future for the caller: if it is completed by anybody else, the call is given up.
   *
   * @param before receives the lock before the future completes
   */
  CompletableFuture<Lock> future(Consumer<Lock> before) {
    CompletableFuture<Lock> users = new CompletableFuture<>();
    decided.whenComplete((granted, failure) -> driver.callBack(() -> {
      if (failure == null) {
        before.accept(granted);
        users.complete(granted);
      } else {
        users.completeExceptionally(failure);
      }
    }));
    users.whenComplete((granted, failure) -> {
      if (granted == null || granted != lock) {
        giveUp();
      }
    });
    return users;
  }
}
