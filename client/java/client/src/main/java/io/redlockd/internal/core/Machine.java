package io.redlockd.internal.core;

import io.redlockd.Reason;
import io.redlockd.redlock.v1.EventType;
import io.redlockd.redlock.v1.QueuePosition;
import io.redlockd.redlock.v1.RetryPolicy;
import io.redlockd.redlock.v1.SessionOperation;
import io.redlockd.redlock.v1.SessionRequest;
import io.redlockd.redlock.v1.SessionResponse;
import io.redlockd.redlock.v1.SessionResult;
import io.redlockd.redlock.v1.WatchResponse;
import java.lang.System.Logger.Level;
import java.util.ArrayDeque;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.Deque;
import java.util.LinkedHashSet;
import java.util.List;
import java.util.Objects;
import java.util.Set;
import java.util.function.Consumer;

/**
 * The state of one client.
 *
 * <p>Not thread-safe: a driver calls it for every event, one call at a time. The machine calls only its {@link Clock} and its
 * {@link Host}.
 */
public final class Machine {
  private static final int MOST_IN_MESSAGE = 1_000;

  // Bytes of a message. The default of the daemon's --max-message-bytes is twice that.
  private static final int ENOUGH_BYTES = 1 << 19;

  // After a longer delay of a tick, the driver first gets this time to pass in the messages that have arrived.
  private static final long SLACK = 20 * Times.MILLIS;

  /** What the machine needs. These methods must return at once, and must not call the machine. */
  public interface Host {
    /** Opens a stream. The driver reports its end by {@link Machine#onEnded}. */
    void open(long session, int endpoint);

    /** Writes a message. The driver calls {@link Machine#onWritten} before it gets the next one. */
    void write(long session, SessionRequest message);

    /** The stream is no longer used. It may have ended already. */
    void cancel(long session);

    /** An event for people. */
    void log(Level level, String message);

    /** Returns an owner token that cannot be guessed: "rl-" and 32 hexadecimal digits. */
    String makeToken();

    /** Returns a random number from 0 to 1. */
    double random();

    /** Returns the wall clock in milliseconds since 1970. */
    long wallMillis();
  }

  /**
   * The configuration.
   *
   * @param endpoints at least one; for messages only
   * @param grace the Session's disconnect_grace in nanoseconds: at least 100 ms
   * @param connectTimeout how long it may take until a new Session is ready, in nanoseconds
   */
  public record Config(List<String> endpoints, long grace, long connectTimeout) {}

  final Timers timers = new Timers();
  final Leases leases = new Leases(this);
  final Releases releases = new Releases(this);
  final Set<Acquisition> acquisitions = new LinkedHashSet<>();
  private final Closing closing = new Closing(this);
  private final Config config;
  private final Clock clock;
  private final Host host;
  private final Connector connector;
  private final String[] failures; // for each endpoint, the last one since a Session was ready; null: none
  private final Deque<Operation> outbox = new ArrayDeque<>(); // to be sent on the current Session
  private long now;
  private Session session;
  private long lastSession;
  private long lastId;
  private boolean draining; // reported by the current message
  private long judgeFrom = Times.LONG_AGO; // after a delay of the client, arrived messages are read until then
  private boolean heldUp;
  private long suspends; // that were taken into account
  private boolean used; // the client connects when it is first used

  /** Connects in the first call of {@link #acquire}. */
  public Machine(Config config, Clock clock, Host host) {
    this.config = config;
    this.clock = clock;
    this.host = host;
    this.now = clock.now();
    this.suspends = clock.suspends();
    this.failures = new String[config.endpoints().size()];
    this.connector =
        new Connector(config.endpoints().size(), config.connectTimeout(), config.grace(), host::random);
  }

  // --- Callers

