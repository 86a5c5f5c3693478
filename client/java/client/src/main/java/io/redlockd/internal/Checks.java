package io.redlockd.internal;

import io.redlockd.AcquireOptions;
import io.redlockd.RetryPolicy;
import io.redlockd.WatchItem;
import io.redlockd.internal.core.KeyNames;
import io.redlockd.internal.core.Times;
import java.nio.charset.StandardCharsets;
import java.time.Duration;
import java.util.HashSet;
import java.util.List;
import java.util.Objects;
import java.util.Set;
import java.util.regex.Matcher;
import java.util.regex.Pattern;

/** Checks arguments before anything is sent, so that an invalid value fails only its own call. */
public final class Checks {
  private static final int LONGEST_KEY = 512;
  private static final int MOST_KEYS = 64; // that are locked together
  private static final int LONGEST_KEYS = 8192; // all of them
  private static final int FEWEST_HOLDERS = 2; // of a semaphore
  private static final int MOST_HOLDERS = 64;
  private static final int LONGEST_LABEL = 128;
  private static final int LONGEST_VALUE = 4096;
  private static final String RESERVED = "redlockd:";
  private static final long SHORTEST_TTL = 10 * Times.MILLIS;
  private static final long LONGEST_MARGIN = 500 * Times.MILLIS; // by default

  // The daemon extends a lock when about half of its TTL is left. A margin close to that would signal a loss before the extension
  // arrives.
  private static final int MARGIN_FRACTION = 3;
  private static final Pattern HOST_AND_PORT = Pattern.compile("(?:\\[[^\\]]*\\]|[^:/]*):([0-9]*)");

  private Checks() {}

  /** Checks the key of a call that acquires. */
  public static void keyToAcquire(String key) {
    key(key);
    if (KeyNames.hasSlot(key)) {
      throw Errors.invalid("slot: the daemon chooses a free one; pass the result of Keys.semaphore without a slot");
    }
  }

  /** Checks the key of an observer and returns its name: an observer sees a single key. */
  public static String keyToObserve(String key) {
    key(key);
    List<String> names = KeyNames.split(key);
    if (names.size() > 1) {
      throw Errors.invalid("key: an observer has a single key, not " + names.size() + "; observe each of them");
    }
    return names.get(0);
  }

  /** Checks the name of an election, which is a plain key. */
  public static void election(String name) {
    if (!keyToObserve(name).equals(name)) {
      throw Errors.invalid("name: an election is neither a share nor a semaphore; pass a plain key");
    }
  }

  /** Checks that the key is exclusive, so that its lock can be downgraded. */
  public static void keyToDowngrade(String key) {
    if (KeyNames.isShared(key) || KeyNames.isSemaphore(key)) {
      throw Errors.invalid(KeyNames.inWords(key) + ": only an exclusive lock can be downgraded");
    }
  }

  /** Checks a key, or several that are locked together. */
  public static void key(String key) {
    Objects.requireNonNull(key, "key");
    List<String> names = KeyNames.split(key);
    semaphore(key, names);
    if (names.size() > MOST_KEYS) {
      throw Errors.invalid("keys: " + names.size() + " given; lock at most " + MOST_KEYS + " together");
    }
    Set<String> seen = new HashSet<>();
    for (String name : names) {
      name(name);
      if (!seen.add(name)) {
        throw Errors.invalid("keys: \"" + name + "\" is given twice");
      }
    }
    int length = names.stream().mapToInt(Checks::bytes).sum();
    if (length > LONGEST_KEYS) {
      throw Errors.invalid("keys: have " + length + " bytes together; use at most " + LONGEST_KEYS);
    }
  }

