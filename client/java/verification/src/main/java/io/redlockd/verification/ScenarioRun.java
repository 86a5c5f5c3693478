package io.redlockd.verification;

import io.redlockd.AcquireOptions;
import io.redlockd.KeyState;
import io.redlockd.Keys;
import io.redlockd.Lease;
import io.redlockd.Lock;
import io.redlockd.LockException;
import io.redlockd.KeyObserver;
import io.redlockd.Reason;
import io.redlockd.RedlockClient;
import io.redlockd.RetryPolicy;
import io.redlockd.Watch;
import io.redlockd.WatchEvent;
import io.redlockd.WatchItem;
import java.io.IOException;
import java.time.Duration;
import java.util.ArrayList;
import java.util.HashSet;
import java.util.List;
import java.util.Locale;
import java.util.Map;
import java.util.Objects;
import java.util.Optional;
import java.util.Random;
import java.util.Set;
import java.util.concurrent.CancellationException;
import java.util.concurrent.CompletableFuture;
import java.util.concurrent.ConcurrentHashMap;
import java.util.concurrent.CopyOnWriteArrayList;
import java.util.concurrent.ExecutionException;
import java.util.concurrent.ExecutorService;
import java.util.concurrent.Executors;
import java.util.concurrent.Future;
import java.util.concurrent.TimeUnit;
import java.util.concurrent.TimeoutException;
import java.util.function.BooleanSupplier;
import java.util.function.Supplier;

/** Carries out one scenario. */
final class ScenarioRun {
  /** A step has failed. The message begins with the step. */
  private static final class StepFailed extends Exception {
    private static final long serialVersionUID = 1;

    StepFailed(Step step, String problem) {
      super(step.action + " " + Objects.toString(step.keys == null ? step.key : step.keys, "") + ": " + problem);
    }
  }

  /** A watch and what its callback has heard. */
  private record Watched(Watch watch, List<WatchEvent> heard, Set<Integer> found) {}

  /** An observer, what it has reported, and how much of that a step has found. */
  private static final class Observed {
    final List<KeyState> states = new CopyOnWriteArrayList<>();
    KeyObserver observer;
    int found;
  }

  private final Conformance.Scenario scenario;
  private final String prefix;
  private final Map<String, Object> held = new ConcurrentHashMap<>(); // Lock or Lease
  private final Map<String, CompletableFuture<Lock>> waiters = new ConcurrentHashMap<>();
  private final Map<String, List<Integer>> queued = new ConcurrentHashMap<>();
  private final Map<String, Watched> watches = new ConcurrentHashMap<>();
  private final Map<String, Observed> observers = new ConcurrentHashMap<>();
  private final ExecutorService threads = Executors.newCachedThreadPool();
  private RedlockClient client;
  private int storms;

  ScenarioRun(Conformance.Scenario scenario, String prefix) {
    this.scenario = scenario;
    this.prefix = prefix;
  }

  /** Returns what went wrong; null: nothing. */
  String run() {
    String problem = null;
    try {
      for (Step step : scenario.steps) {
        carryOut(step);
      }
    } catch (StepFailed failed) {
      problem = failed.getMessage();
    }
    try {
      close();
      shell("control restore");
    } catch (IOException | InterruptedException | IllegalStateException failed) {
      problem = problem == null ? failed.toString() : problem;
    }
    threads.shutdownNow();
    return problem;
  }

  private void carryOut(Step step) throws StepFailed {
    long began = System.nanoTime();
    String reason = null;
    String message = "";
    Optional<Duration> heldFor = Optional.empty();
    try {
      Object result = act(step);
      if (step.as != null && result != null) {
        held.put(step.as, result);
      }
    } catch (LockException failure) {
      reason = failure.reason().name();
      message = failure.getMessage();
      heldFor = failure.heldFor();
    } catch (CancellationException cancelled) {
      reason = Reason.CANCELLED.name();
    } catch (StepFailed failed) { // in `together`
      throw failed;
    } catch (Exception failed) {
      throw new StepFailed(step, failed.toString());
    }
    double took = (System.nanoTime() - began) / 1e9;
    if (!"*".equals(step.mayFail) && (reason == null || !reason.equals(step.mayFail))) {
      require(step, Objects.equals(reason, step.fails), reason + ": " + message);
      require(step, step.message == null || message.contains(step.message), message);
      require(step, step.heldFor == null || saysForHowLong(step, heldFor, message), heldFor + ": " + message);
    }
    boolean inTime = (step.after == null || took >= step.after) && (step.within == null || took <= step.within);
    require(step, inTime, "took " + took + " s: " + message);
  }