  /** Starts an acquisition, which ends with one call of {@code caller}, possibly within this call. */
  public Acquisition acquire(AcquireCommand command, AcquireCaller caller) {
    enter();
    Acquisition acquisition = new Acquisition(this, command, caller);
    if (closing.begun()) {
      caller.failed(Failure.closed());
      return acquisition;
    }
    if (!used) {
      used = true;
      connect();
    }
    acquisitions.add(acquisition);
    acquisition.begin();
    flush();
    return acquisition;
  }

  /**
   * Downgrades an exclusive lease to a share. Its trust has ended when this returns. Ends with one call of {@code caller}, possibly
   * within this call, and at the latest when the trust would have ended otherwise. {@link #giveUp} gives it up.
   */
  public Acquisition downgrade(Lease lease, AcquireCaller caller) {
    enter();
    Acquisition acquisition = Acquisition.downgrade(this, lease, caller);
    if (lease.held() && isRequested(lease)) {
      caller.failed(Failure.of(Reason.INVALID_ARGUMENT, "token: this client is requesting the key with it"));
    } else if (lease.held()) {
      leases.release(lease);
      lease.downgraded = true;
      acquisitions.add(acquisition);
      acquisition.begin();
    } else {
      caller.failed(lease.notHeld());
    }
    leave();
    return acquisition;
  }

  /**
   * Gives up an acquisition, and leaves no lock behind: the caller does not take a lease that was granted meanwhile. Does nothing if
   * the acquisition has failed.
   */
  public void giveUp(Acquisition acquisition) {
    enter();
    if (acquisitions.contains(acquisition) || acquisition.isGranted()) {
      acquisition.giveUp(Reason.CANCELLED);
    }
    leave();
  }

  /**
   * Extends a lease that another call has got, for a call that gets it too. If that call ends without it, it calls {@link #unjoin}.
   *
   * @param retry null: the daemon's default
   * @param longest how long to wait in nanoseconds; -1: without a limit
   */
  public void join(Lease lease, long ttl, RetryPolicy retry, long longest, Consumer<Failure> done) {
    enter();
    ++lease.users;
    leases.extend(lease, ttl, retry, longest, done);
    leave();
  }

  /** Ends a call that does not get the lease of {@link #join}. The lease ends only if no other call has it. */
  public void unjoin(Lease lease) {
    enter();
    if (--lease.users == 0) {
      releases.refuse(lease, lease.callersToken, lease.sparedUntil);
    }
    leave();
  }

  /** Extends a lease; {@code once}: the daemon makes one attempt. {@code done} is called once, with null on success. */
  public void extend(Lease lease, long ttl, boolean once, Consumer<Failure> done) {
    enter();
    leases.extend(lease, ttl, once ? Acquisition.NO_RETRY : null, -1, done);
    leave();
  }

  /**
   * Releases a lease. Trust has ended when this returns. {@code done} is called within 2 s, with null on success.
   *
   * @param keepFor for how long after its acquisition the key stays taken, in nanoseconds; 0: it is free at once
   */
  public void release(Lease lease, long keepFor, Consumer<Failure> done) {
    enter();
    releases.release(lease, keepFor, done);
    leave();
  }

  /**
   * Ends all calls and releases all locks. {@code done} is called when all locks are released or have expired. The caller need
   * not wait for it: the machine continues in the background.
   */
  public void close(Runnable done) {
    enter();
    closing.begin(done);
    leave();
  }

  /** Returns the held lease of this key and token; null: none. */
  public Lease find(String key, String token) {
    enter();
    Lease found = leases.find(new LockId(key, token));
    leave();
    return found;
  }

  /** Whether the token belongs to a lock of this key that is held, requested, being downgraded, or not yet released. */
  public boolean inUse(String key, String token) {
    LockId id = new LockId(key, token);
    return leases.find(id) != null
        || releases.contains(id)
        || acquisitions.stream().anyMatch(acquisition -> acquisition.wants(id));
  }

