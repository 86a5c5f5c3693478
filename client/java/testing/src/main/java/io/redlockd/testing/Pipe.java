package io.redlockd.testing;

import java.io.IOException;
import java.nio.ByteBuffer;
import java.nio.channels.SocketChannel;
import java.util.concurrent.ArrayBlockingQueue;
import java.util.concurrent.BlockingQueue;

/** One direction of a connection: a thread that reads, and a thread that writes what may pass. */
final class Pipe {
  private static final int MOST_BYTES = 16 * 1024; // in one piece
  private static final int MOST_PIECES = 4096; // held back; the sender has to wait then

  private record Piece(long arrived, ByteBuffer bytes) {}

  private static final Piece END = new Piece(0, ByteBuffer.allocate(0));

  private final SocketChannel from;
  private final SocketChannel to;
  private final Gate gate;
  private final BlockingQueue<Piece> pieces = new ArrayBlockingQueue<>(MOST_PIECES);
  private final Thread reader = Proxy.daemon(this::read, "read");
  private final Thread writer = Proxy.daemon(this::write, "write");

  Pipe(SocketChannel from, SocketChannel to, Gate gate) {
    this.from = from;
    this.to = to;
    this.gate = gate;
  }

  void start() {
    reader.start();
    writer.start();
  }

  /** Returns once the direction has ended. */
  void await() {
    try {
      reader.join();
      writer.interrupt();
      writer.join();
    } catch (InterruptedException unexpected) {
      Thread.currentThread().interrupt();
    }
  }

  private void read() {
    ByteBuffer buffer = ByteBuffer.allocate(MOST_BYTES);
    try {
      while (from.read(buffer.clear()) >= 0) {
        byte[] bytes = new byte[buffer.flip().remaining()];
        buffer.get(bytes);
        pieces.put(new Piece(System.nanoTime(), ByteBuffer.wrap(bytes)));
      }
    } catch (IOException | InterruptedException ended) {
      // The writer passes on the end, after what was held back.
    }
    try {
      pieces.put(END);
    } catch (InterruptedException unexpected) {
      Thread.currentThread().interrupt();
    }
  }

  private void write() {
    try {
      for (Piece piece = pieces.take(); piece != END; piece = pieces.take()) {
        gate.await(piece.arrived);
        while (piece.bytes.hasRemaining()) {
          to.write(piece.bytes);
        }
      }
    } catch (IOException | InterruptedException ended) {
      // The other side hears of it below.
    }
    Proxy.closeQuietly(to);
    Proxy.closeQuietly(from);
  }
}