  /** Whether an error and its message have the time for which the lock has been held. */
  private static boolean saysForHowLong(Step step, Optional<Duration> heldFor, String message) {
    double seconds = heldFor.map(time -> time.toMillis() / 1e3).orElse(-1.0);
    return seconds >= step.heldFor
        && seconds < step.heldFor + 60
        && message.contains(String.format(Locale.ROOT, " for %.3f s", seconds));
  }

  private static void require(Step step, boolean condition, String otherwise) throws StepFailed {
    if (!condition) {
      throw new StepFailed(step, otherwise);
    }
  }

  private Object act(Step step) throws Exception {
    return switch (step.action) {
      case "acquire" -> client().acquire(key(step), options(step));
      case "begin" -> begin(step);
      case "try" -> tried(step, client().tryAcquire(key(step), options(step)));
      case "acquire_or_extend" -> client().acquireOrExtend(key(step), step.token, options(step));
      case "acquire_detached" -> client().acquireDetached(key(step), options(step));
      case "adopt" -> client().adopt(key(step), token(step), options(step));
      case "campaign" -> client().election(key(step)).campaign(step.published(), options(step));
      case "downgrade" -> lock(step).downgrade();
      case "extend_by_token" -> client().extend(slotKey(step), token(step), Step.seconds(step.ttl));
      case "try_extend_by_token" -> client().tryExtend(slotKey(step), token(step), Step.seconds(step.ttl));
      case "await" -> {
        held.put(step.waiter, result(waiters.remove(step.waiter), step));
        yield null;
      }
      case "together" -> together(step.steps);
      default -> actWithoutResult(step);
    };
  }

  private Object actWithoutResult(Step step) throws Exception {
    switch (step.action) {
      case "release_by_token" -> releaseByToken(step);
      case "queued" -> until(step, () -> !queued.get(step.waiter).isEmpty(), "not queued");
      case "ended" -> result(waiters.remove(step.waiter), step);
      case "give_up" -> require(step, giveUp(waiters.remove(step.waiter)) == null, "got the lock");
      case "release" -> releaseLock(step);
      case "proclaim" -> lock(step).proclaim(step.published());
      case "extend" -> lock(step).extend(Step.seconds(step.ttl));
      case "try_extend" -> lock(step).tryExtend(Step.seconds(step.ttl));
      case "held" -> require(step, lock(step).isHeld() == step.is, lock(step) + ", loss: " + lock(step).loss());
      case "lost" -> require(step, isLost(lock(step)) == step.is, "loss: " + lock(step).loss());
      case "await_lost" -> until(step, () -> isLost(lock(step)), "the loss was not signalled");
      case "validity" -> checkValidity(step);
      case "fences_grow" -> checkFences(step);
      case "slots" -> checkSlots(step);
      case "hides_token" -> checkToken(step);
      case "watch" -> watch(step);
      case "watch_hears" -> until(step, () -> hears(step), "not heard");
      case "watch_close" -> closeWatch(step);
      case "observe" -> observe(step);
      case "sees" -> until(step, () -> sees(step), () -> observers.get(step.observer).states.toString());
      case "unobserve" -> unobserve(step);
      case "leads" -> checkLeader(step);
      case "storm" -> storm(step);
      case "block", "sleep" -> Thread.sleep(Step.seconds(step.time).toMillis());
      case "shell" -> shell(step.command);
      case "close" -> close();
      default -> throw new IllegalArgumentException("unknown step");
    }
    return null;
  }

