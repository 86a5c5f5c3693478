"""Timers run in order and can be cancelled without leaving anything behind."""

import math
import unittest

from redlockd._timers import Timers


class Order(unittest.TestCase):
    def test_timers_run_in_order_and_not_early(self):
        timers, ran = Timers(), []
        for when in (3, 1, 2):
            timers.add(when, ran.append)
        self.assertEqual(1, timers.due)
        timers.run(2.5)
        self.assertEqual([2.5, 2.5], ran)
        self.assertEqual(3, timers.due)
        timers.run(3)
        self.assertEqual(math.inf, timers.due)

    def test_a_timer_may_add_and_cancel_others(self):
        timers, ran = Timers(), []
        victim = timers.add(2, lambda now: ran.append("victim"))

        def first(now):
            victim.cancel()
            timers.add(1, lambda now: ran.append("added"))

        timers.add(1, first)
        timers.run(5)
        self.assertEqual(["added"], ran)

    def test_cancelling_twice_or_too_late_is_harmless(self):
        timers, ran = Timers(), []
        timer = timers.add(1, ran.append)
        timers.run(1)
        timer.cancel()
        other = timers.add(2, ran.append)
        other.cancel()
        other.cancel()
        timers.run(3)
        self.assertEqual([1], ran)
        self.assertEqual(math.inf, timers.due)

    def test_cancelled_timers_do_not_pile_up(self):
        timers = Timers()
        timers.add(1, lambda now: None)
        for _ in range(10_000):
            timers.add(600, lambda now: None).cancel()
        self.assertLess(len(timers._heap), 200)
        self.assertEqual(1, timers.due)


if __name__ == "__main__":
    unittest.main()
