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
 *   work WORKLOAD OUTSTANDING SECONDS   as "run", but what the workload wants; see Workload
 *   check WORKLOAD OUTSTANDING SECONDS  the same, and ends the program if there are too many holders; see Witness
 *   contend WORKERS HOLD PAUSE SECONDS, wait COUNT, pass   see Contention
 * </pre>
 */
public final class Main {
  private static final int AT_ONCE = 100; // acquisitions at the same time of "hold"
  private static final List<Object> HELD = new ArrayList<>(); // a reference to each lock, as its holder has one

  public static void main(String[] arguments) throws Exception {
    Thread.setDefaultUncaughtExceptionHandler((thread, error) -> {
      error.printStackTrace();
      Runtime.getRuntime().halt(1); // the threads of the libraries would keep the process alive
    });
    Subject subject =
        Subject.of(arguments[1], arguments[2], Arrays.asList(arguments).subList(3, arguments.length));
    Worker worker = Worker.of(arguments[0], subject);
    Worker witnessed = Worker.of(arguments[0], new Witness(subject));
    Contention contention = new Contention(subject);
    Scanner orders = new Scanner(System.in);
    for (int number = 0; orders.hasNext(); number++) {
      String prefix = "java-" + ProcessHandle.current().pid() + "-" + number;
      System.out.println(switch (orders.next()) {
        case "run" -> run(worker, Workload.newKeys(prefix), orders.nextInt(), orders.nextDouble());
        case "hold" -> hold(worker, Workload.newKeys(prefix), orders.nextInt());
        case "work" -> run(worker, Workload.of(orders.next(), prefix), orders.nextInt(), orders.nextDouble());
        case "check" -> run(witnessed, Workload.of(orders.next(), prefix), orders.nextInt(), orders.nextDouble());
        case "contend" -> contention.contend(
            prefix, orders.nextInt(), orders.nextDouble(), orders.nextDouble(), orders.nextDouble());
        case "wait" -> contention.startWaiting(prefix, orders.nextInt());
        case "pass" -> contention.pass();
        default -> throw new IllegalArgumentException("no such order; see Main.java");
      });
    }
    System.exit(0);
  }

  private static String run(Worker worker, Workload workload, int outstanding, double seconds) throws Exception {
    long begin = System.nanoTime();
    long deadline = begin + (long) (seconds * 1e9);
    List<Worker.Cycle> cycles = worker.cycle(workload, outstanding, deadline);
    double lasted = (System.nanoTime() - begin) / 1e9;
    long[] sorted = cycles.stream().mapToLong(cycle -> cycle.end() - cycle.start()).sorted().toArray();
    long inTime = cycles.stream().filter(cycle -> cycle.end() <= deadline).count();
    return "{\"cycles\": %f, \"p50_ms\": %f, \"p99_ms\": %f, \"count\": %d, \"in_time\": %d}".formatted(
        sorted.length / lasted, sorted[sorted.length / 2] / 1e6, sorted[(int) (sorted.length * 0.99)] / 1e6,
        sorted.length, inTime);
  }

  private static String hold(Worker worker, Workload workload, int count) throws Exception {
    long before = heap();
    HELD.add(worker.hold(workload, AT_ONCE, count / AT_ONCE));
    return "{\"heap_before\": %d, \"heap\": %d}".formatted(before, heap());
  }

  private static long heap() {
    System.gc();
    return ManagementFactory.getMemoryMXBean().getHeapMemoryUsage().getUsed();
  }
}
