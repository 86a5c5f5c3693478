"""Tests how `redlockctl nodes` shows the node set and its changes, with a service in place of the daemon."""

import concurrent.futures
import datetime
import json
import os
import queue
import signal
import subprocess
import unittest

import grpc

from redlock.v1 import admin_service_pb2 as admin_pb
from redlock.v1 import admin_service_pb2_grpc as admin_pb_grpc
from test_service import REDLOCKCTL, seconds

NAMES = {"1111111111111111": "a:1", "2222222222222222": "b:2", "3333333333333333": "c:3",
         "4444444444444444": "d:4"}
GOES_ON = ("the change goes on; see: redlockctl nodes list; "
           "undo it with: redlockctl nodes abort\n")


def node_set(epoch=3, members="123", **more):
    members = [admin_pb.NodeSetMember(id=id, name=name, configured=True,
                                      state=admin_pb.NODE_STATE_UP)
               for id, name in NAMES.items() if id[0] in members]
    return admin_pb.NodeSet(set_id="5e75e75e75e75e75", epoch=epoch, members=members, quorum=2,
                            max_ttl=seconds(60), fence_retention=seconds(3600), **more)


def progress(done, steps, message="", **more):
    return admin_pb.ChangeNodeSetResponse(node_set=node_set(**more), steps_done=done, steps=steps,
                                          message=message)


class Service(admin_pb_grpc.AdminServiceServicer):
    """Sends the responses of `script` to one call. None or a Refusal ends the call."""

    def __init__(self):
        self.script = queue.Queue()
        self.requests = queue.Queue()
        self.set = node_set()

    def GetNodeSet(self, request, context):
        return admin_pb.GetNodeSetResponse(node_set=self.set)

    def ChangeNodeSet(self, request, context):
        script = self.script
        self.requests.put(request)
        context.add_callback(lambda: script.put(None))  # the call has ended
        while (response := script.get()) is not None:
            if isinstance(response, Refusal):
                context.abort(response.code, response.message)
            yield response


class Refusal:
    def __init__(self, code, message):
        self.code, self.message = code, message