  // Whether a call requests the key of an exclusive lease with its token. A daemon could grant the lock to that call, and carry out a
  // downgrade afterwards.
  private boolean isRequested(Lease lease) {
    LockId share = new LockId(KeyNames.share(lease.key()), lease.token());
    return acquisitions.stream().anyMatch(acquisition -> acquisition.wants(lease.id) || acquisition.wants(share));
  }

  /** Whether a caller has, or may get, a lock of this key with the same token of its own. */
  boolean isWanted(LockId id) {
    return leases.find(id) != null || acquisitions.stream().anyMatch(acquisition -> acquisition.mayGet(id));
  }

  /** Whether there are held locks, whose trust a suspend may end while the driver sleeps. */
  public boolean isHolding() {
    return !leases.isEmpty();
  }

  /** Whether anything is left to do. For tests. */
  public int pending() {
    return acquisitions.size() + releases.size() + leases.size();
  }

  // --- The transport

  /** A message has arrived. Ignored unless {@code number} is the current Session. */
  public void onMessage(long number, SessionResponse message) {
    enter();
    if (!isCurrent(number)) {
      leave();
      return;
    }
    Session current = session;
    draining = false;
    long made = Times.nanos(message.getClock());
    // Processes what the answers prove first, because it dates the whole message.
    List<Operation> answered = new ArrayList<>(message.getResultsCount());
    for (SessionResult result : message.getResultsList()) {
      answered.add(current.onAnswer(result.getId(), made));
    }
    for (int i = 0; i < answered.size() && session == current; ++i) {
      if (answered.get(i) != null) {
        dispatch(answered.get(i), message.getResults(i), made);
      }
    }
    if (session == current) {
      for (WatchResponse event : message.getEventsList()) {
        onEvent(event, made);
      }
      for (QueuePosition position : message.getPositionsList()) {
        onPosition(position);
      }
      if (draining) {
        abandon(Failure.of(Reason.UNREACHABLE, endpoint() + ": the daemon is shutting down"));
      }
    }
    leave();
  }

  /** The message was written. */
  public void onWritten(long number) {
    enter();
    if (isCurrent(number)) {
      session.writing = false;
    }
    leave();
  }

  /** The stream could not be opened, or broke. */
  public void onEnded(long number, Failure why) {
    enter();
    if (isCurrent(number)) {
      abandon(why);
    }
    leave();
  }

  private boolean isCurrent(long number) {
    return session != null && session.number == number;
  }

  private void dispatch(Operation operation, SessionResult result, long made) {
    operation.sentAs = 0;
    Failure failure = result.hasStatus() ? Failure.of(result.getStatus()) : null;
    boolean granted = failure == null && result.hasLease();
    long validUntil = granted ? validUntil(result.getLease(), made) : Times.LONG_AGO;
    Answer answer = new Answer(granted ? result.getLease() : null, validUntil, failure);
    draining |= answer.failedWith(Reason.DRAINING);
    operation.onAnswer(answer);
  }

  private long validUntil(io.redlockd.redlock.v1.Lease lease, long made) {
    return Times.after(session.anchor.madeAt(made), Times.nanos(lease.getValidity()));
  }

  private void onEvent(WatchResponse event, long made) {
    draining |= event.getType() == EventType.EVENT_TYPE_DRAINING;
    boolean usable = session.anchor.isKnown();
    leases.onEvent(event, usable ? validUntil(event.getLease(), made) : Times.LONG_AGO, usable);
  }

  private void onPosition(QueuePosition position) {
    Session.Sent sent = session.sent.get(position.getId());
    if (sent != null && sent.operation() instanceof Acquisition acquisition) {
      acquisition.onPosition(position.getPosition());
    }
  }

  // --- Time

  /** Does what is due. Called at {@link #nextDeadline} or later. */
  public void tick() {
    long due = nextDeadline();
    enter();
    if (now < due) {
      leave();
      return;
    }
    if (now - due > SLACK && !heldUp) {
      // The client was held up: the driver first passes in what has arrived, so that it does not count as missing.
      heldUp = true;
      judgeFrom = now + SLACK;
    }
    if (now >= judgeFrom) {
      heldUp = false;
      judgeFrom = Times.LONG_AGO;
      leases.checkTrust(now, true);
      timers.run(now);
      keepSession();
    }
    leave();
  }

