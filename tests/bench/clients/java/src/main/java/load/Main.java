package load;

import java.lang.management.ManagementFactory;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.List;
import java.util.Scanner;

/**
 * Acquires and releases locks with one library: {@code load.Main threads|futures SUBJECT DAEMON NODE...} It carries out
 * the orders on standard input and answers each with one line of JSON.
 *
 * <pre>
 *   run OUTSTANDING SECONDS   that many threads or chains of futures acquire and release, each a new key every time
 *   hold COUNT                acquires that many locks and keeps them
 * </pre>
 */
public final class Main {
  private static final int AT_ONCE = 100; // acquisitions at the same time of "hold"
  private static final List<Object> HELD = new ArrayList<>(); // a reference to each lock, as its holder has one

  public static void main(String[] arguments) throws Exception {
    Worker worker = Worker.of(arguments[0],
        Subject.of(arguments[1], arguments[2], Arrays.asList(arguments).subList(3, arguments.length)));
    Scanner orders = new Scanner(System.in);
    for (int number = 0; orders.hasNext(); number++) {
      boolean isRun = orders.next().equals("run");
      int count = orders.nextInt();
      System.out.println(isRun ? run(worker, number, count, orders.nextDouble()) : hold(worker, number, count));
    }
    System.exit(0);
  }

  private static String run(Worker worker, int number, int outstanding, double seconds) throws Exception {
    long begin = System.nanoTime();
    List<Double> took = worker.cycle("java-" + ProcessHandle.current().pid() + "-" + number, outstanding,
        begin + (long) (seconds * 1e9));
    double lasted = (System.nanoTime() - begin) / 1e9;
    double[] sorted = took.stream().mapToDouble(Double::doubleValue).sorted().toArray();
    return "{\"cycles\": %f, \"p50_ms\": %f, \"p99_ms\": %f}".formatted(sorted.length / lasted,
        sorted[sorted.length / 2] / 1e6, sorted[(int) (sorted.length * 0.99)] / 1e6);
  }

  private static String hold(Worker worker, int number, int count) throws Exception {
    long before = heap();
    HELD.add(worker.hold("held-" + ProcessHandle.current().pid() + "-" + number, AT_ONCE, count / AT_ONCE));
    return "{\"heap_before\": %d, \"heap\": %d}".formatted(before, heap());
  }

  private static long heap() {
    System.gc();
    return ManagementFactory.getMemoryMXBean().getHeapMemoryUsage().getUsed();
  }
}