  private static void semaphore(String key, List<String> names) {
    int maxHolders = KeyNames.maxHolders(key);
    if (KeyNames.isSemaphore(key)) {
      if (maxHolders < FEWEST_HOLDERS || maxHolders > MOST_HOLDERS) {
        throw Errors.invalid(
            "maxHolders: must be from " + FEWEST_HOLDERS + " to " + MOST_HOLDERS + ", not " + maxHolders);
      }
      if (names.size() > 1) {
        throw Errors.invalid("key: a semaphore has a single key, not " + names.size());
      }
    }
    if (KeyNames.hasSlot(key)) {
      int slot = KeyNames.slot(key);
      if (maxHolders == 0) {
        throw Errors.invalid("slot: only a semaphore has slots; pass Keys.slot(Keys.semaphore(key, maxHolders), slot)");
      }
      if (slot < 1 || slot > maxHolders) {
        throw Errors.invalid("slot: must be from 1 to " + maxHolders + " (maxHolders), not " + slot);
      }
    }
  }

  private static void name(String key) {
    if (key.isEmpty()) {
      throw Errors.invalid("key: must not be empty");
    }
    if (KeyNames.isMisplaced(key)) {
      throw Errors.invalid("key: a semaphore is not shared, and neither a share nor a semaphore is one of several keys;"
          + " pass a plain key");
    }
    text("key", key, LONGEST_KEY);
    if (key.startsWith(RESERVED)) {
      throw Errors.invalid("key: must not begin with \"redlockd:\", which is reserved");
    }
  }

  /** Checks a caller's own token. */
  public static void token(String token) {
    Objects.requireNonNull(token, "token");
    if (token.isEmpty()) {
      throw Errors.invalid("token: must not be empty");
    }
    text("token", token, LONGEST_LABEL);
    if (token.startsWith(RESERVED)) {
      throw Errors.invalid("token: must not begin with \"redlockd:\", which is reserved");
    }
  }

  /** Checks a label. */
  public static void owner(String owner) {
    text("owner", owner, LONGEST_LABEL);
  }

  /** Checks a value that a lock publishes. */
  public static void value(String value) {
    Objects.requireNonNull(value, "value");
    text("value", value, LONGEST_VALUE);
  }

  private static void text(String field, String text, int longest) {
    for (int i = 0; i < text.length(); ++i) {
      char c = text.charAt(i);
      if (!Character.isSurrogate(c)) {
        continue;
      }
      if (!Character.isHighSurrogate(c) || i + 1 == text.length() || !Character.isLowSurrogate(text.charAt(i + 1))) {
        throw Errors.invalid(field + ": is not valid Unicode, so it has no UTF-8 form");
      }
      ++i;
    }
    if (text.length() > longest || (text.length() * 3 > longest && bytes(text) > longest)) {
      throw Errors.invalid(field + ": has " + bytes(text) + " bytes; use at most " + longest);
    }
  }

  private static int bytes(String text) {
    return text.getBytes(StandardCharsets.UTF_8).length;
  }

  /** Checks a TTL and returns it in nanoseconds. */
  public static long ttl(Duration ttl) {
    Objects.requireNonNull(ttl, "ttl");
    long nanos = Times.nanos(ttl);
    if (nanos < SHORTEST_TTL) {
      throw Errors.invalid("ttl: must be at least 10 ms, not " + Times.inWords(nanos));
    }
    return nanos;
  }

  /** Checks a lock delay and returns it in nanoseconds. */
  public static long lockDelay(Duration lockDelay) {
    long nanos = Times.nanos(lockDelay);
    if (nanos < 0) {
      throw Errors.invalid("lockDelay: must not be negative; pass zero for none");
    }
    return nanos;
  }

  /** Checks for how long after its acquisition a released key stays taken, and returns it in nanoseconds. */
  public static long keepFor(Duration keepFor) {
    Objects.requireNonNull(keepFor, "keepFor");
    long nanos = Times.nanos(keepFor);
    if (nanos < Times.MILLIS) {
      throw Errors.invalid("keepFor: must be at least 1 ms, not " + Times.inWords(nanos));
    }
    return nanos;
  }