class NodesCommandTest(unittest.TestCase):
    def setUp(self):
        self.service = Service()
        self.server = grpc.server(concurrent.futures.ThreadPoolExecutor(4))
        admin_pb_grpc.add_AdminServiceServicer_to_server(self.service, self.server)
        self.address = f"127.0.0.1:{self.server.add_insecure_port('127.0.0.1:0')}"
        self.server.start()
        self.addCleanup(lambda: self.server.stop(None).wait())

    def start(self, *arguments, script=()):
        self.service.script = queue.Queue()  # an earlier call still has its own
        for response in script:
            self.service.script.put(response)
        command = subprocess.Popen([REDLOCKCTL, "--server", self.address, "nodes", *arguments],
                                   stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
                                   env={**os.environ, "TZ": "UTC"})
        self.addCleanup(command.communicate)
        self.addCleanup(command.kill)
        return command

    def run_with(self, *arguments, script=()):
        """Returns the exit status, standard output and standard error."""
        command = self.start(*arguments, script=script)
        out, err = command.communicate(timeout=20)
        return command.returncode, out, err

    def request_of(self, *arguments):
        status, _, err = self.run_with(*arguments, script=[progress(1, 1), None])
        self.assertEqual((status, err), (0, ""))
        return self.service.requests.get(timeout=1)

    def test_each_command_asks_for_its_change(self):
        def wants(**fields):
            return admin_pb.ChangeNodeSetRequest(**fields)

        self.assertEqual(self.request_of("init"), wants(init=True))
        self.assertEqual(self.request_of("abort"), wants(abort=True))
        self.assertEqual(self.request_of("add", "d:4", "e:5"), wants(add=["d:4", "e:5"]))
        self.assertEqual(self.request_of("remove", "a:1"), wants(remove=["a:1"]))
        self.assertEqual(self.request_of("replace", "a:1", "d:4"), wants(remove=["a:1"], add=["d:4"]))
        self.assertEqual(self.request_of("max-ttl", "1500ms"), wants(max_ttl=seconds(1.5)))
        self.assertEqual(self.request_of("max-ttl", "24h"), wants(max_ttl=seconds(86400)))

    def test_invalid_arguments_are_refused_before_the_call(self):
        for arguments, complaint in [
                (["add"], "NODE is required"),
                (["add", "d:4", "d:4"], "node d:4 is named twice"),
                (["add", "redis://user:secret@d:4"], "node d:4: name it without a scheme"),
                (["remove", "a:1", ""], "the name of a node is empty"),
                (["replace", "a:1"], "NEW is required"),
                (["replace", "a:1", "a:1"], "node a:1 is named twice"),
                (["max-ttl", "99ms"], "from 100ms to 24h"),
                (["max-ttl", "25h"], "from 100ms to 24h"),
                (["max-ttl", "100.5ms"], "in whole milliseconds"),
                (["max-ttl", "10"], "DURATION: "),
                (["abort", "d:4"], "d:4"), ([], "subcommand")]:
            with self.subTest(arguments=arguments):
                status, out, err = self.run_with(*arguments)
                self.assertEqual((status, out), (2, ""))
                self.assertIn(complaint, err)
                self.assertNotIn("secret", err)
        self.assertTrue(self.service.requests.empty())

    def test_each_change_of_state_is_one_line(self):
        down = "node d:4 does not answer"
        status, out, err = self.run_with("replace", "a:1", "d:4", script=[
            progress(0, 2, down), progress(0, 2, down), progress(0, 2),
            progress(1, 2, "the wait", epoch=4, members="1234", wait=seconds(70)),
            progress(1, 2, "the wait", epoch=4, members="1234", wait=seconds(69.9)),
            progress(1, 2, "the wait", epoch=4, members="1234"),
            progress(2, 2, epoch=5, members="234", wait=seconds(60)), None])
        self.assertEqual((status, err), (0, ""))
        lines = out.splitlines()
        self.assertEqual(lines[:2], ["epoch 3 in force: 2 steps to do", f"waiting: {down}"])
        self.assertRegex(lines[2], r"^epoch 4 in force: step 1 of 2 done; "
                                   r"the next one can be decided at \d\d:\d\d:\d\d$")
        self.assertEqual(lines[3:], ["waiting: the wait", "done: epoch 5, members b:2 c:3 d:4"])

    def test_a_wait_that_becomes_longer_is_shown_again(self):
        _, out, _ = self.run_with("add", "d:4", "e:5", script=[
            progress(1, 2, wait=seconds(10)), progress(1, 2, wait=seconds(60)),
            progress(2, 2, epoch=4), None])
        self.assertEqual(out.count("; the next one can be decided at "), 2)

    def test_the_creation_of_the_node_set_is_shown(self):
        none = admin_pb.ChangeNodeSetResponse(message="node c:3 does not answer")
        status, out, _ = self.run_with("init", script=[none, progress(1, 1, epoch=1), None])
        self.assertEqual(status, 0)
        self.assertEqual(out, "waiting: node c:3 does not answer\ndone: epoch 1, members a:1 b:2 c:3\n")

    def test_the_longest_ttl_is_shown(self):
        _, out, _ = self.run_with("max-ttl", "60s", script=[progress(1, 1, epoch=4), None])
        self.assertEqual(out, "done: epoch 4, members a:1 b:2 c:3, max_ttl 60 s\n")

    def test_json_has_one_object_for_each_response(self):
        script = [progress(0, 1, "later"), progress(0, 1, "later"), progress(1, 1, epoch=4), None]
        status, out, err = self.run_with("add", "d:4", "--output", "json", script=script)
        self.assertEqual((status, err), (0, ""))
        responses = [json.loads(line) for line in out.splitlines()]
        self.assertEqual([response["steps_done"] for response in responses], [0, 0, 1])
        self.assertEqual(responses[2]["node_set"]["epoch"], "4")

    def test_a_refusal_is_reported_by_the_exit_status(self):
        refused = Refusal(grpc.StatusCode.INVALID_ARGUMENT, "node x:9 is not configured")
        self.assertEqual(self.run_with("add", "x:9", script=[refused]),
                         (2, "", "redlockctl: node x:9 is not configured\n"))
        refused = Refusal(grpc.StatusCode.FAILED_PRECONDITION, "another change is under way")
        self.assertEqual(self.run_with("add", "d:4", script=[refused]),
                         (1, "", "redlockctl: another change is under way\n"))
        # The daemon's answer in the middle of a change leaves nothing open.
        status, _, err = self.run_with("add", "d:4", script=[progress(0, 1), refused])
        self.assertEqual((status, err), (1, "redlockctl: another change is under way\n"))

    def interrupt(self, how, response, *arguments):
        command = self.start(*arguments, script=[response])
        line = command.stdout.readline()  # the call is under way
        command.send_signal(how)
        out, err = command.communicate(timeout=20)
        return command.returncode, line + out, err

    def test_a_signal_ends_the_command_and_not_the_change(self):
        stored = progress(1, 2, epoch=4, wanted_remove=["1111111111111111"])
        for how in signal.SIGINT, signal.SIGTERM:
            status, out, err = self.interrupt(how, stored, "replace", "a:1", "d:4")
            self.assertEqual((status, out), (1, "epoch 4 in force: step 1 of 2 done\n"))
            self.assertEqual(err, "redlockctl: interrupted; " + GOES_ON)
        status, out, err = self.interrupt(signal.SIGINT, stored, "add", "d:4", "--output", "json")
        self.assertEqual(status, 1)
        self.assertEqual(len(out.splitlines()), 1)
        self.assertIn(GOES_ON, err)

    def test_a_change_may_not_go_on_before_its_first_step(self):
        status, _, err = self.interrupt(signal.SIGINT, progress(0, 1, "later"), "add", "d:4")
        self.assertEqual(status, 1)
        self.assertIn("interrupted; the change goes on if its first step is decided", err)
        _, _, err = self.interrupt(signal.SIGINT, progress(0, 1, "later"), "abort")
        self.assertIn("interrupted; the change may still be undone; see: redlockctl nodes list", err)
        _, _, err = self.interrupt(signal.SIGINT, progress(0, 1, "later"), "init")
        self.assertIn("interrupted; the node set may still be created", err)

    def test_the_timeout_ends_the_command(self):
        status, _, err = self.run_with("add", "d:4", "--timeout", "1s",
                                       script=[progress(1, 2, epoch=4)])
        self.assertEqual((status, err), (3, "redlockctl: the time to wait ran out; " + GOES_ON))

    def test_a_daemon_that_goes_away_leaves_the_change_to_the_nodes(self):
        command = self.start("add", "d:4", "e:5", script=[progress(1, 2, epoch=4)])
        command.stdout.readline()
        self.server.stop(None).wait()
        _, err = command.communicate(timeout=20)
        self.assertIn(command.returncode, (1, 6))  # CANCELLED or UNAVAILABLE, as gRPC has it
        self.assertRegex(err, rf"^redlockctl: the connection to redlockd at {self.address} broke ")
        self.assertIn(GOES_ON, err)

    def test_a_daemon_that_does_not_answer_has_begun_nothing(self):
        self.server.stop(None).wait()
        status, out, err = self.run_with("add", "d:4")
        self.assertEqual((status, out), (6, ""))
        self.assertIn("no redlockd answers: " + self.address, err)
        self.assertNotIn("goes on", err)

    def test_the_list_shows_the_change_under_way(self):
        self.assertNotIn("change", self.run_with("list")[1])
        self.service.set = node_set(wanted_add=["d:4"], wait=seconds(70),
                                    wanted_remove=["1111111111111111", "9999999999999999"])
        earliest = datetime.datetime.now(datetime.timezone.utc) + datetime.timedelta(seconds=70)
        status, out, _ = self.run_with("list")
        self.assertEqual(status, 0)
        self.assertRegex(out, "\nchange under way\n"
                              "  d:4 +to be added\n"
                              "  a:1 +1111111111111111 to be removed\n"
                              "   +9999999999999999 to be removed\n"
                              r"the next change can be decided at \d\d:\d\d:\d\d\n$")
        shown = datetime.datetime.strptime(out.split()[-1], "%H:%M:%S").replace(
            earliest.year, earliest.month, earliest.day, tzinfo=datetime.timezone.utc)
        late = (shown - earliest).total_seconds() % 86400
        self.assertLess(late, 10)
        listed = json.loads(self.run_with("list", "--output", "json")[1])["node_set"]
        self.assertEqual(listed["wanted_add"], ["d:4"])
        self.assertEqual(listed["wait"], "70s")


if __name__ == "__main__":
    unittest.main()