  /** When {@link #tick} must be called next; NEVER: nothing is due. */
  public long nextDeadline() {
    if (closing.finished()) {
      return Times.NEVER;
    }
    long next = Math.min(timers.next(), leases.next());
    if (session != null) {
      next = Math.min(next, Math.min(session.patienceEnds(), session.pingAt()));
    } else if (used) {
      next = Math.min(next, connector.connectAt());
    }
    return Math.max(next, judgeFrom);
  }

  // After a suspend, checks the clock before any input is processed: a message that waited to be read does not restore a lock whose
  // trust has ended. After another delay, what has arrived is read first.
  private void enter() {
    now = Math.max(now, clock.now());
    if (suspends != clock.suspends()) {
      suspends = clock.suspends();
      leases.checkTrust(now, false);
    }
  }

  private void leave() {
    if (closing.finished()) {
      return;
    }
    if (session == null && used && connector.connectAt() <= now) {
      connect();
    }
    flush();
  }

  private void keepSession() {
    if (session == null) {
      return;
    }
    if (session.patienceEnds() <= now && !session.waitOnceMore(now)) {
      abandon(Failure.of(
          Reason.UNREACHABLE, endpoint() + ": no answer within " + Times.inWords(session.patience())));
    } else if (session.pingAt() <= now) {
      session.onPing(now);
      outbox.add(new Ping());
    }
  }

  // --- Sessions

  private String endpoint() {
    return config.endpoints().get(connector.endpoint());
  }

  private void connect() {
    session = new Session(++lastSession, config.grace(), now, connector.patience(!leases.isEmpty()));
    host.open(session.number, connector.endpoint());
    outbox.add(new Ping());
  }

  // Sends releases first, so that the keys are free for what follows. Extensions follow the adoption of their lease.
  private void onReady() {
    session.ready = true;
    session.readySince = now;
    Arrays.fill(failures, null);
    log(Level.DEBUG, "connected: " + endpoint());
    releases.onReady();
    leases.onReady();
    acquisitions.forEach(this::enqueue);
    closing.proceed();
  }

  // Abandons the Session: everything that still arrives on it is ignored.
  private void abandon(Failure why) {
    Session abandoned = session;
    host.cancel(abandoned.number);
    log(Level.DEBUG, "Session abandoned, moving to the next daemon: " + why.message());
    failures[connector.endpoint()] = why.message();
    outbox.clear();
    leases.freeze();
    session = null;
    for (Session.Sent sent : abandoned.sent.values()) {
      sent.operation().sentAs = 0;
      sent.operation().onCutOff();
    }
    List.copyOf(acquisitions).forEach(Acquisition::onAbandoned);
    releases.onAbandoned();
    closing.onAbandoned();
    boolean allTried = false;
    if (abandoned.ready) {
      connector.onLost(now, now - abandoned.readySince);
    } else {
      allTried = connector.onFailed(now);
    }
    if (why.isRefusal()) { // a retry cannot help
      failAll(why, true);
    } else if (allTried) { // waiters wait through an outage
      failAll(Failure.of(Reason.UNREACHABLE, "no daemon answered (" + failures() + ")"), false);
    }
    closing.proceed();
  }

  private void failAll(Failure failure, boolean waiters) {
    leases.failExtensions(failure);
    for (Acquisition acquisition : List.copyOf(acquisitions)) {
      if (waiters || acquisition.isSingleTry()) {
        acquisition.fail(failure);
      }
    }
  }

  // --- Sending

  /** Queues the operation if a Session is ready. Otherwise, it is sent once the next Session is ready. */
  void enqueue(Operation operation) {
    if (ready()) {
      outbox.add(operation);
    }
  }