  private synchronized RedlockClient client() {
    if (client == null) {
      RedlockClient.Builder builder = RedlockClient.builder().endpoints(System.getenv("ENDPOINTS").split(","));
      if (scenario.grace != null) {
        builder.grace(Step.seconds(scenario.grace));
      }
      if (scenario.owner != null) {
        builder.owner(scenario.owner);
      }
      client = builder.build();
    }
    return client;
  }

  private void close() {
    RedlockClient closing;
    synchronized (this) {
      closing = client;
      client = null;
    }
    if (closing != null) {
      closing.close();
    }
  }

  private String key(Step step) {
    String key = step.shared ? Keys.shared(exclusiveKey(step)) : exclusiveKey(step);
    return step.maxHolders == null ? key : Keys.semaphore(key, step.maxHolders);
  }

  /** The key of a step that names the slot that the token holds, if there is one. Other calls by token find it. */
  private String slotKey(Step step) {
    return step.maxHolders == null || step.of == null ? key(step) : Keys.slot(key(step), slot(step.of));
  }

  private int slot(String name) {
    return held.get(name) instanceof Lock lock ? lock.slot() : ((Lease) held.get(name)).slot();
  }

  private String exclusiveKey(Step step) {
    if (step.keys != null) {
      return Keys.together(step.keys.stream().map(name -> prefix + name).toList());
    }
    return step.wholeKey != null ? step.wholeKey : prefix + step.key;
  }

  private String token(Step step) {
    if (step.of == null) {
      return step.token;
    }
    return held.get(step.of) instanceof Lock lock ? lock.token() : ((Lease) held.get(step.of)).token();
  }

  private Lock lock(Step step) {
    return (Lock) held.get(step.lock);
  }

  private AcquireOptions options(Step step) {
    AcquireOptions options = AcquireOptions.defaults();
    if (step.ttl != null) {
      options = options.withTtl(Step.seconds(step.ttl));
    }
    if (step.longest != null) {
      options = options.withWait(Step.seconds(step.longest));
    }
    if (step.margin != null) {
      options = options.withMargin(Step.seconds(step.margin));
    }
    if (step.value != null) {
      options = options.withValue(step.published());
    }
    if (step.lockDelay != null) {
      options = options.withLockDelay(Step.seconds(step.lockDelay));
    }
    if (step.retry != null) {
      options = options.withRetry(new RetryPolicy(
          step.retry.maxRetries, Step.seconds(step.retry.minDelay), Step.seconds(step.retry.maxJitter)));
    }
    boolean adopts = step.action.equals("adopt") || step.action.equals("acquire_or_extend");
    List<Integer> positions = step.as == null ? new ArrayList<>() : queued.computeIfAbsent(step.as, unused -> new CopyOnWriteArrayList<>());
    return options.withOwner(step.owner).withToken(adopts ? null : step.token).withOnQueued(position -> {
      positions.add(position);
      raise(step);
    });
  }

  private static void raise(Step step) {
    if (step.raises) {
      throw new IllegalStateException("a callback that throws");
    }
  }

  private Object begin(Step step) {
    CompletableFuture<Lock> waiter = client().acquireAsync(key(step), options(step));
    waiter.thenAccept(lock -> lock.onLost(loss -> raise(step)));
    waiters.put(step.as, waiter);
    return null;
  }

  private static Lock tried(Step step, Optional<Lock> lock) throws StepFailed {
    require(step, lock.isPresent() == step.gets, "got " + lock);
    return lock.orElse(null);
  }

  private static <T> T result(Future<T> future, Step step) throws Exception {
    try {
      return future.get(Step.seconds(step.patience()).toMillis(), TimeUnit.MILLISECONDS);
    } catch (ExecutionException failed) {
      throw failed.getCause() instanceof Exception cause ? cause : failed;
    } catch (TimeoutException over) {
      throw new StepFailed(step, "has not ended");
    }
  }

  /** Returns what was granted nevertheless; null: nothing. */
  private static <T> T giveUp(CompletableFuture<T> waiter) throws Exception {
    return waiter.cancel(true) || waiter.isCompletedExceptionally() ? null : waiter.get();
  }

  private static boolean isLost(Lock lock) {
    return lock.isLost() && lock.lost().toCompletableFuture().isDone();
  }

