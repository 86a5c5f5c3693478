package io.redlockd.internal;

import io.grpc.ClientCall;
import io.grpc.ManagedChannel;
import io.grpc.Metadata;
import io.grpc.Status;
import io.redlockd.LockException;
import io.redlockd.Reason;
import io.redlockd.Watch;
import io.redlockd.WatchEvent;
import io.redlockd.WatchItem;
import io.redlockd.internal.core.Failure;
import io.redlockd.internal.core.KeyNames;
import io.redlockd.internal.core.Times;
import io.redlockd.redlock.v1.EventType;
import io.redlockd.redlock.v1.WatchRequest;
import io.redlockd.redlock.v1.WatchResponse;
import java.lang.System.Logger.Level;
import java.util.ArrayDeque;
import java.util.Deque;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import java.util.Optional;
import java.util.concurrent.Future;
import java.util.concurrent.locks.ReentrantLock;
import java.util.function.Consumer;

/**
 * A watch: one stream at a time, which moves to the next endpoint when it fails. Thread-safe.
 *
 * <p>The next message is read once the callback has seen the events before it, so no queue grows.
 */
public final class WatchStream implements Watch, LastingStream {
  private static final System.Logger LOG = System.getLogger("io.redlockd");

  // A daemon that reports nothing for 1.5 intervals and this time counts as silent.
  private static final long SILENCE = 500 * Times.MILLIS;
  private static final long FIRST_SILENCE = 2_500 * Times.MILLIS;

  private final Driver driver;
  private final Consumer<WatchEvent> onEvent;
  private final boolean keepAfterLoss;
  private final ReentrantLock lock = new ReentrantLock();
  private final Map<String, WatchItem> items = new LinkedHashMap<>(); // by key, without the slot; those that are not lost
  private final Deque<WatchEvent> events = new ArrayDeque<>(); // for the callback
  private final Pause pause = new Pause();
  private boolean delivering;
  private boolean closed;
  private int endpoint;
  private int failed;
  private Call current;

  /** Call {@link #start} next. */
  public WatchStream(Driver driver, List<WatchItem> items, boolean keepAfterLoss, Consumer<WatchEvent> onEvent) {
    this.driver = driver;
    this.keepAfterLoss = keepAfterLoss;
    this.onEvent = onEvent;
    items.forEach(item -> this.items.put(KeyNames.withoutSlot(item.key()), item));
  }

  @Override
  public void start() {
    open();
  }

  @Override
  public void close() {
    Failure why = Failure.of(Reason.CANCELLED, "the watch was closed");
    Call call;
    lock.lock();
    try {
      if (closed) {
        return;
      }
      closed = true;
      call = current;
      current = null;
      report(new WatchEvent(WatchEvent.Type.CLOSED, null, Errors.of(null, why)));
    } finally {
      lock.unlock();
    }
    driver.forget(this);
    if (call != null) {
      call.cancel();
    }
  }

  private void open() {
    lock.lock();
    try {
      if (closed || items.isEmpty()) {
        return;
      }
      ManagedChannel channel = driver.endpoints.channel(endpoint);
      if (channel == null) {
        return; // the client closes, which ends this watch
      }
      current = new Call(endpoint, channel, request());
      current.start();
    } finally {
      lock.unlock();
    }
  }

  private WatchRequest request() {
    WatchRequest.Builder request = WatchRequest.newBuilder().setKeepWatchingAfterLoss(keepAfterLoss);
    for (WatchItem item : items.values()) {
      io.redlockd.redlock.v1.WatchItem.Builder added = request.addItemsBuilder();
      KeyNames.write(item.key(), added::setKey, added::addAllKeys, added::setMode, added::setMaxHolders);
      added.setSlot(KeyNames.slot(item.key())).setToken(item.token()).setTtl(Times.proto(Times.nanos(item.ttl())));
      if (item.interval() != null) {
        added.setInterval(Times.proto(Times.nanos(item.interval())));
      }
    }
    return request.build();
  }

  private long shortestInterval() {
    long shortest = Times.NEVER;
    for (WatchItem item : items.values()) {
      long interval = item.interval() == null ? Times.nanos(item.ttl()) / 2 : Times.nanos(item.interval());
      shortest = Math.min(shortest, interval);
    }
    return shortest;
  }

  // --- Events

  // Under the lock.
  private void report(WatchEvent event) {
    events.add(event);
    if (!delivering) {
      delivering = true;
      driver.callBack(this::deliver);
    }
  }

  private void deliver() {
    while (true) {
      WatchEvent event;
      Call call;
      lock.lock();
      try {
        event = events.poll();
        call = current;
        if (event == null) {
          delivering = false;
          if (call != null) {
            call.readOn();
          }
          return;
        }
      } finally {
        lock.unlock();
      }
      Callbacks.contain(() -> onEvent.accept(event));
    }
  }

