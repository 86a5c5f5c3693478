package io.redlockd.testing;

import java.io.IOException;
import java.io.UncheckedIOException;
import java.net.InetAddress;
import java.net.InetSocketAddress;
import java.net.StandardProtocolFamily;
import java.net.StandardSocketOptions;
import java.net.UnixDomainSocketAddress;
import java.nio.channels.ServerSocketChannel;
import java.nio.channels.SocketChannel;
import java.nio.file.Path;
import java.time.Duration;
import java.util.Set;
import java.util.concurrent.ConcurrentHashMap;

/** A TCP proxy on 127.0.0.1 before a Unix socket. It can delay, cut and reset connections. Thread-safe. */
final class Proxy {
  private final Path target;
  private final ServerSocketChannel listener;
  private final int port;
  private final Gate gate = new Gate();
  private final Set<Connection> connections = ConcurrentHashMap.newKeySet();

  Proxy(Path target) throws IOException {
    this.target = target;
    this.listener = ServerSocketChannel.open();
    listener.bind(new InetSocketAddress(InetAddress.getByName("127.0.0.1"), 0));
    this.port = ((InetSocketAddress) listener.getLocalAddress()).getPort();
    daemon(this::accept, "accept").start();
  }

  static Thread daemon(Runnable task, String name) {
    Thread thread = new Thread(task, "redlockd-proxy-" + name);
    thread.setDaemon(true);
    return thread;
  }

  int port() {
    return port;
  }

  void delay(Duration time) {
    gate.delay(time.toNanos());
  }

  void cut() {
    gate.cut();
  }

  void mend() {
    gate.mend();
  }

  void reset() {
    connections.forEach(Connection::reset);
  }

  void close() {
    try {
      listener.close();
    } catch (IOException alreadyClosed) {
      throw new UncheckedIOException(alreadyClosed);
    }
    reset();
    gate.mend();
  }

  private void accept() {
    while (listener.isOpen()) {
      try {
        SocketChannel client = listener.accept();
        client.setOption(StandardSocketOptions.TCP_NODELAY, true);
        daemon(() -> connect(client), "connect").start();
      } catch (IOException closed) {
        return;
      }
    }
  }

  private void connect(SocketChannel client) {
    Connection connection = new Connection(client);
    connections.add(connection);
    try (SocketChannel daemon = SocketChannel.open(StandardProtocolFamily.UNIX)) {
      daemon.connect(UnixDomainSocketAddress.of(target));
      connection.join(daemon, gate);
    } catch (IOException noDaemon) {
      // The client sees a reset.
    } finally {
      connection.reset();
      connections.remove(connection);
    }
  }

  /** A connection of a client. */
  private static final class Connection {
    private final SocketChannel client;

    Connection(SocketChannel client) {
      this.client = client;
    }

    /** Passes bytes in both directions until one of them ends. */
    void join(SocketChannel daemon, Gate gate) {
      Pipe up = new Pipe(client, daemon, gate);
      Pipe down = new Pipe(daemon, client, gate);
      up.start();
      down.start();
      up.await();
      closeQuietly(daemon);
      reset();
      down.await();
    }

    /** Closes the connection with RST. */
    void reset() {
      try {
        client.setOption(StandardSocketOptions.SO_LINGER, 0);
      } catch (IOException | UnsupportedOperationException alreadyClosed) {
        // Nothing is left to do.
      }
      closeQuietly(client);
    }
  }

  static void closeQuietly(SocketChannel channel) {
    try {
      channel.close();
    } catch (IOException alreadyClosed) {
      // Nothing is left to do.
    }
  }
}
