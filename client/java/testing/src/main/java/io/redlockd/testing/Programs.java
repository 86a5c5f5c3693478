package io.redlockd.testing;

import java.io.File;
import java.io.FileNotFoundException;
import java.nio.file.Files;
import java.nio.file.Path;

/** Finds programs. */
final class Programs {
  private Programs() {}

  /**
   * @param variable the environment variable that may name the program; null: none
   */
  static Path find(String name, String variable) throws FileNotFoundException {
    String chosen = variable == null ? null : System.getenv(variable);
    if (chosen != null && !chosen.isEmpty()) {
      Path path = Path.of(chosen);
      if (!Files.isExecutable(path)) {
        throw new FileNotFoundException(chosen + ": no program there; the environment variable " + variable + " names it");
      }
      return path;
    }
    String directories = System.getenv().getOrDefault("PATH", "");
    for (String directory : directories.split(File.pathSeparator)) {
      Path path = Path.of(directory.isEmpty() ? "." : directory, name);
      if (Files.isExecutable(path) && !Files.isDirectory(path)) {
        return path;
      }
    }
    String hint = variable == null ? "; install it: redlockd --dev needs it" : "; install it, or set " + variable + " to its path";
    throw new FileNotFoundException(name + ": not found in PATH (" + directories + ")" + hint);
  }
}