  // Under the lock. Returns whether the daemon is shutting down.
  private boolean onEvent(WatchResponse event) {
    String key = // empty for DRAINING
        KeyNames.read(event.getKey(), event.getKeysList(), event.getMode(), event.getMaxHolders());
    Failure failure = Failure.of(
        Reason.of(event.getReason()), event.getMessage().isEmpty() ? event.getReason() : event.getMessage());
    switch (event.getType()) {
      case EVENT_TYPE_EXTENDED -> report(new WatchEvent(WatchEvent.Type.EXTENDED, key, null));
      case EVENT_TYPE_EXTEND_FAILED ->
          report(new WatchEvent(WatchEvent.Type.EXTEND_FAILED, key, Errors.of(key, failure)));
      case EVENT_TYPE_LOST -> {
        LOG.log(Level.DEBUG, "watched lock lost: {0}: {1}", KeyNames.inWords(key), failure.message());
        report(new WatchEvent(WatchEvent.Type.LOST, key, Errors.of(key, failure)));
        if (!keepAfterLoss) {
          items.remove(key);
        }
      }
      default -> {
        return event.getType() == EventType.EVENT_TYPE_DRAINING;
      }
    }
    return false;
  }

  /** One stream. */
  private final class Call extends ClientCall.Listener<WatchResponse> {
    private final int at;
    private final ManagedChannel channel;
    private final WatchRequest request;
    private final ClientCall<WatchRequest, WatchResponse> call;
    private Future<?> silence;
    private boolean reading = true;

    Call(int at, ManagedChannel channel, WatchRequest request) {
      this.at = at;
      this.channel = channel;
      this.request = request;
      this.call = channel.newCall(Methods.WATCH, driver.callOptions());
    }

    // Under the lock.
    void start() {
      expectWithin(FIRST_SILENCE);
      call.start(this, new Metadata());
      if (current != this) {
        return; // the connection was dropped at the same time, and the call has failed already
      }
      call.request(1);
      call.sendMessage(request);
      call.halfClose();
    }

    void cancel() {
      call.cancel("the client ended the watch", null);
      if (silence != null) {
        silence.cancel(false);
      }
    }

    // Under the lock.
    void readOn() {
      if (!reading) {
        reading = true;
        long interval = shortestInterval();
        expectWithin(interval == Times.NEVER ? FIRST_SILENCE : interval + interval / 2 + SILENCE);
        call.request(1);
      }
    }

    private void expectWithin(long time) {
      silence = Delays.after(time, () -> failedWith(Failure.of(
          Reason.UNREACHABLE, driver.endpoints.name(at) + ": no answer within " + Times.inWords(time))));
    }

    @Override
    public void onMessage(WatchResponse event) {
      boolean draining;
      lock.lock();
      try {
        if (current != this) {
          return;
        }
        silence.cancel(false);
        reading = false;
        failed = 0;
        pause.reset();
        draining = onEvent(event);
        if (!delivering && !draining) {
          readOn();
        }
      } finally {
        lock.unlock();
      }
      if (draining) {
        failedWith(Failure.of(Reason.DRAINING, driver.endpoints.name(at) + ": the daemon is shutting down"));
      }
    }

    @Override
    public void onClose(Status status, Metadata trailers) {
      Optional<Failure> decided = Errors.decided(status, trailers);
      boolean lost = decided.isPresent() && decided.get().reason() == Reason.LOCK_NOT_HELD;
      if (!keepAfterLoss && (status.isOk() || lost)) {
        rest();
        return;
      }
      failedWith(decided.orElseGet(() -> Errors.ofStream(driver.endpoints.name(at), status)));
    }

    // All locks are lost or released: nothing is left to do until the watch is closed.
    private void rest() {
      lock.lock();
      try {
        if (current == this) {
          current = null;
          silence.cancel(false);
        }
      } finally {
        lock.unlock();
      }
    }

    private void failedWith(Failure why) {
      lock.lock();
      try {
        if (current != this) {
          return;
        }
        current = null;
        silence.cancel(false);
        if (!items.isEmpty()) { // otherwise, the callback has heard of each loss, and nothing is left to do
          moveOn(why);
        }
      } finally {
        lock.unlock();
      }
      call.cancel("the client moved to the next daemon", null);
      driver.endpoints.drop(at, channel);
    }

    // Under the lock.
    private void moveOn(Failure why) {
      LockException error = Errors.of(null, why);
      LOG.log(Level.DEBUG, "watch: moving to the next daemon: {0}", error.getMessage());
      report(new WatchEvent(WatchEvent.Type.STREAM_FAILED, null, error));
      endpoint = (endpoint + 1) % driver.endpoints.size();
      ++failed;
      long delay = failed % driver.endpoints.size() == 0 ? pause.take() : 0;
      Delays.after(delay, WatchStream.this::open);
    }
  }
}
