package load;

import java.util.ArrayList;
import java.util.Collections;
import java.util.List;
import java.util.concurrent.CompletableFuture;
import java.util.concurrent.CompletionStage;
import java.util.concurrent.ExecutorService;
import java.util.concurrent.Executors;
import java.util.concurrent.Future;

/** Cycles and holds in one style: {@link Threads} or {@link Futures}. */
interface Worker {
  /** Starts no cycle after {@code deadline}, in ns, except for the first one of each thread or chain. */
  List<Cycle> cycle(Workload workload, int outstanding, long deadline) throws Exception;

  /** Acquires {@code each} locks in each of {@code atOnce} threads or chains; returns them. */
  List<Object> hold(Workload workload, int atOnce, int each) throws Exception;

  /** When a cycle started and ended, in ns. */
  record Cycle(long start, long end) {}

  static Worker of(String style, Subject subject) {
    return style.equals("threads") ? new Threads(subject) : new Futures(subject);
  }

  final class Threads implements Worker {
    private final Subject subject;

    Threads(Subject subject) {
      this.subject = subject;
    }

    @Override
    public List<Cycle> cycle(Workload workload, int outstanding, long deadline) throws Exception {
      return inThreads(outstanding, (number, cycles) -> {
        for (int i = 0; ; i++) {
          long start = System.nanoTime();
          if (i > 0 && start >= deadline) {
            return;
          }
          subject.acquire(workload.wanted(number, i)).release();
          cycles.add(new Cycle(start, System.nanoTime()));
        }
      });
    }

    @Override
    public List<Object> hold(Workload workload, int atOnce, int each) throws Exception {
      return inThreads(atOnce, (number, held) -> {
        for (int i = 0; i < each; i++) {
          held.add(subject.acquire(workload.wanted(number, i)));
        }
      });
    }

    interface Work<T> {
      void run(int number, List<T> results) throws Exception;
    }

    static <T> List<T> inThreads(int count, Work<T> work) throws Exception {
      ExecutorService threads = Executors.newFixedThreadPool(count);
      List<Future<List<T>>> parts = new ArrayList<>();
      for (int number = 0; number < count; number++) {
        int mine = number;
        parts.add(threads.submit(() -> {
          List<T> results = new ArrayList<>();
          work.run(mine, results);
          return results;
        }));
      }
      List<T> all = new ArrayList<>();
      for (Future<List<T>> part : parts) {
        all.addAll(part.get());
      }
      threads.shutdown();
      return all;
    }
  }

  final class Futures implements Worker {
    private final Subject subject;

    Futures(Subject subject) {
      this.subject = subject;
    }

    @Override
    public List<Cycle> cycle(Workload workload, int outstanding, long deadline) throws Exception {
      List<Cycle> cycles = Collections.synchronizedList(new ArrayList<>());
      inChains(outstanding, (chain, number) -> {
        long start = System.nanoTime();
        return number > 0 && start >= deadline ? null : subject.acquireAsync(workload.wanted(chain, number))
            .thenCompose(Subject.Held::releaseAsync).thenRun(() -> cycles.add(new Cycle(start, System.nanoTime())));
      });
      return cycles;
    }

    @Override
    public List<Object> hold(Workload workload, int atOnce, int each) throws Exception {
      List<Object> all = Collections.synchronizedList(new ArrayList<>());
      inChains(atOnce, (chain, number) -> number == each ? null
          : subject.acquireAsync(workload.wanted(chain, number)).thenAccept(all::add));
      return all;
    }

    private interface Step {
      /** Begins the step of a chain with this number; returns null if the chain is over. */
      CompletionStage<Void> begin(int chain, int number);
    }

    private static void inChains(int count, Step step) throws Exception {
      List<CompletableFuture<Void>> chains = new ArrayList<>();
      for (int chain = 0; chain < count; chain++) {
        CompletableFuture<Void> done = new CompletableFuture<>();
        chains.add(done);
        next(chain, 0, step, done);
      }
      for (CompletableFuture<Void> chain : chains) {
        chain.get();
      }
    }

    private static void next(int chain, int number, Step step, CompletableFuture<Void> done) {
      CompletionStage<Void> begun = step.begin(chain, number);
      if (begun == null) {
        done.complete(null);
        return;
      }
      begun.whenComplete((nothing, error) -> {
        if (error == null) {
          next(chain, number + 1, step, done);
        } else {
          done.completeExceptionally(error);
        }
      });
    }
  }
}
