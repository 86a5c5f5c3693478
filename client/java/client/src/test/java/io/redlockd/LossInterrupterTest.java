package io.redlockd;

import static org.junit.jupiter.api.Assertions.assertFalse;
import static org.junit.jupiter.api.Assertions.assertTrue;

import org.junit.jupiter.api.Test;

class LossInterrupterTest {
  private final LossInterrupter interrupter = new LossInterrupter();

  @Test
  void aLossInterruptsAndTheEndClears() {
    interrupter.fire();
    assertTrue(Thread.currentThread().isInterrupted());
    interrupter.end();
    assertFalse(Thread.interrupted());
  }

  @Test
  void anInterruptThatCameBeforeTheLossIsKept() {
    Thread.currentThread().interrupt();
    interrupter.fire();
    interrupter.end();
    assertTrue(Thread.interrupted());
  }

  @Test
  void anInterruptWithoutALossIsKept() {
    Thread.currentThread().interrupt();
    interrupter.end();
    assertTrue(Thread.interrupted());
  }

  @Test
  void nothingFollowsTheEnd() {
    interrupter.end();
    interrupter.fire();
    assertFalse(Thread.interrupted());
  }
}
