"""Tests that the checker finds each kind of violation, constructed here, and reports no false ones."""

import unittest

import history
import limits
from availability import Availability


def grant(token, received, validity, fence, key="k", decided=None, what="acquired", worker=None):
    return {
        "worker": worker or token,
        "what": what,
        "key": key,
        "token": token,
        "daemon": 0,
        "sent": received - 0.001,
        "received": received,
        "decided": received - 0.001 if decided is None else decided,
        "validity": validity,
        "fence": fence,
        "wait": 0,
    }


def trusts(token, begin, end, fence=1, key="k"):
    return {"worker": token, "what": "trusts", "key": key, "token": token, "begin": begin,
            "end": end, "fence": fence}


def release(token, sent, key="k"):
    return {"worker": token, "what": "releases", "key": key, "token": token, "sent": sent}


def slot(number, hold, max_holders=3):
    return {**hold, "max_holders": max_holders, "slot": number}


def together(hold, *keys):
    return {**hold, "key": ", ".join(keys), "keys": list(keys)}


def lost(token, received, by, **fields):
    return {"worker": token, "what": "lost", "key": "k", "token": token, "received": received,
            "by": by, "reason": "LOCK_NOT_HELD", **fields}


def of(impaired, *sets):
    """The availability with these faults. Without `sets`, the nodes 0 to 2 are always the members."""
    return Availability(impaired, sets or [(0, 1e9, (0, 1, 2))])


def refused(key, sent):
    return {"worker": "w", "what": "not acquired", "key": key, "sent": sent, "received": sent + 0.01,
            "reason": "LOCK_ALREADY_HELD"}


class TwoHoldersTest(unittest.TestCase):
    def test_two_holders_are_found(self):
        self.assertEqual(len(history.two_holders([grant("a", 1, 1, 1), grant("b", 1.5, 1, 2)])), 1)

    def test_two_clients_that_trust_one_key_are_found(self):
        events = [trusts("a", 1, 2), trusts("b", 1.9, 2.5)]
        self.assertEqual(len(history.two_holders(events)), 1)
        self.assertEqual(len(history.two_holders([trusts("a", 1, 2), grant("b", 1.9, 1, 2)])), 1)

    def test_trust_that_has_ended_is_no_violation(self):
        self.assertEqual(history.two_holders([trusts("a", 1, 2), trusts("b", 2.1, 2.5)]), [])

    def test_successive_holders_are_no_violation(self):
        events = [grant("a", 1, 1, 1), release("a", 1.4), grant("b", 1.5, 1, 2)]
        self.assertEqual(history.violations(events, []), [])
        events = [trusts("a", 1, 2, 1), release("a", 1.4), trusts("b", 1.5, 2, 2)]
        self.assertEqual(history.violations(events, []), [])

    def test_holders_that_share_are_no_violation(self):
        one, two = ({**grant(token, 1, 1, 5), "shares": True} for token in "ab")
        self.assertEqual(history.violations([one, two], []), [])
        self.assertEqual(len(history.two_holders([one, grant("b", 1.5, 1, 6)])), 1)
        self.assertEqual(len(history.two_holders([grant("b", 0.5, 1, 4), one])), 1)

    def test_the_fence_of_a_share_grows_over_exclusive_ones_only(self):
        share = {**grant("b", 2, 0.1, 5, decided=2), "shares": True}
        self.assertEqual(history.fences_that_do_not_grow([{**grant("a", 1, 0.1, 6), "shares": True}, share]), [])
        self.assertEqual(len(history.fences_that_do_not_grow([grant("a", 1, 0.1, 6), share])), 1)
        exclusive = grant("c", 3, 0.1, 5, decided=3)
        self.assertEqual(len(history.fences_that_do_not_grow([share, exclusive])), 1)

    def test_an_earlier_release_of_a_token_does_not_end_a_later_hold(self):
        events = [release("a", 0.5), trusts("a", 1, 2), trusts("b", 1.5, 2.5)]
        self.assertEqual(len(history.two_holders(events)), 1)

    def test_a_release_in_another_worker_does_not_end_a_hold(self):
        events = [trusts("a", 1, 2), {**release("a", 1.4), "worker": "x"}, trusts("b", 1.5, 2.5)]
        self.assertEqual(len(history.two_holders(events)), 1)

    def test_a_reported_loss_ends_the_trust(self):
        events = [trusts("a", 1, 2), lost("a", 1.4, by=2), trusts("b", 1.5, 2.5)]
        self.assertEqual(history.two_holders(events), [])

    def test_an_extension_prolongs_a_hold(self):
        events = [grant("a", 1, 0.5, 1), grant("a", 1.4, 1, 1, what="extended")]
        self.assertEqual(history.two_holders(events), [])
        self.assertEqual(len(history.two_holders(events + [grant("b", 2, 1, 2)])), 1)

    def test_the_end_of_a_stream_is_not_a_release(self):
        events = [grant("a", 1, 1, 1, what="held"), grant("b", 1.5, 1, 2)]
        self.assertEqual(len(history.two_holders(events)), 1)

    def test_other_keys_do_not_matter(self):
        events = [grant("a", 1, 1, 1), grant("b", 1.5, 1, 1, key="other")]
        self.assertEqual(history.violations(events, []), [])

    def test_a_hold_that_may_have_ended_is_not_certain(self):
        late = grant("a", 5, 1, 1, decided=1)  # the answer was in transit for 4 seconds
        self.assertEqual(history.two_holders([late, grant("b", 5.1, 1, 2)]), [])