  /** Queues the operation behind all others, even if it has been queued before. */
  void enqueueAsLast(Operation operation) {
    outbox.remove(operation);
    enqueue(operation);
  }

  // Operations that were queued while the previous message was being written share the next one.
  private void flush() {
    if (session == null || session.writing || outbox.isEmpty()) {
      return;
    }
    SessionRequest.Builder message = SessionRequest.newBuilder();
    if (!session.opened) {
      message.setDisconnectGrace(Times.proto(config.grace()));
    }
    int size = 0;
    while (!outbox.isEmpty()
        && message.getOperationsCount() < MOST_IN_MESSAGE
        && size < ENOUGH_BYTES) {
      Operation operation = outbox.poll();
      SessionOperation.Builder filled = SessionOperation.newBuilder();
      if (!operation.fill(filled)) {
        continue;
      }
      if (operation.isAnswered()) {
        operation.sentAs = ++lastId;
        filled.setId(lastId);
        session.sent.put(lastId, new Session.Sent(operation, now - clock.error()));
      }
      SessionOperation built = filled.build();
      size += built.getSerializedSize();
      message.addOperations(built);
    }
    if (message.getOperationsCount() == 0) {
      return;
    }
    session.opened = true;
    session.writing = true;
    host.write(session.number, message.build());
  }

  /** Checks that the daemon is alive, and asks for its clock. */
  private final class Ping extends Operation {
    @Override
    boolean fill(SessionOperation.Builder message) {
      message.getPingBuilder();
      return true;
    }

    @Override
    void onAnswer(Answer answer) {
      session.onPong();
      if (!session.ready && answer.failure() == null) {
        onReady();
      }
    }
  }

  // --- For the parts of the machine

  /** Whether a Session is ready. */
  boolean ready() {
    return session != null && session.ready;
  }

  long now() {
    return now;
  }

  long grace() {
    return config.grace();
  }

  /** Whether the current Session keeps a lease alive, or may do so once it has adopted it. */
  boolean mayKeep(Lease lease) {
    return lease.kept()
        || (session != null
            && session.sent.values().stream().anyMatch(
                sent -> sent.operation() instanceof Adoption adoption && adoption.isOf(lease)));
  }

  /** Leaves the Session, so that the daemon does not keep a lost lock alive. The other locks move to the next Session. */
  void leaveSession() {
    abandon(Failure.of(
        Reason.UNREACHABLE, endpoint() + ": the client has left, so that a lost lock is not kept alive any longer"));
  }

  SessionTrust sessionTrust() {
    return session.trust;
  }

  /** The number of the current Session; 0: none. */
  long sessionNumber() {
    return session == null ? 0 : session.number;
  }

  /** Whether a lease that is valid until then is worth having. */
  boolean usable(long validUntil, long margin) {
    return Times.after(Math.min(validUntil, session.trust.until()), -margin) > now;
  }

  String makeToken() {
    return host.makeToken();
  }

  /**
   * A sequence above those of other clients, which start at a fencing token: fencing tokens are microseconds since 1970. The
   * second on top is for clocks that differ.
   */
  long highSequence() {
    return 1_000 * host.wallMillis() + 1_000_000;
  }

  boolean closing() {
    return closing.begun();
  }

  void onReleased() {
    closing.proceed();
  }

  void log(Level level, String message) {
    host.log(level, message);
  }

  /** Why no endpoint serves. */
  String failures() {
    String text = String.join("; ", Arrays.stream(failures).filter(Objects::nonNull).toList());
    return text.isEmpty() ? endpoint() + ": no answer yet" : text;
  }

  /** The end of the machine: nothing is sent or reported afterwards. */
  void end() {
    releases.finishAll();
    if (session != null) {
      host.cancel(session.number);
      session = null;
    }
    acquisitions.clear();
    outbox.clear();
    timers.clear();
  }
}
