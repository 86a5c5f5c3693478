package io.redlockd;

import java.util.concurrent.CompletableFuture;
import java.util.function.Consumer;

/**
 * An election: of all who campaign, one at a time is the leader, and publishes a value, such as its address. Leadership is a {@link
 * Lock}, and ends with it. Thread-safe. See {@link RedlockClient#election}.
 *
 * <pre>{@code
 * Election election = client.election("scheduler");
 * try (Lock leadership = election.campaign("10.0.0.1:80", AcquireOptions.defaults())) {
 *   leadership.onLost(loss -> stop());
 *   serve(leadership.fencingToken());
 * }
 * }</pre>
 *
 * <p>A leader that was cut off may still believe for a moment that it leads, and its messages may arrive late. Whoever serves a leader
 * compares the fencing tokens, and refuses a lower one than the highest that it has seen.
 */
public final class Election {
  private final RedlockClient client;
  private final String name;
  private volatile Lock leadership; // the last; null: this object has won no campaign

  Election(RedlockClient client, String name) {
    this.client = client;
    this.name = name;
  }

  /**
   * Returns the name, which is the key of the lock.
   *
   * @return the name
   */
  public String name() {
    return name;
  }

  /**
   * Campaigns with the default options: waits without a limit.
   *
   * @param value what the leader publishes: at most 4096 bytes of UTF-8
   * @return the leadership
   * @throws InterruptedException if the thread is interrupted; nobody was elected by this call
   * @throws LockException if the campaign failed
   */
  public Lock campaign(String value) throws InterruptedException {
    return campaign(value, AcquireOptions.defaults());
  }

  /**
   * Waits until elected, as long as the options allow. Whoever already leads waits for the end of its own leadership.
   *
   * @param value what the leader publishes: at most 4096 bytes of UTF-8
   * @param options how the lock is acquired; the value in them does not count
   * @return the leadership. Work that needs it must stop when it is {@linkplain Lock#lost lost}. To release it is to resign
   * @throws InterruptedException if the thread is interrupted; nobody was elected by this call
   * @throws LockAlreadyHeldException if the wait is zero, and another one leads
   * @throws LockException if the campaign failed
   */
  public Lock campaign(String value, AcquireOptions options) throws InterruptedException {
    Lock won = client.acquire(name, options.withValue(value));
    leadership = won;
    return won;
  }

  /**
   * Campaigns as {@link #campaign(String, AcquireOptions)} does, without blocking. To give up, cancel the future that this method
   * returns, rather than one that depends on it; nobody is elected by it then.
   *
   * @param value what the leader publishes: at most 4096 bytes of UTF-8
   * @param options how the lock is acquired; the value in them does not count
   * @return completes on the client's executor
   */
  public CompletableFuture<Lock> campaignAsync(String value, AcquireOptions options) {
    AcquireOptions publishing = options.withValue(value);
    return RedlockClient.future(() -> client.start(name, publishing), won -> leadership = won);
  }

  /**
   * Replaces the value of the leader, as {@link Lock#proclaim} does.
   *
   * @param value at most 4096 bytes of UTF-8
   * @throws InterruptedException if the thread is interrupted; the value may be replaced all the same
   * @throws LockLostException if this object has won no campaign, or if its leadership has ended
   * @throws LockException if no daemon could replace the value
   */
  public void proclaim(String value) throws InterruptedException {
    present().proclaim(value);
  }

  /**
   * Replaces the value of the leader as {@link #proclaim} does, without blocking.
   *
   * @param value at most 4096 bytes of UTF-8
   * @return completes on the client's executor
   */
  public CompletableFuture<Void> proclaimAsync(String value) {
    try {
      return present().proclaimAsync(value);
    } catch (LockException none) {
      return CompletableFuture.failedFuture(none);
    }
  }

  /**
   * Ends the leadership: releases its lock, as {@link Lock#release()} does.
   *
   * @throws LockLostException if this object has won no campaign, or if its leadership has ended
   * @throws LockException if the release was not answered within 2 s, or failed
   */
  public void resign() {
    present().release();
  }

  /**
   * Ends the leadership as {@link #resign} does, without blocking.
   *
   * @return completes on the client's executor
   */
  public CompletableFuture<Void> resignAsync() {
    try {
      return present().releaseAsync();
    } catch (LockException none) {
      return CompletableFuture.failedFuture(none);
    }
  }

  private Lock present() {
    Lock lock = leadership;
    if (lock == null || lock.isReleased()) {
      throw new LockLostException(Reason.LOCK_NOT_HELD, name, name + ": not the leader; campaign first", null, null);
    }
    return lock;
  }

  /**
   * Returns the present leader, if there is one: the first state that is decided. Takes at most the client's {@link
   * RedlockClient.Builder#callTimeout}.
   *
   * @return HELD, with the leader's value and fencing token, or VACANT
   * @throws InterruptedException if the thread is interrupted
   * @throws LockUnavailableException if no quorum or no daemon answered in time; the message says why
   * @throws LockException if no daemon serves the call
   */
  public KeyState leader() throws InterruptedException {
    return Waiting.interruptibly(client.decidedState(name));
  }

  /**
   * Returns the present leader as {@link #leader} does, without blocking.
   *
   * @return completes on the client's executor
   */
  public CompletableFuture<KeyState> leaderAsync() {
    return client.dispatched(client.decidedState(name));
  }

  /**
   * Observes who leads, as {@link RedlockClient#observe} does.
   *
   * @param onState receives the states, one after the other, on the client's executor; exceptions that leave it are logged
   * @return the observer; close it, or the client
   */
  public KeyObserver observe(Consumer<KeyState> onState) {
    return client.observe(name, onState);
  }

  @Override
  public String toString() {
    return "Election{name=" + name + "}";
  }
}