  private static void until(Step step, BooleanSupplier condition, String otherwise) throws Exception {
    until(step, condition, () -> otherwise);
  }

  private static void until(Step step, BooleanSupplier condition, Supplier<String> otherwise) throws Exception {
    long end = System.nanoTime() + Step.seconds(step.patience()).toNanos();
    while (!condition.getAsBoolean()) {
      if (System.nanoTime() >= end) {
        throw new StepFailed(step, otherwise.get());
      }
      Thread.sleep(10);
    }
  }

  private void checkValidity(Step step) throws StepFailed {
    Duration validity = held.get(step.lock) instanceof Lock lock ? lock.validity() : ((Lease) held.get(step.lock)).validity();
    double seconds = validity.toNanos() / 1e9;
    require(step, step.atLeast <= seconds && seconds <= step.atMost, String.valueOf(seconds));
  }

  private void checkFences(Step step) throws StepFailed {
    long last = 0;
    for (String name : step.locks) {
      long fence = held.get(name) instanceof Lock lock ? lock.fencingToken() : ((Lease) held.get(name)).fencingToken();
      require(step, fence > last, fence + " after " + last);
      last = fence;
    }
  }

  private void checkSlots(Step step) throws StepFailed {
    List<Integer> slots = step.locks.stream().map(this::slot).toList();
    int different = new HashSet<>(slots).size();
    require(step, different == (step.differ ? slots.size() : 1) && !slots.contains(0), slots.toString());
  }

  private void checkToken(Step step) throws StepFailed {
    Object shown = held.get(step.lock);
    String token = shown instanceof Lock lock ? lock.token() : ((Lease) shown).token();
    require(step, !shown.toString().contains(token), "shows the token");
  }

  private void watch(Step step) {
    List<WatchEvent> heard = new CopyOnWriteArrayList<>();
    List<WatchItem> items = step.items.stream().map(item -> new WatchItem(
        key(item), token(item), Step.seconds(item.ttl), item.interval == null ? null : Step.seconds(item.interval))).toList();
    Watch watch = client().watch(items, step.keepWatching, event -> {
      heard.add(event);
      raise(step);
    });
    watches.put(step.as, new Watched(watch, heard, new HashSet<>()));
  }

  private boolean hears(Step step) {
    Watched watched = watches.get(step.watch);
    for (int i = 0; i < watched.heard.size(); ++i) {
      WatchEvent event = watched.heard.get(i);
      String reason = event.error().map(error -> error.reason().name()).orElse("");
      boolean matches = step.what.equals(event.type().name()) || step.what.equals(reason);
      boolean about = (step.key == null && step.keys == null) || event.key().equals(Optional.of(key(step)));
      if (matches && about && watched.found.add(i)) {
        return true;
      }
    }
    return false;
  }

  private void closeWatch(Step step) throws Exception {
    Watched watched = watches.get(step.watch);
    watched.watch.close();
    until(step, () -> closings(watched) > 0, "no cancellation");
    Thread.sleep(200);
    WatchEvent last = watched.heard.get(watched.heard.size() - 1);
    require(step, closings(watched) == 1 && last.type() == WatchEvent.Type.CLOSED, watched.heard.toString());
  }

  private static long closings(Watched watched) {
    return watched.heard.stream().filter(event -> event.type() == WatchEvent.Type.CLOSED).count();
  }

  private void releaseByToken(Step step) throws InterruptedException {
    if (step.keepFor == null) {
      client().release(key(step), token(step));
    } else {
      client().release(key(step), token(step), Step.seconds(step.keepFor));
    }
  }

  private void releaseLock(Step step) {
    if (step.keepFor == null) {
      lock(step).release();
    } else {
      lock(step).release(Step.seconds(step.keepFor));
    }
  }

  private void observe(Step step) {
    Observed observed = new Observed();
    observed.observer = client().observe(key(step), observed.states::add);
    observers.put(step.as, observed);
  }

