package io.redlockd.internal.core;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertNotNull;

import io.redlockd.Reason;
import io.redlockd.internal.core.AcquireCommand.Kind;
import io.redlockd.redlock.v1.EventType;
import io.redlockd.redlock.v1.LockMode;
import io.redlockd.redlock.v1.OperationStatus;
import io.redlockd.redlock.v1.QueuePosition;
import io.redlockd.redlock.v1.SessionOperation;
import io.redlockd.redlock.v1.SessionRequest;
import io.redlockd.redlock.v1.SessionResponse;
import io.redlockd.redlock.v1.SessionResult;
import io.redlockd.redlock.v1.WatchResponse;
import java.lang.System.Logger.Level;
import java.util.ArrayList;
import java.util.List;
import java.util.Map;
import java.util.function.Consumer;

/** A machine with a recording host, and with daemons that the test simulates. */
final class World implements Machine.Host, Clock {
  static final long GRACE = 4 * Times.SECONDS;
  static final long TTL = 30 * Times.SECONDS;

  // The daemon's clock has another epoch.
  private static final long DAEMON_AHEAD = 1_000_000 * Times.SECONDS;

  long now = 3600 * Times.SECONDS;
  long suspends;
  long error;
  final List<Integer> opened = new ArrayList<>(); // the endpoint of each Session, from number 1 on
  final List<Long> cancelled = new ArrayList<>();
  final List<String> logged = new ArrayList<>();
  final Machine machine;
  private final List<SessionRequest> written = new ArrayList<>(); // on the last Session, not taken yet
  private int tokens;

  World(int endpoints) {
    List<String> names = new ArrayList<>();
    for (int i = 0; i < endpoints; ++i) {
      names.add("daemon" + i);
    }
    machine = new Machine(new Machine.Config(names, GRACE, 2 * Times.SECONDS), this, this);
  }

  // --- Clock and Host

  @Override
  public long now() {
    return now;
  }

  @Override
  public long suspends() {
    return suspends;
  }

  @Override
  public long error() {
    return error;
  }

  @Override
  public void open(long session, int endpoint) {
    opened.add(endpoint);
    written.clear();
    assertEquals(session, opened.size());
  }

  @Override
  public void write(long session, SessionRequest message) {
    assertEquals(session, session());
    written.add(message);
  }

  @Override
  public void cancel(long session) {
    cancelled.add(session);
  }

  @Override
  public void log(Level level, String message) {
    logged.add(message);
  }

  @Override
  public String makeToken() {
    return "rl-" + ++tokens;
  }

  @Override
  public double random() {
    return 1;
  }

  @Override
  public long wallMillis() {
    return 7;
  }

  // --- Time

  /** The number of the last Session. */
  long session() {
    return opened.size();
  }

  /** Lets time pass with a driver that is never late. */
  void pass(long duration) {
    long until = now + duration;
    while (machine.nextDeadline() <= until) {
      now = Math.max(now, machine.nextDeadline());
      machine.tick();
    }
    now = until;
  }

  /** Lets time pass while the driver does not run. */
  void holdUp(long duration) {
    now += duration;
  }

  /** Lets time pass while the machine sleeps. */
  void suspend(long duration) {
    now += duration;
    ++suspends;
  }

  // --- Messages

  /** Takes all operations that were sent; each message counts as written at once. */
  List<SessionOperation> sent() {
    List<SessionOperation> all = new ArrayList<>();
    while (!written.isEmpty()) {
      all.addAll(written.remove(0).getOperationsList());
      machine.onWritten(session());
    }
    return all;
  }

  /** Takes a message without reporting that it was written. */
  SessionRequest takeMessage() {
    return written.isEmpty() ? null : written.remove(0);
  }

  List<SessionOperation> expect(String... wanted) {
    List<SessionOperation> all = sent();
    assertEquals(List.of(wanted), all.stream().map(World::describe).toList());
    return all;
  }

