package io.redlockd.verification;

import com.google.gson.Gson;
import io.redlockd.AcquireOptions;
import io.redlockd.Lease;
import io.redlockd.RedlockClient;
import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.List;

/** Runs client/conformance/scenarios.json; client/conformance/README.md describes it. */
public final class Conformance {
  /** The file. */
  private static final class Scenarios {
    List<Scenario> scenarios;
  }

  /** A scenario. */
  static final class Scenario {
    String name;
    Double grace;
    String owner;
    List<Step> steps;
  }

  private Conformance() {}

  // In a new process, the first call takes longer than the shortest TTL of the scenarios.
  private static void loadClasses() throws InterruptedException {
    try (RedlockClient client = RedlockClient.builder().endpoints(System.getenv("ENDPOINTS").split(",")).build()) {
      Lease lease = client.acquireDetached(System.getenv("PREFIX") + "java/first", AcquireOptions.defaults());
      client.release(lease.key(), lease.token());
    }
  }

  /** Runs all scenarios; exits with status 1 if one has failed. */
  public static void main(String[] arguments) throws IOException, InterruptedException {
    loadClasses();
    String text = Files.readString(Path.of(System.getenv("SCENARIOS")));
    List<Scenario> scenarios = new Gson().fromJson(text, Scenarios.class).scenarios;
    int failed = 0;
    for (int number = 0; number < scenarios.size(); ++number) {
      Scenario scenario = scenarios.get(number);
      String prefix = System.getenv("PREFIX") + "java/" + number + "/";
      String problem = new ScenarioRun(scenario, prefix).run();
      System.out.println(problem == null ? "ok      " + scenario.name : "FAILED  " + scenario.name + ": " + problem);
      System.out.flush();
      failed += problem == null ? 0 : 1;
    }
    System.exit(failed == 0 ? 0 : 1);
  }
}
