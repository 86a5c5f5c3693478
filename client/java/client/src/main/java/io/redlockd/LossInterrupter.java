package io.redlockd;

import java.util.concurrent.locks.ReentrantLock;

/** Interrupts the thread that works under a lock when the lock is lost, and clears only its own interrupt. */
final class LossInterrupter {
  private final Thread worker = Thread.currentThread();
  private final ReentrantLock guard = new ReentrantLock();
  private boolean fired;
  private boolean interruptedBefore; // by somebody else
  private boolean ended;

  /** The lock is lost. */
  void fire() {
    guard.lock();
    try {
      if (!ended && !fired) {
        fired = true;
        interruptedBefore = worker.isInterrupted();
        worker.interrupt();
      }
    } finally {
      guard.unlock();
    }
  }

  /** The work has ended: no interrupt follows. Called by the worker. */
  void end() {
    guard.lock();
    try {
      ended = true;
      if (fired) {
        Thread.interrupted();
        if (interruptedBefore) {
          worker.interrupt();
        }
      }
    } finally {
      guard.unlock();
    }
  }
}