class SemaphoreTest(unittest.TestCase):
    def test_two_holders_of_one_slot_are_found(self):
        events = [slot(2, grant("a", 1, 1, 1)), slot(1, grant("b", 1.2, 1, 2)), slot(2, grant("c", 1.5, 1, 3))]
        self.assertEqual(len(history.violations(events, [])), 1)
        self.assertIn("a and c both held it for 499.0 ms", history.two_holders(events)[0])

    def test_holders_of_all_slots_are_no_violation(self):
        events = [slot(i + 1, grant("abc"[i], 1 + i / 10, 1, 5 - i)) for i in range(3)]
        self.assertEqual(history.violations(events, []), [])

    def test_more_holders_than_the_limit_are_found(self):
        events = [slot(i + 1, grant("abcd"[i], 1 + i / 10, 1, 1)) for i in range(4)]
        self.assertIn("4 holders, more than 3", "\n".join(history.violations(events, [])))
        same_slot = [slot(min(i + 1, 3), event) for i, event in enumerate(events)]
        self.assertEqual(len(history.wrong_slots(same_slot)), 1)

    def test_a_slot_that_was_given_back_does_not_count(self):
        events = [slot(i + 1, trusts("abc"[i], 1, 2)) for i in range(3)]
        release_and_next = [release("b", 1.4), slot(2, trusts("d", 1.5, 2, fence=2))]
        self.assertEqual(history.violations([*events, *release_and_next], []), [])
        self.assertEqual(history.violations([*events, slot(1, trusts("d", 2.1, 2.5, fence=2))], []), [])

    def test_an_extension_prolongs_a_hold_of_a_slot(self):
        events = [slot(i + 1, grant("abc"[i], 1, 0.5, 1)) for i in range(3)]
        extended = [slot(i + 1, grant("abc"[i], 1.4, 1, 1, what="extended")) for i in range(3)]
        self.assertEqual(history.violations([*events, *extended], []), [])
        self.assertEqual(len(history.wrong_slots([*events, *extended, slot(3, trusts("d", 2, 3))])), 1)

    def test_an_extension_is_not_counted_again(self):
        events = [slot(i % 3 + 1, grant("abcd"[i], 1, 0.5, 1)) for i in range(4)]
        extended = [slot(i % 3 + 1, grant("abcd"[i], 1.4, 1, 1, what="extended")) for i in range(4)]
        self.assertEqual(len(history.wrong_slots([*events, *extended])), 1)

    def test_a_slot_above_the_limit_is_found(self):
        self.assertIn("out of 1 to 3", history.wrong_slots([slot(4, trusts("a", 1, 2))])[0])
        self.assertIn("out of 1 to 3", history.wrong_slots([slot(0, trusts("a", 1, 2))])[0])

    def test_two_slots_of_one_token_are_found(self):
        events = [slot(1, trusts("a", 1, 2)), slot(2, trusts("a", 1.5, 2.5))]
        self.assertIn("one token had two slots", history.wrong_slots(events)[0])
        events.insert(1, release("a", 1.4))
        self.assertEqual(history.violations(events, []), [])

    def test_a_key_that_is_used_in_two_ways_is_found(self):
        for other in (trusts("b", 1.5, 2), {**trusts("b", 1.5, 2), "shares": True}, slot(2, trusts("b", 1.5, 2), 4)):
            self.assertEqual(len(history.two_holders([slot(1, trusts("a", 1, 2)), other])), 1)
            self.assertEqual(len(history.two_holders([slot(1, trusts("a", 1.6, 2)), other])), 1)

    def test_fences_grow_within_a_slot(self):
        before = slot(1, grant("a", 1, 0.1, 7))
        self.assertEqual(len(history.fences_that_do_not_grow([before, slot(1, grant("b", 2, 0.1, 7))])), 1)
        self.assertEqual(history.fences_that_do_not_grow([before, slot(1, grant("b", 2, 0.1, 8))]), [])
        self.assertEqual(history.fences_that_do_not_grow([before, slot(2, grant("b", 2, 0.1, 6))]), [])


