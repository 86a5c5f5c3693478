package io.redlockd.internal;

import io.grpc.CallOptions;
import io.redlockd.internal.core.Lease;
import io.redlockd.internal.core.Machine;
import io.redlockd.internal.core.Times;
import io.redlockd.redlock.v1.SessionRequest;
import java.lang.System.Logger.Level;
import java.security.SecureRandom;
import java.util.ArrayDeque;
import java.util.ArrayList;
import java.util.Deque;
import java.util.HexFormat;
import java.util.List;
import java.util.Set;
import java.util.concurrent.CompletableFuture;
import java.util.concurrent.ConcurrentHashMap;
import java.util.concurrent.ThreadLocalRandom;
import java.util.concurrent.TimeUnit;
import java.util.concurrent.locks.Condition;
import java.util.concurrent.locks.LockSupport;
import java.util.concurrent.locks.ReentrantLock;
import java.util.function.Consumer;
import java.util.regex.Pattern;

/**
 * Drives the state machine of one client over gRPC. Thread-safe.
 *
 * <p>One lock guards the machine. What the machine asks of the transport is carried out in order under the lock; nothing of it
 * blocks. What callers are told is carried out after the lock was released.
 */
public final class Driver implements Machine.Host {
  static final Consumer<Machine> NOTHING = machine -> {};

  private static final System.Logger LOG = System.getLogger("io.redlockd");
  private static final SecureRandom RANDOM = new SecureRandom();

  private static final Pattern ADDRESS = Pattern.compile("unix:.*|[0-9.]+:[0-9]+|\\[.*");

  // For the answer to the first ping, once the connection is there.
  private static final long ANSWER_PATIENCE = 500 * Times.MILLIS;

  // The keeper's timer does not count suspend time. While locks are held, it looks at the clock at least this often.
  private static final long LONGEST_SLEEP = 500 * Times.MILLIS;
  private static final int SLEEPS_PER_GRACE = 12;
  private static final long AFTER_ERROR = 100 * Times.MILLIS;
  private static final long IDLE_SLEEP = 3600 * Times.SECONDS;

  final Endpoints endpoints;
  private final Options options;
  private final Callbacks callbacks;
  private final CallOptions callOptions;
  private final long connectPatience;
  private final ReentrantLock lock = new ReentrantLock();
  private final Condition changed = lock.newCondition();
  private final Machine machine;
  private final Deque<Runnable> transport = new ArrayDeque<>();
  private List<Runnable> reports = new ArrayList<>();
  private boolean carryingOut;
  private Stream stream;
  private long streamOf; // the Session of the stream
  private Thread keeper;
  private long sleepsUntil = Times.NEVER;
  private boolean closed;
  private final Set<CompletableFuture<?>> background = ConcurrentHashMap.newKeySet();
  private final Set<LastingStream> streams = ConcurrentHashMap.newKeySet(); // besides the Session
  private final Set<Runnable> calls = ConcurrentHashMap.newKeySet(); // each ends a unary call
  private volatile boolean closing;

  /** Throws LockArgumentException if the options are invalid. */
  public Driver(Options options) {
    Checks.endpoints(options.endpoints());
    this.options = options;
    this.callbacks = new Callbacks(options.executor());
    this.endpoints = new Endpoints(options);
    this.callOptions = options.bearer() == null
        ? CallOptions.DEFAULT
        : CallOptions.DEFAULT.withCallCredentials(new Bearer(options.bearer(), options.executor() == null ? Bearer.pool() : callbacks));
    // A name may have several addresses, and gRPC tries one after the other.
    boolean name = options.endpoints().stream().anyMatch(each -> !ADDRESS.matcher(each).matches());
    this.connectPatience = options.connectTimeout() * (name ? 2 : 1) + ANSWER_PATIENCE;
    this.machine = new Machine(
        new Machine.Config(options.endpoints(), options.grace(), connectPatience), BootClock.SYSTEM, this);
  }

  /** The options. */
  public Options options() {
    return options;
  }

  /** The options of all calls but the Session. */
  CallOptions callOptions() {
    return callOptions;
  }

  /** How long it may take until a daemon has answered on a new connection, in nanoseconds. */
  long connectPatience() {
    return connectPatience;
  }

  /** Runs the user's code on the executor of the user's choice. */
  public void callBack(Runnable task) {
    callbacks.execute(task);
  }

  /** Calls the machine. May be called from any thread, also from within a call. */
  public void act(Consumer<Machine> action) {
    List<Runnable> done = List.of();
    lock.lock();
    try {
      action.accept(machine);
      if (!carryingOut) {
        carryOut();
        done = takeReports();
        wakeKeeper();
      }
    } finally {
      lock.unlock();
    }
    done.forEach(Callbacks::contain);
  }

  /** Carries out a task once the driver's lock is released. Only for use within the machine's calls. */
  public void later(Runnable report) {
    reports.add(report);
  }

