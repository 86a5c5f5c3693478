package io.redlockd.internal;

/** What lasts until somebody closes it, or the client. */
public interface LastingStream {
  /** Opens the first stream. Called once. */
  void start();

  /** Ends it. A second call does nothing. */
  void close();
}