class SeveralKeysTest(unittest.TestCase):
    def test_claims_that_have_a_key_in_common_are_found(self):
        one = together(grant("a", 1, 1, 1), "k", "l")
        self.assertEqual(len(history.two_holders([one, together(grant("b", 1.5, 1, 2), "l", "m")])), 1)
        self.assertEqual(len(history.two_holders([one, grant("b", 1.5, 1, 2, key="l")])), 1)
        self.assertEqual(len(history.two_holders([grant("b", 0.5, 1, 1, key="k"), one])), 1)

    def test_other_keys_and_shares_are_no_violation(self):
        one = together(grant("a", 1, 1, 1), "k", "l")
        self.assertEqual(history.violations([one, together(grant("b", 1.5, 1, 1), "m", "n")], []), [])
        one, two = ({**together(grant(token, 1, 1, 5), "k", "l"), "shares": True} for token in "ab")
        self.assertEqual(history.violations([one, two], []), [])

    def test_a_release_ends_the_hold_of_each_key(self):
        events = [together(trusts("a", 1, 2), "k", "l"), together(release("a", 1.4), "k", "l")]
        events += [trusts("b", 1.5, 2, fence=2, key=key) for key in "kl"]
        self.assertEqual(history.violations(events, []), [])
        self.assertEqual(len(history.two_holders(events[:1] + events[2:])), 2)

    def test_the_fence_is_above_those_of_each_key(self):
        pair = together(grant("c", 2, 0.1, 6, decided=2), "k", "l")
        for key in "kl":
            self.assertEqual(len(history.fences_that_do_not_grow([grant("a", 1, 0.1, 6, key=key), pair])), 1)
            after = grant("d", 3, 0.1, 6, key=key)
            self.assertEqual(len(history.fences_that_do_not_grow([pair, after])), 1)
        self.assertEqual(history.fences_that_do_not_grow([grant("a", 1, 0.1, 5), pair]), [])

    def test_a_refused_write_to_one_of_the_keys_is_found(self):
        write = {"worker": "a", "what": "refused", "key": "l", "token": "a", "fence": 1, "sent": 1.2, "received": 1.3}
        self.assertEqual(len(history.refused_holders([together(grant("a", 1, 1, 1), "k", "l"), write])), 1)


