package io.redlockd.internal;

import io.redlockd.internal.core.Clock;
import io.redlockd.internal.core.Times;
import java.io.IOException;
import java.io.RandomAccessFile;
import java.nio.charset.StandardCharsets;
import java.util.concurrent.locks.ReentrantLock;
import java.util.function.LongSupplier;

/**
 * A clock that counts suspend time. Thread-safe.
 *
 * <p>Java has no such clock: on Linux and macOS, {@link System#nanoTime} stands still during a suspend. This clock is {@code
 * nanoTime} plus an offset. The offset is raised whenever a second clock, which counts suspend time but is coarse, is ahead:
 *
 * <ul>
 *   <li>On Linux, this is {@code /proc/uptime}, in steps of 10 ms. The offset is always the largest lower bound that was read, so
 *       the clock is never behind the boot time by more than 10 ms, however often the machine sleeps.
 *   <li>Elsewhere, it is the wall clock. If somebody sets the wall clock forward, the clock jumps, which ends trust early. If the
 *       wall clock is set back while the machine sleeps, that much of the sleep is not counted.
 * </ul>
 *
 * <p>A reading of the second clock costs about 10 µs, so one is made only when 1 ms of running time has passed since the last one.
 * Within that time after a suspend, the clock is like that of a thread that was not scheduled for as long. {@link #error} covers
 * the resolution and this time.
 */
public final class BootClock implements Clock {
  /** The clock of this machine. */
  public static final BootClock SYSTEM = system();

  private static final long READ_EVERY = Times.MILLIS;

  private final LongSupplier running;
  private final LongSupplier booted;
  private final long error;
  private final ReentrantLock lock = new ReentrantLock();
  private final long resolution;
  private volatile long offset;
  private volatile long suspends;
  private volatile long readAt;

  /**
   * For tests.
   *
   * @param running a precise clock that need not count suspend time, in nanoseconds
   * @param booted a coarse clock that counts suspend time, in nanoseconds; never ahead of the true time
   * @param resolution by how much {@code booted} may be behind the true time
   */
  BootClock(LongSupplier running, LongSupplier booted, long resolution) {
    this.running = running;
    this.booted = booted;
    this.resolution = resolution;
    this.error = resolution + READ_EVERY;
    this.offset = booted.getAsLong() - running.getAsLong();
    this.readAt = running.getAsLong();
  }

  private static BootClock system() {
    try {
      Uptime uptime = new Uptime("/proc/uptime");
      uptime.getAsLong();
      return new BootClock(System::nanoTime, uptime, 10 * Times.MILLIS);
    } catch (IOException | RuntimeException unavailable) {
      return new BootClock(System::nanoTime, () -> System.currentTimeMillis() * Times.MILLIS, Times.MILLIS);
    }
  }

  @Override
  public long now() {
    long runs = running.getAsLong();
    if (runs - readAt >= READ_EVERY) {
      read();
    }
    return runs + offset;
  }

  // Another thread may be reading at the same time: this thread must not go on with the old offset.
  private void read() {
    lock.lock();
    try {
      if (running.getAsLong() - readAt < READ_EVERY) {
        return;
      }
      long booting = booted.getAsLong();
      long runs = running.getAsLong();
      long ahead = booting - runs - offset;
      if (ahead > resolution) { // the second clock alone cannot be that much ahead
        ++suspends;
      }
      if (ahead > 0) {
        offset += ahead;
      }
      readAt = runs;
    } finally {
      lock.unlock();
    }
  }

  @Override
  public long suspends() {
    return suspends;
  }

  @Override
  public long error() {
    return error;
  }

  /** Reads {@code /proc/uptime}, which is "SECONDS.HUNDREDTHS ...". If it cannot be read any more, it stands still. */
  static final class Uptime implements LongSupplier {
    private static final long HUNDREDTH = 10 * Times.MILLIS;

    private final RandomAccessFile file;
    private final byte[] text = new byte[64];
    private long last;

    Uptime(String path) throws IOException {
      file = new RandomAccessFile(path, "r");
    }

    @Override
    public long getAsLong() {
      try {
        file.seek(0);
        int length = file.read(text);
        last = parse(new String(text, 0, Math.max(0, length), StandardCharsets.US_ASCII));
      } catch (IOException unreadable) {
        return last;
      }
      return last;
    }

    static long parse(String text) throws IOException {
      int end = text.indexOf(' ');
      int point = text.indexOf('.');
      if (end < 0 || point < 1 || end != point + 3) {
        throw new IOException("/proc/uptime: unexpected content");
      }
      try {
        long seconds = Long.parseLong(text.substring(0, point));
        return seconds * Times.SECONDS + Long.parseLong(text.substring(point + 1, end)) * HUNDREDTH;
      } catch (NumberFormatException unexpected) {
        throw new IOException("/proc/uptime: unexpected content", unexpected);
      }
    }
  }
}
