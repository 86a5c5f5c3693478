"""A daemon without nodes that misbehaves as the test requests."""

import concurrent.futures
import queue
import threading
import time

import grpc
from redlockd._proto import pb, rpc
from redlockd._wire import set_duration

_UNARY = ("Acquire", "Extend", "Release", "Proclaim")


class _Stream:
    def __init__(self):
        self.outgoing = queue.Queue()
        self.open = True


def observed(state, remaining=None, **fields):
    """A pb.ObserveResponse."""
    message = pb.ObserveResponse(state=getattr(pb, "HOLDER_STATE_" + state), **fields)
    if remaining is not None:
        set_duration(message.remaining, remaining)
    return message


class FakeDaemon:
    """Grants everything. Daemons that stand for the same nodes share `locks`.

    Keeps the messages that it has read.
    """

    def __init__(self, locks):
        self.locks = locks  # key → token; of a semaphore: (key, max_holders, slot) → token
        self.messages = []
        self.silent = False  # reads, but does not answer
        self.refuses = None  # a status code for new streams
        self.validity = 30.0
        self.withheld = set()  # kinds of operations that are performed but never answered
        self.metadata = {}
        self.calls = []  # the requests of unary calls and of Observe
        self.fails = {}  # name of a call → (status code, reason): how it fails
        self.state = None  # the pb.ObserveResponse with which an Observe begins
        self.observers = []  # the queues of the Observe streams that are open
        self._guard = threading.Lock()
        self._streams = []
        self._fence = 100
        self._server = grpc.server(concurrent.futures.ThreadPoolExecutor(16))
        handler = grpc.stream_stream_rpc_method_handler(
            self.Session, request_deserializer=pb.SessionRequest.FromString,
            response_serializer=pb.SessionResponse.SerializeToString)
        observe = grpc.unary_stream_rpc_method_handler(
            self.Observe, request_deserializer=pb.ObserveRequest.FromString,
            response_serializer=pb.ObserveResponse.SerializeToString)
        self._server.add_generic_rpc_handlers([grpc.method_handlers_generic_handler(
            "redlock.v1.LockService",
            {"Session": handler, "Observe": observe, **{name: self._unary_handler(name) for name in _UNARY}})])
        self.endpoint = f"127.0.0.1:{self._server.add_insecure_port('127.0.0.1:0')}"
        self._server.start()

    def close(self):
        self.end_streams()
        self.end_observers()
        self._server.stop(0).wait()

    @property
    def operations(self):
        return [o for message in list(self.messages) for o in message.operations]

    def seen(self, kind):
        return [getattr(o, kind) for o in self.operations if o.WhichOneof("operation") == kind]

    def end_streams(self):
        for stream in list(self._streams):
            stream.outgoing.put(None)

    def called(self, name):
        return [request for request in list(self.calls) if type(request).__name__ == name + "Request"]

    def report(self, **fields):
        """Sends a state to all observers, and to those that come later. The fields: of pb.ObserveResponse."""
        self.state = observed(**fields)
        for observer in list(self.observers):
            observer.put(self.state)

    def end_observers(self):
        """Ends all Observe streams."""
        for observer in list(self.observers):
            observer.put(None)

    def send_event(self, kind, key=""):
        """Sends an event on all streams."""
        for stream in list(self._streams):
            event = pb.WatchResponse(type=getattr(pb, "EVENT_TYPE_" + kind), key=key)
            if key:
                event.lease.CopyFrom(pb.Lease(key=key, token=self.locks.get(key, "")))
            stream.outgoing.put(pb.SessionResponse(events=[event]))

    def _unary_handler(self, name):
        def handle(request, context):
            self.calls.append(request)
            self._fail(name, context)
            response = getattr(pb, name + "Response")()
            if name in ("Acquire", "Extend"):
                response.lease.CopyFrom(pb.Lease(key=request.key, token=request.token, fencing_token=1))
                set_duration(response.lease.validity, self.validity)
            return response

        return grpc.unary_unary_rpc_method_handler(
            handle, request_deserializer=getattr(pb, name + "Request").FromString,
            response_serializer=getattr(pb, name + "Response").SerializeToString)

    def _fail(self, name, context):
        """Fails the call if the test wants that."""
        if name in self.fails:
            code, reason = self.fails[name]
            details = rpc.Status(code=code.value[0])
            details.details.add().Pack(rpc.ErrorInfo(reason=reason, domain="redlock.v1"))
            context.set_trailing_metadata([("grpc-status-details-bin", details.SerializeToString())])
            context.abort(code, "refused by the test")

    def Observe(self, request, context):
        self.calls.append(request)
        self._fail("Observe", context)
        states = queue.Queue()
        if self.state is not None:
            states.put(self.state)
        self.observers.append(states)
        context.add_callback(lambda: states.put(None))
        try:
            while (state := states.get()) is not None:
                yield state
        finally:
            self.observers.remove(states)
        self._fail("Observe", context)

    def Session(self, requests, context):
        if self.refuses is not None:
            context.abort(self.refuses, "refused by the test")
        self.metadata = dict(context.invocation_metadata())
        stream = _Stream()
        self._streams.append(stream)
        threading.Thread(target=self._read, args=(requests, stream), daemon=True).start()
        try:
            while (response := stream.outgoing.get()) is not None:
                set_duration(response.clock, time.monotonic())
                yield response
        finally:
            self._streams.remove(stream)

    def _read(self, requests, stream):
        try:
            for request in requests:
                self.messages.append(request)
                response = pb.SessionResponse()
                closing = False
                with self._guard:
                    for operation in request.operations:
                        kind = operation.WhichOneof("operation")
                        result = self._carry_out(kind, operation)
                        if result is not None and kind not in self.withheld:
                            response.results.append(result)
                        closing = closing or kind == "close"
                if response.results and not self.silent:
                    stream.outgoing.put(response)
                if closing:
                    stream.outgoing.put(None)
        except grpc.RpcError:
            pass
        stream.outgoing.put(None)

    def _carry_out(self, kind, operation):
        result = pb.SessionResult(id=operation.id)
        asked = getattr(operation, kind)
        if kind == "cancel":
            return None
        place = None  # in `locks`
        if kind == "acquire":
            slots = [(asked.key, asked.max_holders, slot + 1) for slot in range(asked.max_holders)]
            place = next((place for place in slots or [asked.key] if place not in self.locks), None)
            if place is None:
                result.status.reason = "LOCK_ALREADY_HELD"
                return result
            self._fence += 1
            self.locks[place] = asked.token
        elif kind in ("release", "extend", "adopt"):
            place = self._place(kind, asked)
            if self.locks.get(place) != asked.token:
                result.status.reason = "LOCK_NOT_HELD"
                return result
            if kind == "release":
                del self.locks[place]
        elif kind == "close":
            self.locks.clear()
        if kind in ("acquire", "extend", "adopt"):
            result.lease.CopyFrom(pb.Lease(key=asked.key, token=asked.token, fencing_token=self._fence))
            if asked.max_holders:
                result.lease.max_holders, result.lease.slot = asked.max_holders, place[2]
            set_duration(result.lease.validity, self.validity)
        return result

    def _place(self, kind, asked):
        """What the operation is about, in `locks`. A release, or a slot of 0, is about whatever the token has."""
        if kind == "release" or (asked.max_holders and not asked.slot):
            return next((place for place, token in self.locks.items()
                         if isinstance(place, tuple) and (place[0], token) == (asked.key, asked.token)), asked.key)
        return (asked.key, asked.max_holders, asked.slot) if asked.max_holders else asked.key
