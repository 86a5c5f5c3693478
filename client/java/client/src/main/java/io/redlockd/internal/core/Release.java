package io.redlockd.internal.core;

import io.redlockd.Reason;
import io.redlockd.redlock.v1.SessionOperation;
import java.util.ArrayList;
import java.util.List;
import java.util.function.Consumer;

/** One release. It continues over as many Sessions as necessary, until the lock would have expired anyway. */
final class Release extends Operation {
  private static final long PATIENCE = 2 * Times.SECONDS; // how long a caller waits

  final LockId id;
  boolean byClose; // the Session's close releases it
  private final Machine machine;
  private final List<Consumer<Failure>> callers = new ArrayList<>(1);
  private long notBefore = Times.NEVER;
  private long expires = Times.LONG_AGO;
  private int sendings;
  private int sessions; // over how many it was sent
  private long lastSession;
  private long keepFor; // 0: the key is free at once
  private boolean again; // something may have acquired the lock since it was sent
  private boolean over;
  private Timers.Timer expiry;
  private Timers.Timer patience;

  Release(Machine machine, LockId id) {
    this.machine = machine;
    this.id = id;
  }

  long notBefore() {
    return notBefore;
  }

  long expires() {
    return expires;
  }

  void begin(long at, long expiresAt) {
    again = sentAs != 0;
    if (at < notBefore) {
      notBefore = at;
      sendAt(at);
    } else if (!again && at <= machine.now()) {
      machine.enqueue(this);
    }
    if (expiresAt > expires) {
      expires = expiresAt;
      cancel(expiry);
      expiry = machine.timers.add(
          expires,
          () -> finish(Failure.of(Reason.UNREACHABLE, "no daemon answered the release before the lock expired")));
    }
  }

  /** A caller waits for the release, at most 2 s. Each copy keeps the key for as long as the caller wants. */
  void await(long keptFor, Consumer<Failure> done) {
    keepFor = keptFor;
    callers.add(done);
    patience = machine.timers.add(Times.after(machine.now(), PATIENCE), () -> {
      String where = machine.ready() ? "" : " (" + machine.failures() + ")";
      tell(Failure.of(
          Reason.UNREACHABLE, "not released within 2 s; the release continues in the background" + where));
    });
  }

  void tell(Failure failure) {
    List<Consumer<Failure>> told = List.copyOf(callers);
    callers.clear();
    told.forEach(each -> each.accept(failure));
  }

  private void sendAt(long at) {
    if (at <= machine.now()) {
      machine.enqueue(this);
    } else {
      machine.timers.add(at, () -> machine.enqueue(this));
    }
  }

  @Override
  boolean fill(SessionOperation.Builder message) {
    if (over || byClose || sentAs != 0 || notBefore > machine.now()) {
      return false;
    }
    ++sendings;
    if (lastSession != machine.sessionNumber()) {
      lastSession = machine.sessionNumber();
      ++sessions;
    }
    var release = message.getReleaseBuilder();
    KeyNames.writeNames(id.key(), release::setKey, release::addAllKeys);
    release.setToken(id.token());
    if (keepFor > 0) {
      release.setKeepFor(Times.proto(keepFor));
    }
    return true;
  }

  @Override
  void onAnswer(Answer answer) {
    if (over || answer.failedWith(Reason.DRAINING)) {
      return; // the next Session carries it out
    }
    if (answer.failedWith(Reason.OVERLOADED)) {
      notBefore = Times.after(
          machine.now(), Math.max(answer.failure().retryAfter(), Acquisition.SHORTEST_RETRY));
      sendAt(notBefore);
    } else if (keepFor > 0 && answer.failedWith(Reason.INVALID_ARGUMENT)) {
      keepFor = 0; // no daemon carries it out, and the caller no longer holds the lock
      tell(answer.failure().followedBy("; the lock is released without being kept"));
      machine.enqueue(this);
    } else if (again) {
      again = false;
      machine.enqueue(this);
    } else {
      finish(outcome(answer));
    }
  }

  private void finish(Failure failure) {
    over = true;
    cancel(expiry);
    cancel(patience);
    machine.releases.finish(this, failure);
  }

  private static void cancel(Timers.Timer timer) {
    if (timer != null) {
      timer.cancel();
    }
  }

  private Failure outcome(Answer answer) {
    // An earlier copy may have released the lock.
    boolean done = answer.failure() == null || (sendings > 1 && answer.failedWith(Reason.LOCK_NOT_HELD));
    if (!done) {
      return answer.failure();
    }
    if (sessions > 1 && !Releases.isMade(id.token())) {
      // A daemon may still carry out an earlier copy, which would end a later hold of the same token.
      return Failure.of(
          Reason.UNREACHABLE,
          "the lock is released, but an earlier daemon has not answered and may still carry out the release; the token must not"
              + " be used again");
    }
    return null;
  }

  @Override
  void onCutOff() {
    again = false;
  }
}
