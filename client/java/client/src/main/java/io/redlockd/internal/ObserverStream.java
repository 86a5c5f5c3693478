package io.redlockd.internal;

import io.grpc.ClientCall;
import io.grpc.ManagedChannel;
import io.grpc.Metadata;
import io.grpc.Status;
import io.redlockd.KeyState;
import io.redlockd.LockException;
import io.redlockd.KeyObserver;
import io.redlockd.Reason;
import io.redlockd.internal.core.Failure;
import io.redlockd.internal.core.Observation;
import io.redlockd.internal.core.Times;
import io.redlockd.redlock.v1.ObserveRequest;
import io.redlockd.redlock.v1.ObserveResponse;
import java.lang.System.Logger.Level;
import java.util.ArrayList;
import java.util.List;
import java.util.concurrent.CompletableFuture;
import java.util.concurrent.CompletionStage;
import java.util.concurrent.Executor;
import java.util.concurrent.Future;
import java.util.concurrent.locks.ReentrantLock;
import java.util.function.Consumer;

/** An observer: one stream at a time, which moves to the next endpoint when it fails. Thread-safe. */
public final class ObserverStream implements KeyObserver, LastingStream {
  private static final System.Logger LOG = System.getLogger("io.redlockd");

  // If no quorum answers, the daemon's first message comes after about a second.
  private static final long FIRST_MESSAGE = 2 * Times.SECONDS;

  // A stream that ends sooner does not count as a success: a daemon may end every stream at once.
  private static final long LASTING = Times.SECONDS;

  private final Driver driver;
  private final String key;
  private final Executor executor;
  private final Consumer<KeyState> onState;
  private final CompletableFuture<LockException> ended = new CompletableFuture<>();
  private final ReentrantLock lock = new ReentrantLock();
  private final Observation observation = new Observation(BootClock.SYSTEM.now());
  private final Pause pause = new Pause();
  private final List<Runnable> afterwards = new ArrayList<>(); // once the lock is released
  private boolean delivering;
  private volatile LockException end; // null: not yet
  private int endpoint;
  private int failed;
  private Call current; // null: waits for the next attempt
  private Future<?> retry;
  private Future<?> deadline; // of the observation
  private long deadlineAt = Times.NEVER;

  /**
   * Call {@link #start} next.
   *
   * @param key the name of a single key
   * @param executor runs the callback
   */
  public ObserverStream(Driver driver, String key, Executor executor, Consumer<KeyState> onState) {
    this.driver = driver;
    this.key = key;
    this.executor = executor;
    this.onState = onState;
  }

  /** Observes a key until the first state that is decided. Fails if there is none in time. Does not use the user's executor. */
  public static CompletableFuture<KeyState> firstDecided(Driver driver, String key) {
    CompletableFuture<KeyState> first = new CompletableFuture<>();
    ObserverStream stream = new ObserverStream(driver, key, Runnable::run, state -> {
      if (state.state() != KeyState.State.UNDECIDED) {
        first.complete(state);
      }
    });
    driver.begin(stream);
    Future<?> timeout = Delays.after(
        driver.options().callTimeout(), () -> first.completeExceptionally(Errors.of(key, stream.undecided())));
    stream.ended.thenAccept(first::completeExceptionally);
    first.whenComplete((state, failure) -> {
      timeout.cancel(false);
      stream.close();
    });
    return first;
  }

  // Why there has been no decided state.
  private Failure undecided() {
    lock.lock();
    try {
      boolean answered = current != null && current.answered;
      return Failure.of(answered ? Reason.QUORUM_UNAVAILABLE : Reason.UNREACHABLE, "undecided: " + observation.why());
    } finally {
      lock.unlock();
    }
  }

  @Override
  public void start() {
    locked(this::open);
  }

  @Override
  public void close() {
    locked(() -> endWith(Failure.of(Reason.CANCELLED, "the observer was closed")));
  }

  @Override
  public CompletionStage<LockException> ended() {
    return ended.minimalCompletionStage();
  }

  // Runs a change of the state under the lock, and what follows from it afterwards.
  private void locked(Runnable change) {
    List<Runnable> following = List.of();
    lock.lock();
    try {
      change.run();
      if (lock.getHoldCount() > 1) { // a call that fails as it starts
        return;
      }
      keepDeadline();
      if (!delivering && (end == null ? observation.isPending() : !ended.isDone())) {
        delivering = true;
        afterwards.add(() -> executor.execute(this::deliver));
      }
      following = List.copyOf(afterwards);
      afterwards.clear();
    } finally {
      lock.unlock();
    }
    following.forEach(Runnable::run);
  }