  static String describe(SessionOperation operation) {
    return switch (operation.getOperationCase()) {
      case ACQUIRE -> {
        var acquire = operation.getAcquire();
        String verb = acquire.getExtendIfHeld() ? "reacquire " : "acquire ";
        yield verb + named(acquire.getKey(), acquire.getKeysList(), acquire.getMode()) + of(acquire.getMaxHolders(), 0) + " "
            + acquire.getToken();
      }
      case EXTEND -> {
        var extend = operation.getExtend();
        yield "extend " + named(extend.getKey(), extend.getKeysList(), extend.getMode())
            + of(extend.getMaxHolders(), extend.getSlot()) + " " + extend.getToken();
      }
      case RELEASE -> {
        var release = operation.getRelease();
        yield "release " + named(release.getKey(), release.getKeysList()) + " " + release.getToken();
      }
      case ADOPT -> {
        var adopt = operation.getAdopt();
        yield "adopt " + named(adopt.getKey(), adopt.getKeysList(), adopt.getMode())
            + of(adopt.getMaxHolders(), adopt.getSlot()) + " " + adopt.getToken() + " #" + adopt.getSequence();
      }
      case GIVE_UP -> {
        var giveUp = operation.getGiveUp();
        yield "give_up " + named(giveUp.getKey(), giveUp.getKeysList()) + of(giveUp.getMaxHolders(), 0) + " "
            + giveUp.getToken();
      }
      case CANCEL -> "cancel " + operation.getId();
      case PING -> "ping";
      case CLOSE -> "close";
      case OPERATION_NOT_SET -> "nothing";
    };
  }

  private static String named(String key, List<String> keys, LockMode mode) {
    return named(key, keys) + (mode == LockMode.LOCK_MODE_SHARED ? " shared" : "");
  }

  // Of a semaphore.
  private static String of(int maxHolders, int slot) {
    return (maxHolders == 0 ? "" : " of " + maxHolders) + (slot == 0 ? "" : " slot " + slot);
  }

  // One of the two fields is set.
  private static String named(String key, List<String> keys) {
    return key + String.join("+", keys);
  }

  private SessionResponse.Builder message() {
    return SessionResponse.newBuilder().setClock(Times.proto(now + DAEMON_AHEAD));
  }

  void reply(SessionResult... results) {
    machine.onMessage(session(), message().addAllResults(List.of(results)).build());
  }

  void event(EventType type, String key, String token, long validity) {
    event(WatchResponse.newBuilder().setKey(key), type, token, validity);
  }

  /** An event of a lease of several keys. */
  void event(EventType type, List<String> keys, String token, long validity) {
    event(WatchResponse.newBuilder().addAllKeys(keys), type, token, validity);
  }

  /** An event of a share. */
  void eventOfShare(EventType type, String key, String token, long validity) {
    event(WatchResponse.newBuilder().setKey(key).setMode(LockMode.LOCK_MODE_SHARED), type, token, validity);
  }

  /** An event of a slot of a semaphore. */
  void eventOfSemaphore(EventType type, String key, int maxHolders, String token, long validity) {
    event(WatchResponse.newBuilder().setKey(key).setMaxHolders(maxHolders), type, token, validity);
  }

  private void event(WatchResponse.Builder event, EventType type, String token, long validity) {
    event
        .setType(type)
        .setLease(lease(event.getKey(), token, 0, validity).toBuilder().addAllKeys(event.getKeysList()))
        .setReason(type == EventType.EVENT_TYPE_LOST ? "LOCK_NOT_HELD" : "")
        .setMessage(type == EventType.EVENT_TYPE_EXTEND_FAILED ? "too few nodes" : "");
    machine.onMessage(session(), message().addEvents(event).build());
  }

  void position(SessionOperation operation, int position) {
    machine.onMessage(session(), message()
        .addPositions(QueuePosition.newBuilder().setId(operation.getId()).setPosition(position))
        .build());
  }

  static SessionResult ok(SessionOperation operation) {
    return SessionResult.newBuilder().setId(operation.getId()).build();
  }

  static SessionResult failed(SessionOperation operation, String reason) {
    return failed(operation, reason, Map.of());
  }

