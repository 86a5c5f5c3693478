"""The client's estimate of the daemon's clock is never later than the truth."""

import math
import random
import unittest

from redlockd._clock import DaemonClock


class Clock(unittest.TestCase):
    def test_nothing_is_known_before_a_round_trip(self):
        clock = DaemonClock()
        clock.on_message(500.0, 1.0)
        self.assertEqual(-math.inf, clock.made_at(500.0))

    def test_a_message_is_not_older_than_the_operation_that_it_answers(self):
        clock = DaemonClock()
        clock.on_message(500.0, 1.3)
        clock.on_round_trip(0.3)
        self.assertAlmostEqual(1.0, clock.made_at(500.0))

    def test_clock_rates_may_differ_by_one_per_cent(self):
        clock = DaemonClock()
        clock.on_message(500.0, 1.0)
        clock.on_round_trip(0.0)
        self.assertAlmostEqual(1.0 + 10 - 0.1, clock.made_at(510.0))
        self.assertAlmostEqual(1.0 - 10 - 0.1, clock.made_at(490.0))

    def test_a_slow_round_trip_does_not_replace_a_fast_one(self):
        clock = DaemonClock()
        clock.on_message(500.0, 1.0)
        clock.on_round_trip(0.01)
        clock.on_message(501.0, 3.0)
        clock.on_round_trip(2.0)  # sent at 1.0, answered 1 s later
        self.assertAlmostEqual(0.99 + 1 - 0.01, clock.made_at(501.0))

    def test_a_slow_round_trip_replaces_a_fast_one_that_has_become_less_precise(self):
        clock = DaemonClock()
        clock.on_message(500.0, 1.0)
        clock.on_round_trip(0.0)
        clock.on_message(600.0, 101.0)
        clock.on_round_trip(0.5)  # within 1 % of 100 s
        self.assertAlmostEqual(100.5, clock.made_at(600.0))

    def test_the_estimate_is_never_late_regardless_of_delays(self):
        for seed in range(50):
            chance = random.Random(seed)
            rate = chance.uniform(0.99, 1.01)
            daemon = lambda t: 5000 + rate * t
            clock, t = DaemonClock(), 0.0
            for _ in range(100):
                t += chance.choice([0.01, 1.0, 60.0])
                there, back = (chance.choice([0.0, 0.001, 3.0]) for _ in range(2))
                clock.on_message(daemon(t + there), t + there + back)
                if chance.random() < 0.5:
                    clock.on_round_trip(there + back)
                self.assertLessEqual(clock.made_at(daemon(t + there)), t + there + 1e-6, f"seed {seed}")
                t += there + back


if __name__ == "__main__":
    unittest.main()