class FencesTest(unittest.TestCase):
    def test_a_fence_that_does_not_grow_is_found(self):
        events = [grant("a", 1, 0.1, 7), grant("b", 2, 0.1, 7)]
        self.assertEqual(len(history.fences_that_do_not_grow(events)), 1)

    def test_a_fence_below_one_that_grew_while_held_is_found(self):
        events = [grant("a", 1, 0.1, 7), trusts("a", 1.5, 1.8, 9), grant("b", 2, 0.1, 8)]
        self.assertEqual(len(history.fences_that_do_not_grow(events)), 1)

    def test_answers_that_crossed_do_not_prove_an_order(self):
        events = [grant("a", 2, 0.1, 7), grant("b", 2.1, 0.1, 6, decided=1)]
        self.assertEqual(history.fences_that_do_not_grow(events), [])

    def test_a_refused_write_of_a_holder_is_found(self):
        write = {"worker": "a", "what": "refused", "key": "k", "token": "a", "fence": 1}
        events = [grant("a", 1, 1, 1), {**write, "sent": 1.2, "received": 1.3}]
        self.assertEqual(len(history.refused_holders(events)), 1)
        events = [grant("a", 1, 1, 1), {**write, "sent": 2.2, "received": 2.3}]
        self.assertEqual(history.refused_holders(events), [])


class LossTest(unittest.TestCase):
    def test_a_late_signal_is_found_unless_a_process_was_stopped(self):
        late = lost("a", 6.0, by=5.0, daemon=1)
        self.assertEqual(len(history.signalled_too_late([late], [])), 1)
        for who in ("daemon 1", "worker a", "client a 1"):
            self.assertEqual(history.signalled_too_late([late], [(who, 4.5, 5.9)]), [])
        for who in ("daemon 0", "worker b", "client a 0"):
            self.assertEqual(len(history.signalled_too_late([late], [(who, 4.5, 5.9)])), 1)

    def test_a_client_signals_by_its_own_clock(self):
        late = lost("a", 6.0, by=5.0, unsignalled=5.95)
        self.assertEqual(len(history.signalled_too_late([late], [("daemon 1", 4.5, 5.9)])), 1)
        looked_late = lost("a", 6.0, by=5.0, unsignalled=4.9)
        self.assertEqual(history.signalled_too_late([looked_late], []), [])

    def test_a_loss_without_a_fault_is_listed(self):
        events = [lost("a", 100.0, by=100.1)]
        near = [("daemon 0", 99, 99.5)]
        self.assertEqual(len(of([]).needless_losses(events, 2)), 1)
        self.assertEqual(len(of([("node 0", 99, 101)]).needless_losses(events, 2)), 1)
        self.assertEqual(len(of([("daemon 0", 9, 10)]).needless_losses(events, 2)), 1)
        self.assertEqual(of(near).needless_losses(events, 2), [])
        self.assertEqual(of([("client a 1", 99, 101)]).needless_losses(events, 2), [])
        self.assertEqual(len(of([("client b 1", 99, 101)]).needless_losses(events, 2)), 1)


class KeptTest(unittest.TestCase):
    def test_an_unused_key_that_stays_locked_is_found(self):
        end = 2 + history.KEPT
        held = trusts("w", 1, 2, key="own-w")
        self.assertEqual(len(history.kept_too_long([held, refused("own-w", end + 0.1)])), 1)
        self.assertEqual(history.kept_too_long([held, refused("own-w", end - 0.1)]), [])

    def test_refusals_do_not_count_as_use(self):
        events = [trusts("w", 1, 2, key="own-w")]
        events += [refused("own-w", 2 + i) for i in range(int(history.KEPT) + 2)]
        self.assertEqual(len(history.kept_too_long(events)), 1)

    def test_a_use_in_between_is_no_violation(self):
        events = [trusts("w", 1, 2, key="own-w"), release("w", 15, key="own-w")]
        self.assertEqual(history.kept_too_long(events + [refused("own-w", 3 + history.KEPT)]), [])

    def test_other_workers_may_hold_a_shared_key(self):
        events = [trusts("w", 1, 2, key="shared-0"), refused("shared-0", 3 + history.KEPT)]
        self.assertEqual(history.kept_too_long(events), [])


