package io.redlockd.verification;

import com.google.gson.Gson;
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

  /** Runs all scenarios; exits with status 1 if one has failed. */
  public static void main(String[] arguments) throws IOException {
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