  private void deliver() {
    while (true) {
      KeyState state;
      lock.lock();
      try {
        state = end == null ? observation.take() : null;
        if (state == null) {
          delivering = false;
          break;
        }
      } finally {
        lock.unlock();
      }
      Callbacks.contain(() -> onState.accept(state));
    }
    if (end != null) {
      ended.complete(end);
    }
  }

  // Under the lock.
  private void keepDeadline() {
    long next = end == null ? observation.nextDeadline() : Times.NEVER;
    if (next == deadlineAt) {
      return;
    }
    deadlineAt = next;
    cancel(deadline);
    if (next != Times.NEVER) {
      deadline = Delays.after(Math.max(0, next - BootClock.SYSTEM.now()), () -> locked(() -> {
        deadlineAt = Times.NEVER;
        observation.tick(BootClock.SYSTEM.now());
      }));
    }
  }

  private static void cancel(Future<?> timer) {
    if (timer != null) {
      timer.cancel(false);
    }
  }

  // Under the lock, as everything below is unless stated otherwise.
  private void endWith(Failure why) {
    if (end != null) {
      return;
    }
    end = Errors.of(key, why);
    cancel(retry);
    if (current != null) {
      current.leave("the client ended the observer");
    }
    driver.forget(this);
  }

  private void open() {
    if (end != null) {
      return;
    }
    ManagedChannel channel = driver.endpoints.channel(endpoint);
    if (channel == null) {
      endWith(Failure.of(Reason.CANCELLED, "the client was closed"));
      return;
    }
    current = new Call(endpoint, channel);
    current.start();
  }

  /** One stream. */
  private final class Call extends ClientCall.Listener<ObserveResponse> {
    private final int at;
    private final ManagedChannel channel;
    private final ClientCall<ObserveRequest, ObserveResponse> call;
    private final long openedAt = BootClock.SYSTEM.now();
    private Future<?> silence;
    private boolean answered;

    Call(int at, ManagedChannel channel) {
      this.at = at;
      this.channel = channel;
      this.call = channel.newCall(Methods.OBSERVE, driver.callOptions());
    }

    void start() {
      long patience = driver.connectPatience() + FIRST_MESSAGE;
      Failure silent =
          Failure.of(Reason.UNREACHABLE, driver.endpoints.name(at) + ": no answer within " + Times.inWords(patience));
      silence = Delays.after(patience, () -> locked(() -> failedWith(silent, false)));
      call.start(this, new Metadata());
      if (current != this) {
        return; // the connection was dropped at the same time, and the call has failed already
      }
      call.request(1);
      call.sendMessage(ObserveRequest.newBuilder().setKey(key).build());
      call.halfClose();
    }

    void leave(String why) {
      current = null;
      silence.cancel(false);
      afterwards.add(() -> call.cancel(why, null));
    }

    @Override
    public void onMessage(ObserveResponse response) { // not under the lock
      locked(() -> {
        if (current == this) {
          answered = true;
          silence.cancel(false);
          observation.onState(response, BootClock.SYSTEM.now());
          call.request(1);
        }
      });
    }

    @Override
    public void onClose(Status status, Metadata trailers) { // not under the lock
      boolean unknown = status.getCode() == Status.Code.UNIMPLEMENTED;
      Failure why = unknown
          ? Failure.of(Reason.INTERNAL, driver.endpoints.name(at) + ": the daemon has no observers; upgrade it")
          : Errors.decided(status, trailers).orElseGet(() -> Errors.ofStream(driver.endpoints.name(at), status));
      locked(() -> failedWith(why, unknown || why.isRefusal()));
    }

    // Final: a retry cannot help.
    private void failedWith(Failure why, boolean isFinal) {
      if (current != this) {
        return;
      }
      if (isFinal) {
        endWith(why);
        return;
      }
      leave("the client moved to the next daemon");
      afterwards.add(() -> driver.endpoints.drop(at, channel));
      LOG.log(Level.DEBUG, "observer: moving to the next daemon: {0}", why.message());
      long now = BootClock.SYSTEM.now();
      observation.onBroken(why.message(), now);
      if (answered && now - openedAt >= LASTING) {
        failed = 0;
        pause.reset();
      }
      endpoint = (endpoint + 1) % driver.endpoints.size();
      ++failed;
      long delay = failed % driver.endpoints.size() == 0 ? Math.max(pause.take(), why.retryAfter()) : 0;
      retry = Delays.after(delay, () -> locked(ObserverStream.this::open));
    }
  }
}
