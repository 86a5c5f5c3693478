package io.redlockd.testing;

import java.io.IOException;
import java.io.UncheckedIOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.time.Duration;
import java.util.ArrayList;
import java.util.Comparator;
import java.util.List;
import java.util.stream.Stream;

/**
 * A real daemon over three Redis nodes without persistence, for tests. Needs redlockd and redis-server.
 *
 * <p>Clients reach the daemon through a proxy on 127.0.0.1. Nothing uses a fixed port or path, so tests can run at the same time.
 * The nodes belong to a second daemon, so that locks survive {@link #restart}. Thread-safe.
 *
 * <pre>{@code
 * try (RedlockServer server = RedlockServer.start();
 *     RedlockClient client = RedlockClient.builder().endpoints(server.endpoint()).build()) {
 *   Lock lock = client.acquire("reports");
 *   server.lose("reports");            // completes lock.lost()
 * }
 * }</pre>
 */
public final class RedlockServer implements AutoCloseable {
  private static final String NODE_TIMEOUT = "1s"; // for busy machines
  private static final String DRAIN_TIMEOUT = "1s";

  private final Path directory;
  private final Daemon nodes;
  private final Daemon daemon;
  private final Proxy proxy;
  private final Thread atExit;

  private RedlockServer(Path binary, List<String> options) throws IOException, InterruptedException {
    directory = Files.createTempDirectory("redlockd-testing-");
    List<Daemon> started = new ArrayList<>();
    try {
      nodes = new Daemon(binary, directory.resolve("nodes.sock"), List.of("--dev"));
      started.add(nodes);
      nodes.start();
      List<String> arguments = new ArrayList<>();
      for (String node : nodes.nodes()) {
        arguments.addAll(List.of("--node", node));
      }
      arguments.addAll(List.of("--node-timeout", NODE_TIMEOUT, "--drain-timeout", DRAIN_TIMEOUT));
      arguments.addAll(options);
      daemon = new Daemon(binary, directory.resolve("daemon.sock"), arguments);
      started.add(daemon);
      daemon.start();
      proxy = new Proxy(daemon.socket());
    } catch (IOException | InterruptedException | RuntimeException failure) {
      started.forEach(Daemon::end);
      delete(directory);
      throw failure;
    }
    atExit = new Thread(this::endAll);
    Runtime.getRuntime().addShutdownHook(atExit);
  }

  /**
   * Starts the nodes, the daemon and the proxy. The program is the one that the environment variable {@code REDLOCKD} names, or
   * else {@code redlockd} in {@code PATH}.
   *
   * @return the server
   * @throws IOException if a program cannot be run; the message says where it was looked for
   * @throws InterruptedException if the thread is interrupted; nothing is left behind
   */
  public static RedlockServer start() throws IOException, InterruptedException {
    return start(Programs.find("redlockd", "REDLOCKD"), List.of());
  }

  /**
   * Starts the nodes, the daemon and the proxy.
   *
   * @param binary the path of redlockd
   * @param options more options for the daemon, for example {@code List.of("--max-ttl", "1m")}
   * @return the server
   * @throws IOException if a program cannot be run
   * @throws InterruptedException if the thread is interrupted; nothing is left behind
   */
  public static RedlockServer start(Path binary, List<String> options) throws IOException, InterruptedException {
    Programs.find("redis-server", null);
    return new RedlockServer(binary, List.copyOf(options));
  }

  /**
   * Returns the address for clients, which never changes.
   *
   * @return {@code 127.0.0.1:PORT}
   */
  public String endpoint() {
    return "127.0.0.1:" + proxy.port();
  }

  /**
   * Takes a lock away from its holder, which hears of it within milliseconds.
   *
   * @param key the key; of a lock of several keys, one of them
   * @throws IllegalStateException if no client holds the lock
   */
  public void lose(String key) {
    lose(key, "a test takes the lock away");
  }

  /**
   * Takes a lock away from its holder, which hears of it within milliseconds.
   *
   * @param key the key; of a lock of several keys, one of them
   * @param why the reason, for the daemon's log: 1 to 200 bytes
   * @throws IllegalStateException if no client holds the lock
   */
  public void lose(String key, String why) {
    if (!daemon.forceRelease(key, why)) {
      throw new IllegalStateException(key + ": no client holds the lock");
    }
  }

  /**
   * Holds back the bytes of all connections, in both directions.
   *
   * @param time how long
   */
  public void delay(Duration time) {
    proxy.delay(time);
  }

  /** Lets nothing pass any more. Connections stay open, and new ones are accepted. */
  public void cut() {
    proxy.cut();
  }

  /** Undoes {@link #delay} and {@link #cut}. What was held back passes. */
  public void mend() {
    proxy.mend();
  }

  /** Closes all connections with RST. Clients can connect again. */
  public void reset() {
    proxy.reset();
  }

  /**
   * Ends the daemon by SIGTERM, starts it again, and waits until it serves. The locks survive.
   *
   * @throws InterruptedException if the thread is interrupted
   */
  public void restart() throws InterruptedException {
    restart(false);
  }

  /**
   * Ends the daemon, starts it again, and waits until it serves. The locks survive.
   *
   * @param kill whether to end it by SIGKILL, instead of SIGTERM
   * @throws InterruptedException if the thread is interrupted
   */
  public void restart(boolean kill) throws InterruptedException {
    try {
      daemon.restart(kill);
    } catch (IOException failure) {
      throw new UncheckedIOException(failure);
    }
  }

  /** Ends everything and removes its files. A second call does nothing. */
  @Override
  public void close() {
    endAll();
    try {
      Runtime.getRuntime().removeShutdownHook(atExit);
    } catch (IllegalStateException exiting) {
      // The hook runs.
    }
  }

  private void endAll() {
    proxy.close();
    daemon.end();
    nodes.end();
    delete(directory);
  }

  private static void delete(Path directory) {
    if (!Files.exists(directory)) {
      return;
    }
    try (Stream<Path> files = Files.walk(directory)) {
      for (Path file : files.sorted(Comparator.reverseOrder()).toList()) {
        Files.deleteIfExists(file);
      }
    } catch (IOException busy) {
      throw new UncheckedIOException(busy);
    }
  }
}