  private void carryOut() {
    carryingOut = true;
    try {
      do {
        for (Runnable next = transport.poll(); next != null; next = transport.poll()) {
          next.run();
        }
        if (stream != null && stream.takeWritten()) {
          machine.onWritten(streamOf);
        }
      } while (!transport.isEmpty());
    } finally {
      carryingOut = false;
    }
  }

  private List<Runnable> takeReports() {
    if (reports.isEmpty()) {
      return List.of();
    }
    List<Runnable> taken = reports;
    reports = new ArrayList<>();
    return taken;
  }

  // --- Machine.Host

  @Override
  public void open(long session, int endpoint) {
    transport.add(() -> {
      stream = new Stream(this, session, endpoint, callOptions);
      streamOf = session;
      stream.start();
    });
  }

  @Override
  public void write(long session, SessionRequest message) {
    transport.add(() -> {
      if (stream != null && streamOf == session) {
        stream.write(message);
      }
    });
  }

  @Override
  public void cancel(long session) {
    transport.add(() -> {
      if (stream != null && streamOf == session) {
        stream.cancel();
        stream = null;
      }
    });
  }

  @Override
  public void log(Level level, String message) {
    later(() -> LOG.log(level, message));
  }

  @Override
  public String makeToken() {
    return newToken();
  }

  /** Returns "rl-" and 128 random bits. */
  public static String newToken() {
    byte[] bits = new byte[16];
    RANDOM.nextBytes(bits);
    return "rl-" + HexFormat.of().formatHex(bits);
  }

  @Override
  public double random() {
    return ThreadLocalRandom.current().nextDouble();
  }

  @Override
  public long wallMillis() {
    return System.currentTimeMillis();
  }

  // --- Time

  private void wakeKeeper() {
    long next = machine.nextDeadline();
    if (next == Times.NEVER) {
      return;
    }
    if (keeper == null && !closed) {
      keeper = new Thread(this::keep, "redlockd-clock");
      keeper.setDaemon(true);
      keeper.start();
    } else if (next < sleepsUntil) {
      changed.signalAll();
    }
  }

  private void keep() {
    while (true) {
      lock.lock();
      try {
        if (closed) {
          return;
        }
        long now = BootClock.SYSTEM.now();
        long next = machine.nextDeadline();
        if (next > now) {
          sleepsUntil = next;
          changed.await(Math.min(next - now, longestSleep()), TimeUnit.NANOSECONDS);
          sleepsUntil = Times.LONG_AGO;
          continue;
        }
      } catch (InterruptedException ignored) {
        continue; // the thread is the client's own: nobody ends it this way
      } finally {
        lock.unlock();
      }
      try {
        act(Machine::tick);
      } catch (Throwable failed) { // without this thread, no loss would be signalled any more
        LOG.log(Level.ERROR, "the client goes on after an error of its own", failed);
        LockSupport.parkNanos(AFTER_ERROR);
      }
    }
  }

  private long longestSleep() {
    return machine.isHolding() ? Math.min(LONGEST_SLEEP, options.grace() / SLEEPS_PER_GRACE) : IDLE_SLEEP;
  }

  // --- Leases

  /** How long a lease can still be trusted, in nanoseconds. */
  public static long validity(Lease lease) {
    return lease.validity(BootClock.SYSTEM.now());
  }

  /** A release of a detached lock, which the close of the client waits for. */
  void inBackground(CompletableFuture<?> task) {
    background.add(task);
    task.whenComplete((result, error) -> background.remove(task));
  }

  /** Ends a call when the client is closed, unless it has ended. */
  void endOnClose(CompletableFuture<?> call, Runnable end) {
    calls.add(end);
    call.whenComplete((result, error) -> calls.remove(end));
    if (closing) { // at the same time, or before
      end.run();
    }
  }

  /** Starts a stream, which ends at the latest when the client is closed. */
  public <T extends LastingStream> T begin(T stream) {
    streams.add(stream);
    stream.start();
    if (closing) { // at the same time
      stream.close();
    }
    return stream;
  }

  void forget(LastingStream stream) {
    streams.remove(stream);
  }

  /** Releases all locks and ends all calls. The future completes when all locks are released or have expired. */
  public CompletableFuture<Void> close() {
    closing = true;
    List.copyOf(streams).forEach(LastingStream::close);
    List.copyOf(calls).forEach(Runnable::run);
    CompletableFuture<Void> released = new CompletableFuture<>();
    act(machine -> machine.close(() -> later(() -> released.complete(null))));
    return released
        .thenCompose(none -> CompletableFuture.allOf(background.toArray(CompletableFuture<?>[]::new)))
        .thenRun(this::end);
  }

  private void end() {
    lock.lock();
    try {
      closed = true;
      changed.signalAll();
    } finally {
      lock.unlock();
    }
    endpoints.close();
    callbacks.close();
  }
}