class AvailabilityTest(unittest.TestCase):
    def test_only_calls_during_a_quorum_count(self):
        ok = grant("a", 1, 1, 1, key="own-a")
        failed = {**grant("a", 5, 1, 1, key="own-a"), "what": "not acquired"}
        both_down = [("node 0", 4, 6), ("node 1", 4.5, 6), ("node 2", 0, 0.1)]
        self.assertEqual(of(both_down).of_calls([ok, failed], 0.1)[:2], (1, 1))
        one_down = [("node 0", 4, 6)]
        self.assertEqual(of(one_down).of_calls([ok, failed], 0.1)[:2], (2, 1))
        for who in ("client a 0", "worker a", "daemon 0"):
            cut_off = [(who, 4, 6)]
            self.assertEqual(of(cut_off).of_calls([ok, failed], 0.1)[:2], (1, 1))

    def test_only_members_count(self):
        failed = [{**grant("a", 5, 1, 1, key="own-a"), "what": "not acquired"}]
        two_down = [("node 0", 4, 6), ("link 0 3", 4, 6), ("node 3", 4.5, 5.5)]
        one_member_down = of(two_down, (0, 1e9, (0, 1, 2)))
        self.assertEqual(one_member_down.of_calls(failed, 0.1)[:2], (1, 0))
        self.assertEqual(of(two_down, (0, 1e9, (0, 2, 3))).of_calls(failed, 0.1)[:2], (0, 0))
        self.assertEqual(of(two_down, (0, 1e9, (0, 1, 2, 3, 4))).of_calls(failed, 0.1)[:2], (1, 0))
        changed_before = of(two_down, (0, 3, (0, 2, 3)), (2, 1e9, (1, 2, 4)))
        self.assertEqual(changed_before.of_calls(failed, 0.1)[:2], (1, 0))

    def test_a_single_attempt_may_fail_while_a_change_spreads(self):
        call = {**grant("a", 5, 1, 1, key="own-a"), "what": "not acquired"}
        spreading = of([], (0, 5.5, (0, 1, 2)), (4.5, 9, (0, 1, 2, 3)))
        self.assertEqual(spreading.of_calls([call], 0.1)[:2], (0, 0))
        self.assertEqual(spreading.of_calls([{**call, "wait": 1}], 0.1)[:2], (1, 0))

    def test_an_acquisition_that_waits_must_succeed(self):
        call = {**grant("a", 5, 1, 1, key="own-a"), "wait": limits.WAIT, "sent": 5 - limits.WAIT,
                "reason": "NODE_SET_MISMATCH"}
        failed = {**call, "what": "not acquired"}
        spreading = of([], (0, 3, (0, 1, 2)), (2, 9, (0, 1, 2, 3)))
        self.assertEqual(spreading.of_waiting([call]), ([limits.WAIT], []))
        self.assertEqual(len(spreading.of_waiting([failed])[1]), 1)
        without_quorum = of([("node 0", 2, 3), ("node 1", 2, 3)])
        self.assertEqual(without_quorum.of_waiting([failed]), ([], []))
        self.assertEqual(spreading.of_waiting([{**failed, "wait": 1}]), ([], []))

    def test_the_time_to_recover_ends_with_the_first_success(self):
        def call(sent, what):
            return {**grant("a", sent + 0.001, 1, 1, key="own-a"), "what": what}

        calls = [call(3, "not acquired"), call(6.5, "not acquired"), call(7, "acquired")]
        recoveries = of([("daemon 0", 2, 6)]).of_calls(calls, 0.1)[2]
        self.assertEqual([round(seconds, 2) for seconds in recoveries], [0.5])
        again_down = [("daemon 0", 2, 6), ("daemon 0", 6.8, 6.9)]
        recoveries = of(again_down).of_calls(calls, 0.1)[2]
        self.assertEqual([round(seconds, 2) for seconds in recoveries], [0.0])


if __name__ == "__main__":
    unittest.main()
