package io.redlockd.verification;

import io.redlockd.AcquireOptions;
import io.redlockd.Lock;
import io.redlockd.LockException;
import io.redlockd.RedlockClient;
import java.time.Duration;

/** The example of the README: {@code Example [ENDPOINT ...]}. */
public final class Example {
  private Example() {}

  /** Runs the example. */
  public static void main(String[] endpoints) throws InterruptedException {
    RedlockClient.Builder builder = RedlockClient.builder();
    if (endpoints.length > 0) {
      builder.endpoints(endpoints);
    }
    AcquireOptions options = AcquireOptions.defaults().withWait(Duration.ofSeconds(10));
    try (RedlockClient client = builder.build();
        Lock lock = client.acquire("reports", options)) {
      lock.onLost(loss -> System.out.println("stop the work: " + loss.getMessage()));
      System.out.println("acquired, fencing token " + lock.fencingToken() + ", valid for " + lock.validity().toMillis() + " ms");
    } catch (LockException failure) {
      System.err.println(failure.reason() + ": " + failure.getMessage());
      System.exit(1);
    }
  }
}