  /** Checks the longest wait and returns it in nanoseconds; -1 if there is no limit. */
  public static long longestWait(AcquireOptions options) {
    if (options.maxWait().isEmpty()) {
      return -1;
    }
    long nanos = Times.nanos(options.maxWait().get());
    if (nanos < 0) {
      throw Errors.invalid("wait: must not be negative; pass zero for a single try, or null to wait without a limit");
    }
    return nanos;
  }

  /** Checks how long a call may take and returns it in nanoseconds. */
  public static long timeout(Duration timeout) {
    Objects.requireNonNull(timeout, "timeout");
    long nanos = Times.nanos(timeout);
    if (nanos <= 0) {
      throw Errors.invalid("timeout: must be positive, not " + Times.inWords(nanos));
    }
    return nanos;
  }

  /** Checks the margin, or returns the default, in nanoseconds. */
  public static long margin(Duration margin, long ttl, long grace) {
    long least = Math.min(ttl, grace);
    if (margin == null) {
      return Math.min(least / 10, LONGEST_MARGIN);
    }
    long nanos = Times.nanos(margin);
    if (nanos < 0 || nanos > least / MARGIN_FRACTION) {
      throw Errors.invalid("margin: must be from 0 to " + Times.inWords(least / MARGIN_FRACTION)
          + " (a third of the TTL or of the client's grace, whichever is less), not " + Times.inWords(nanos));
    }
    return nanos;
  }

  /** Checks a policy and translates it; null stays null. */
  public static io.redlockd.redlock.v1.RetryPolicy retry(RetryPolicy retry) {
    if (retry == null) {
      return null;
    }
    long minDelay = Times.nanos(retry.minDelay());
    long maxJitter = Times.nanos(retry.maxJitter());
    if (retry.maxRetries() < -1 || minDelay < 0 || maxJitter < 0) {
      throw Errors.invalid("retry: maxRetries must be at least -1, and the delays must not be negative");
    }
    return io.redlockd.redlock.v1.RetryPolicy.newBuilder()
        .setMaxRetries(retry.maxRetries())
        .setMinDelay(Times.proto(minDelay))
        .setMaxJitter(Times.proto(maxJitter))
        .build();
  }

  /** Checks the items of a watch. */
  public static void items(List<WatchItem> items) {
    if (items.isEmpty()) {
      throw Errors.invalid("items: none given");
    }
    Set<String> keys = new HashSet<>();
    for (WatchItem item : items) {
      key(item.key());
      token(item.token());
      long ttl = ttl(item.ttl());
      if (item.interval() != null) {
        long interval = Times.nanos(item.interval());
        if (interval < Times.MILLIS || interval >= ttl) {
          throw Errors.invalid("interval: must be at least 1 ms and less than the TTL");
        }
      }
      if (!keys.add(KeyNames.join(KeyNames.split(item.key())))) { // in whatever mode
        throw Errors.invalid("items: the key is given twice: " + KeyNames.inWords(item.key()));
      }
    }
  }

  /** Checks the addresses of the daemons. A wrong port would only show as a daemon that does not answer. */
  static void endpoints(List<String> endpoints) {
    if (endpoints.isEmpty()) {
      throw Errors.invalid("endpoints: none given; pass at least one address such as \"127.0.0.1:50051\"");
    }
    for (String endpoint : endpoints) {
      if (endpoint.startsWith("unix:")) {
        continue;
      }
      if (!endpoint.contains(":") || endpoint.endsWith("]") || endpoint.startsWith("http:") || endpoint.startsWith("https:")) {
        throw Errors.invalid("endpoints: \"" + endpoint + "\" must be \"host:port\" or \"unix:/path\"");
      }
      Matcher match = HOST_AND_PORT.matcher(endpoint);
      if (match.matches() && !isPort(match.group(1))) {
        throw Errors.invalid("endpoints: " + endpoint + ": the port must be a number from 1 to 65535");
      }
    }
  }

  private static boolean isPort(String digits) {
    if (digits.isEmpty() || digits.length() > 5) {
      return false;
    }
    int port = Integer.parseInt(digits);
    return port > 0 && port <= 65535;
  }
}