  static SessionResult failed(SessionOperation operation, String reason, Map<String, String> metadata) {
    return SessionResult.newBuilder()
        .setId(operation.getId())
        .setStatus(OperationStatus.newBuilder()
            .setCode(1)
            .setReason(reason)
            .setMessage("because")
            .putAllMetadata(metadata))
        .build();
  }

  private static io.redlockd.redlock.v1.Lease lease(String key, String token, long fence, long validity) {
    return io.redlockd.redlock.v1.Lease.newBuilder()
        .setKey(key)
        .setToken(token)
        .setFencingToken(fence)
        .setValidity(Times.proto(validity))
        .build();
  }

  /** Answers an acquire, an adopt or an extend. */
  static SessionResult granted(SessionOperation operation, long fence, long validity) {
    return SessionResult.newBuilder().setId(operation.getId()).setLease(lease("", "", fence, validity)).build();
  }

  /** Answers an acquire, an adopt or an extend of a slot. */
  static SessionResult grantedSlot(SessionOperation operation, int slot, long fence, long validity) {
    return SessionResult.newBuilder()
        .setId(operation.getId())
        .setLease(lease("", "", fence, validity).toBuilder().setSlot(slot))
        .build();
  }

  /** Answers the first ping, and returns the operations that follow it. */
  List<SessionOperation> getReady() {
    List<SessionOperation> first = expect("ping");
    reply(ok(first.get(0)));
    return sent();
  }

  void breakOff() {
    machine.onEnded(session(), Failure.of(Reason.UNREACHABLE, "reset"));
  }

  // --- Callers

  /** A caller of acquire. */
  static final class User implements AcquireCaller {
    Acquisition acquisition;
    Lease lease;
    Failure failure;
    int told;
    Failure loss;
    final List<Integer> positions = new ArrayList<>();

    @Override
    public void granted(Lease granted) {
      lease = granted;
      ++told;
    }

    @Override
    public void failed(Failure why) {
      failure = why;
      ++told;
    }

    @Override
    public void queued(int position) {
      positions.add(position);
    }

    @Override
    public void lost(Failure why) {
      assertEquals(null, loss, "the loss is signalled once");
      loss = why;
    }

    Reason reason() {
      return failure == null ? null : failure.reason();
    }
  }

  User acquire(String key) {
    return acquire(key, null, Kind.ACQUIRE, -1);
  }

  User acquire(String key, String token, Kind kind, long wait) {
    return acquire(key, 0, token, kind, wait);
  }

  /** Acquires a lock, or adopts one, which has a slot if the key is a semaphore. */
  User acquire(String key, int slot, String token, Kind kind, long wait) {
    return acquire(new AcquireCommand(key, slot, token, kind, TTL, wait, "me", "", 0, GRACE / 10, null));
  }

  User acquire(AcquireCommand command) {
    User user = new User();
    user.acquisition = machine.acquire(command, user);
    return user;
  }

  /** Acquires a lock on the current Session, which is ready, or on the first one. */
  User hold(String key) {
    User user = acquire(key);
    List<SessionOperation> operations = opened.size() == 1 && !isReady ? getReady() : sent();
    isReady = true;
    reply(granted(operations.get(0), 70, TTL));
    assertNotNull(user.lease, () -> "not granted: " + user.failure);
    return user;
  }

  private boolean isReady;

  /** What extend, release and close report. */
  static final class Outcome implements Consumer<Failure>, Runnable {
    int told;
    Failure failure;

    @Override
    public void accept(Failure why) {
      failure = why;
      ++told;
    }

    @Override
    public void run() {
      ++told;
    }

    String text() {
      return told == 0 ? "pending" : failure == null ? "OK" : failure.reason().name();
    }
  }

  Outcome release(User user) {
    return release(user, 0);
  }

  Outcome release(User user, long keepFor) {
    Outcome outcome = new Outcome();
    machine.release(user.lease, keepFor, outcome);
    return outcome;
  }

  Outcome extend(User user) {
    Outcome outcome = new Outcome();
    machine.extend(user.lease, TTL, false, outcome);
    return outcome;
  }

  Outcome close() {
    Outcome outcome = new Outcome();
    machine.close(outcome);
    return outcome;
  }

  long validity(User user) {
    return user.lease.validity(now);
  }
}
