package io.redlockd.internal.core;

import java.time.Duration;
import java.util.Locale;

/** Points in time and durations, in nanoseconds. */
public final class Times {
  /** Later than every point in time. */
  public static final long NEVER = Long.MAX_VALUE;

  /** Earlier than every point in time. */
  public static final long LONG_AGO = Long.MIN_VALUE;

  /** One millisecond. */
  public static final long MILLIS = 1_000_000L;

  /** One second. */
  public static final long SECONDS = 1_000 * MILLIS;

  // Longer durations are cut. A daemon's clock and a lock's validity are shorter, and sums do not overflow.
  private static final Duration LONGEST = Duration.ofDays(10 * 365);

  private Times() {}

  /** Returns {@code when + duration}; NEVER and LONG_AGO stay as they are. */
  public static long after(long when, long duration) {
    if (when == NEVER || when == LONG_AGO) {
      return when;
    }
    long sum = when + duration;
    boolean overflow = ((when ^ sum) & (duration ^ sum)) < 0;
    return !overflow ? sum : duration > 0 ? NEVER : LONG_AGO;
  }

  /** Returns how far two clocks can drift apart during {@code duration}: their rates differ by at most 1 %. */
  public static long drift(long duration) {
    return (Math.abs(duration) + 99) / 100;
  }

  /** Returns the nanoseconds of a duration, between minus and plus ten years. */
  public static long nanos(Duration duration) {
    if (duration.compareTo(LONGEST) > 0) {
      return LONGEST.toNanos();
    }
    return duration.compareTo(LONGEST.negated()) < 0 ? -LONGEST.toNanos() : duration.toNanos();
  }

  /** Returns the nanoseconds of a duration of the proto, which must not be negative. */
  public static long nanos(com.google.protobuf.Duration duration) {
    long seconds = Math.max(0, Math.min(duration.getSeconds(), LONGEST.toSeconds()));
    return seconds * SECONDS + Math.max(0, Math.min(duration.getNanos(), 999_999_999));
  }

  /** Returns a duration of the proto. */
  public static com.google.protobuf.Duration proto(long nanos) {
    return com.google.protobuf.Duration.newBuilder()
        .setSeconds(nanos / SECONDS)
        .setNanos((int) (nanos % SECONDS))
        .build();
  }

  /** For messages, with three decimals: "12.345 s". */
  public static String inSeconds(Duration duration) {
    long millis = duration.toMillis();
    return String.format(Locale.ROOT, "%d.%03d s", millis / 1000, millis % 1000);
  }

  /** For messages: "2 s" or "250 ms". */
  public static String inWords(long nanos) {
    long millis = nanos / MILLIS;
    return millis % 1000 == 0 ? millis / 1000 + " s" : millis + " ms";
  }
}
