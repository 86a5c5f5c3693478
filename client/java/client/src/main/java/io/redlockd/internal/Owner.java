package io.redlockd.internal;

import java.io.IOException;
import java.net.InetAddress;
import java.net.UnknownHostException;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Path;

/** The default label of a client: HOST/PID/PROGRAM. */
public final class Owner {
  private static final int LONGEST = 128; // bytes

  private Owner() {}

  /** Returns the label of this process. */
  public static String label() {
    return cut(host() + "/" + ProcessHandle.current().pid() + "/" + program(System.getProperty("sun.java.command", "")));
  }

  private static String host() {
    try {
      String name = Files.readString(Path.of("/proc/sys/kernel/hostname")).strip();
      if (!name.isEmpty()) {
        return name;
      }
    } catch (IOException | RuntimeException notLinux) {
      // Asks the resolver instead.
    }
    try {
      return InetAddress.getLocalHost().getHostName();
    } catch (UnknownHostException unknown) {
      return "localhost";
    }
  }

  /** The file of the program, or its main class; the arguments may be secrets. */
  static String program(String command) {
    String first = command.strip().split("\\s", 2)[0];
    String base = first.substring(first.lastIndexOf('/') + 1);
    return base.isEmpty() ? "java" : base;
  }

  /** Cuts a text to 128 bytes of valid UTF-8. */
  static String cut(String text) {
    StringBuilder kept = new StringBuilder();
    int bytes = 0;
    for (int point : text.codePoints().toArray()) {
      String next = Character.isValidCodePoint(point) && (point < 0xD800 || point > 0xDFFF) ? Character.toString(point) : "?";
      bytes += next.getBytes(StandardCharsets.UTF_8).length;
      if (bytes > LONGEST) {
        break;
      }
      kept.append(next);
    }
    return kept.toString();
  }
}
