package load;

import java.util.ArrayList;
import java.util.List;
import java.util.Locale;
import java.util.concurrent.ExecutorService;
import java.util.concurrent.Executors;
import java.util.concurrent.Future;
import java.util.concurrent.TimeUnit;
import java.util.stream.Collectors;

/**
 * Threads that want one key.
 *
 * <pre>
 *   contend WORKERS HOLD PAUSE SECONDS   each holds it for HOLD s, and pauses for PAUSE s
 *   wait COUNT                           holds the key for which that many threads begin to wait
 *   pass                                 releases that key, and answers when each of them has had it
 * </pre>
 */
final class Contention {
  private final Subject subject;
  private final List<Future<?>> waiters = new ArrayList<>();
  private Subject.Held held;

  Contention(Subject subject) {
    this.subject = subject;
  }

  /** When a worker requested, acquired and released, in s. */
  private record Turn(int worker, double requested, double acquired, double released) {
    String json() {
      return String.format(Locale.ROOT, "[%d, %.7f, %.7f, %.7f]", worker, requested, acquired, released);
    }
  }

  String contend(String key, int workers, double hold, double pause, double seconds) throws Exception {
    long begin = System.nanoTime();
    List<Turn> turns = Worker.Threads.inThreads(workers, (worker, mine) -> {
      while (since(begin) < seconds) {
        double requested = since(begin);
        Subject.Held lock = subject.acquire(Wanted.exclusive(key));
        double acquired = since(begin);
        sleep(hold);
        mine.add(new Turn(worker, requested, acquired, since(begin)));
        lock.release();
        sleep(pause);
      }
    });
    return "{\"turns\": [" + turns.stream().map(Turn::json).collect(Collectors.joining(", ")) + "]}";
  }

  String startWaiting(String key, int count) throws Exception {
    held = subject.acquire(Wanted.exclusive(key));
    ExecutorService threads = Executors.newFixedThreadPool(count);
    for (int i = 0; i < count; i++) {
      waiters.add(threads.submit(() -> {
        subject.acquire(Wanted.exclusive(key)).release();
        return null;
      }));
    }
    threads.shutdown();
    return "{}";
  }

  String pass() throws Exception {
    held.release();
    for (Future<?> waiter : waiters) {
      waiter.get();
    }
    waiters.clear();
    return "{}";
  }

  private static double since(long begin) {
    return (System.nanoTime() - begin) / 1e9;
  }

  private static void sleep(double seconds) throws InterruptedException {
    TimeUnit.NANOSECONDS.sleep((long) (seconds * 1e9));
  }
}