  private boolean sees(Step step) {
    Observed observed = observers.get(step.observer);
    requireOrder(observed.states);
    for (int i = observed.found; i < observed.states.size(); ++i) {
      KeyState state = observed.states.get(i);
      boolean matches = state.state().name().equals(step.state)
          && (step.value == null || state.value().equals(step.value))
          && (step.owner == null || state.owner().equals(step.owner));
      if (matches) {
        observed.found = i + 1;
        return true;
      }
    }
    return false;
  }

  private static void requireOrder(List<KeyState> states) {
    KeyState before = null;
    long highest = 0;
    for (KeyState state : states) {
      boolean lower = state.state() == KeyState.State.HELD && state.fencingToken() < highest;
      if (lower || (before != null && changing(state).equals(changing(before)))) {
        throw new IllegalStateException("repeats a state or goes back: " + states);
      }
      highest = Math.max(highest, state.fencingToken());
      before = state;
    }
  }

  private static List<Object> changing(KeyState state) {
    return List.of(
        state.state(), state.holders(), state.fencingToken(), state.owner(), state.value(), state.keptFor().isPresent());
  }

  private void unobserve(Step step) throws Exception {
    Observed observed = observers.get(step.observer);
    requireOrder(observed.states);
    observed.observer.close();
    result(observed.observer.ended().toCompletableFuture(), step);
  }

  private void checkLeader(Step step) throws Exception {
    KeyState leader = client().election(key(step)).leader();
    boolean expected = step.value == null
        ? leader.state() == KeyState.State.VACANT
        : leader.state() == KeyState.State.HELD && leader.value().equals(step.value);
    require(step, expected, leader.toString());
  }

  private void storm(Step step) throws Exception {
    Random chance = new Random(1);
    String base = prefix + "storm " + ++storms + "/" + System.identityHashCode(step) + "/";
    AcquireOptions options = AcquireOptions.defaults().withTtl(Step.seconds(step.ttl));
    List<Future<?>> all = new ArrayList<>();
    for (int i = 0; i < step.count; ++i) {
      String key = base + i;
      long moment = Math.round(chance.nextDouble() * step.most * 1000);
      all.add(threads.submit(() -> {
        if (step.detached) {
          CompletableFuture<Lease> waiter = client().acquireDetachedAsync(key, options);
          Thread.sleep(moment);
          release(giveUp(waiter));
        } else {
          CompletableFuture<Lock> waiter = client().acquireAsync(key, options);
          Thread.sleep(moment);
          release(giveUp(waiter));
        }
        return null;
      }));
    }
    for (Future<?> one : all) {
      result(one, step);
    }
    all.clear();
    AcquireOptions again = options.withWait(Duration.ofSeconds(5));
    for (int i = 0; i < step.count; ++i) {
      String key = base + i;
      all.add(threads.submit(() -> {
        release(step.detached ? client().acquireDetached(key, again) : client().acquire(key, again));
        return null;
      }));
    }
    for (Future<?> one : all) {
      result(one, step);
    }
  }

  private void release(Object granted) throws InterruptedException {
    if (granted instanceof Lock lock) {
      lock.release();
    } else if (granted instanceof Lease lease) {
      client().release(lease.key(), lease.token());
    }
  }

  private Object together(List<Step> steps) throws Exception {
    List<Future<?>> running = new ArrayList<>();
    for (Step step : steps) {
      running.add(threads.submit(() -> {
        carryOut(step);
        return null;
      }));
    }
    Exception problem = null;
    for (Future<?> one : running) {
      try {
        one.get();
      } catch (ExecutionException failed) {
        problem = failed.getCause() instanceof Exception cause ? cause : failed;
      }
    }
    if (problem != null) {
      throw problem;
    }
    return null;
  }

  private void shell(String command) throws IOException, InterruptedException {
    ProcessBuilder builder = new ProcessBuilder("sh", "-c", command);
    builder.environment().put("PREFIX", prefix);
    Process process = builder.redirectErrorStream(true).start();
    String output = new String(process.getInputStream().readAllBytes(), java.nio.charset.StandardCharsets.UTF_8);
    int status = process.waitFor();
    if (status != 0) {
      throw new IllegalStateException("status " + status + ": " + output);
    }
  }
}
