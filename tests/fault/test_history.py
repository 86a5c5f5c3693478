"""The checker must bite: each kind of violation, made up, and what only looks like one."""

import unittest

import history


def grant(token, received, validity, fence, key="k", decided=None, what="acquired"):
    return {
        "worker": token,
        "what": what,
        "key": key,
        "token": token,
        "daemon": 0,
        "sent": received - 0.001,
        "received": received,
        "decided": received - 0.001 if decided is None else decided,
        "validity": validity,
        "fence": fence,
    }


def release(token, sent, key="k"):
    return {"worker": token, "what": "releases", "key": key, "token": token, "sent": sent}


class HistoryTest(unittest.TestCase):
    def test_two_holders_are_found(self):
        self.assertEqual(len(history.two_holders([grant("a", 1, 1, 1), grant("b", 1.5, 1, 2)])), 1)

    def test_one_after_the_other_is_fine(self):
        events = [grant("a", 1, 1, 1), release("a", 1.4), grant("b", 1.5, 1, 2)]
        self.assertEqual(history.violations(events, []), [])

    def test_an_extension_makes_a_hold_longer(self):
        events = [grant("a", 1, 0.5, 1), grant("a", 1.4, 1, 1, what="extended")]
        self.assertEqual(history.two_holders(events), [])
        self.assertEqual(len(history.two_holders(events + [grant("b", 2, 1, 2)])), 1)

    def test_a_stream_ends_the_hold(self):
        held = {**grant("a", 1, 1, 1, what="held"), "stream_ends": 1.4}
        self.assertEqual(history.two_holders([held, grant("b", 1.5, 1, 2)]), [])
        held["stream_ends"] = 9
        self.assertEqual(len(history.two_holders([held, grant("b", 1.5, 1, 2)])), 1)
        self.assertEqual(history.two_holders([held, grant("b", 1.5, 1, 2)], [("a", 1.4)]), [])

    def test_other_keys_do_not_matter(self):
        events = [grant("a", 1, 1, 1), grant("b", 1.5, 1, 1, key="other")]
        self.assertEqual(history.violations(events, []), [])

    def test_what_may_have_ended_is_not_certain(self):
        late = grant("a", 5, 1, 1, decided=1)  # the answer was under way for 4 seconds
        self.assertEqual(history.two_holders([late, grant("b", 5.1, 1, 2)]), [])

    def test_a_fence_that_does_not_grow_is_found(self):
        events = [grant("a", 1, 0.1, 7), grant("b", 2, 0.1, 7)]
        self.assertEqual(len(history.fences_that_do_not_grow(events)), 1)

    def test_answers_that_crossed_prove_no_order(self):
        events = [grant("a", 2, 0.1, 7), grant("b", 2.1, 0.1, 6, decided=1)]
        self.assertEqual(history.fences_that_do_not_grow(events), [])

    def test_a_refused_holder_is_found(self):
        refused = {"what": "refused", "key": "k", "token": "a", "fence": 1}
        events = [grant("a", 1, 1, 1), {**refused, "sent": 1.2, "received": 1.3}]
        self.assertEqual(len(history.refused_holders(events)), 1)
        events = [grant("a", 1, 1, 1), {**refused, "sent": 2.2, "received": 2.3}]
        self.assertEqual(history.refused_holders(events), [])

    def test_a_late_loss_is_found_unless_somebody_was_stopped(self):
        lost = {
            "worker": "w",
            "what": "lost",
            "key": "k",
            "token": "a",
            "daemon": 1,
            "by": 5.0,
            "received": 6.0,
        }
        self.assertEqual(len(history.told_too_late([lost], [])), 1)
        self.assertEqual(history.told_too_late([lost], [("daemon 1", 4.5, 5.9)]), [])
        self.assertEqual(len(history.told_too_late([lost], [("daemon 0", 4.5, 5.9)])), 1)

    def test_only_calls_with_a_quorum_up_count(self):
        ok = {**grant("a", 1, 1, 1, key="own-a"), "what": "acquired"}
        failed = {**grant("a", 5, 1, 1, key="own-a"), "what": "not acquired"}
        both_down = [("node 0", 4, 6), ("node 1", 4.5, 6), ("node 2", 0, 0.1)]
        self.assertEqual(history.availability([ok, failed], both_down, 3, 0.1)[:2], (1, 1))
        one_down = [("node 0", 4, 6)]
        self.assertEqual(history.availability([ok, failed], one_down, 3, 0.1)[:2], (2, 1))


if __name__ == "__main__":
    unittest.main()
