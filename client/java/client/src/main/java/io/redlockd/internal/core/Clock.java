package io.redlockd.internal.core;

/** A clock that counts suspend time, from an arbitrary epoch. */
public interface Clock {
  /** Returns the time in nanoseconds. Never goes back. */
  long now();

  /** Returns how many suspends of the machine the clock has found. */
  long suspends();

  /**
   * Returns by how many nanoseconds the clock may have counted too little between two readings. The machine dates what it
   * sends earlier by this much, so that trust ends early rather than late.
   */
  long error();
}
