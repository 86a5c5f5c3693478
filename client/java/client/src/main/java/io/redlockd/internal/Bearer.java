package io.redlockd.internal;

import io.grpc.CallCredentials;
import io.grpc.Metadata;
import io.grpc.Status;
import java.lang.System.Logger.Level;
import java.util.concurrent.Executor;
import java.util.concurrent.LinkedBlockingQueue;
import java.util.concurrent.ThreadPoolExecutor;
import java.util.concurrent.TimeUnit;
import java.util.function.Supplier;

/**
 * Sends a bearer token with each call. The supplier is the user's: it may block, so it runs on threads of its own, or on the executor of the user. If it throws,
 * or returns what cannot be sent, the call fails as if no daemon had answered, so that the client tries again.
 */
final class Bearer extends CallCredentials {
  private static final System.Logger LOG = System.getLogger("io.redlockd");
  private static final Metadata.Key<String> AUTHORIZATION =
      Metadata.Key.of("authorization", Metadata.ASCII_STRING_MARSHALLER);

  private static final int MOST_THREADS = 4;
  private static final long IDLE_SECONDS = 10;

  private final Supplier<String> supplier;
  private final Executor executor;

  Bearer(Supplier<String> supplier, Executor executor) {
    this.supplier = supplier;
    this.executor = executor;
  }

  /** Returns a pool for suppliers only: one that blocks must keep no callback waiting. Its threads end by themselves. */
  static Executor pool() {
    ThreadPoolExecutor pool = new ThreadPoolExecutor(
        MOST_THREADS, MOST_THREADS, IDLE_SECONDS, TimeUnit.SECONDS, new LinkedBlockingQueue<>(), task -> {
          Thread thread = new Thread(task, "redlockd-token");
          thread.setDaemon(true);
          return thread;
        });
    pool.allowCoreThreadTimeOut(true);
    return pool;
  }

  @Override
  public void applyRequestMetadata(RequestInfo call, Executor unused, MetadataApplier applier) {
    executor.execute(() -> {
      String token;
      try {
        token = supplier.get();
      } catch (Throwable thrown) { // by the user's code
        LOG.log(Level.DEBUG, "the supplier of the bearer token threw an exception", thrown);
        applier.fail(failure("the supplier threw " + thrown.getClass().getName()));
        return;
      }
      String problem = token == null ? "the supplier returned null" : problemOf(token.strip());
      if (problem != null) {
        applier.fail(failure(problem));
        return;
      }
      Metadata headers = new Metadata();
      headers.put(AUTHORIZATION, "Bearer " + token.strip());
      applier.apply(headers);
    });
  }

  private static Status failure(String problem) {
    return Status.UNAVAILABLE.withDescription("the bearer token: " + problem);
  }

  /** Returns why the text cannot be sent as a bearer token; null if it can. */
  static String problemOf(String token) {
    if (token.isEmpty()) {
      return "it is empty";
    }
    boolean printable = token.chars().allMatch(c -> c > ' ' && c <= '~');
    return printable ? null : "it must consist of printable ASCII characters, without spaces or line breaks";
  }
}
