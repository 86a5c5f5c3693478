package io.redlockd.internal.core;

import java.util.PriorityQueue;

/** Actions that are due later. */
final class Timers {
  /** An action that is due at a certain time. */
  final class Timer implements Comparable<Timer> {
    private final long at;
    private final long number;
    private Runnable action;

    private Timer(long at, Runnable action) {
      this.at = at;
      this.number = ++last;
      this.action = action;
    }

    /** The action will not run. Does nothing if it has run. */
    void cancel() {
      if (action == null) {
        return;
      }
      action = null;
      if (++cancelled > queue.size() / 2) { // so that cancelled timers take no more memory than the others
        queue.removeIf(timer -> timer.action == null);
        cancelled = 0;
      }
    }

    @Override
    public int compareTo(Timer other) {
      return at != other.at ? Long.compare(at, other.at) : Long.compare(number, other.number);
    }
  }

  private final PriorityQueue<Timer> queue = new PriorityQueue<>();
  private long last;
  private int cancelled;

  Timer add(long at, Runnable action) {
    Timer timer = new Timer(at, action);
    queue.add(timer);
    return timer;
  }

  /** When the next action is due. */
  long next() {
    dropCancelled();
    return queue.isEmpty() ? Times.NEVER : queue.peek().at;
  }

  /** Runs the actions that are due. */
  void run(long now) {
    while (next() <= now && !queue.isEmpty()) {
      Timer timer = queue.poll();
      Runnable action = timer.action;
      timer.action = null;
      action.run();
    }
  }

  void clear() {
    queue.clear();
    cancelled = 0;
  }

  private void dropCancelled() {
    while (!queue.isEmpty() && queue.peek().action == null) {
      queue.poll();
      --cancelled;
    }
  }
}
