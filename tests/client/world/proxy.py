"""A TCP proxy that delays, cuts and resets connections.

All proxies of the process run on one event loop, in a thread of its own. The methods may be called from any thread.
"""

import asyncio
import socket
import struct
import threading

_CHUNK = 65536  # bytes
_CHUNKS = 64  # that one direction of a connection holds back; then it stops reading
_loop = asyncio.new_event_loop()
threading.Thread(target=_loop.run_forever, daemon=True, name="proxies").start()


def _bound(port=0):
    """SO_REUSEPORT lets a second socket of this process use the same port. The kernel offers it to nobody else."""
    bound = socket.socket()
    bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
    bound.bind(("127.0.0.1", port))
    return bound


class _Direction:
    """What is common to one direction of all connections of a proxy."""

    def __init__(self):
        self.delay = 0.0
        self.passing = asyncio.Event()
        self.passing.set()

    async def pump(self, reader, writer):
        """Copies bytes until the end of the stream, which it passes on. Raises OSError if it cannot write."""
        held = asyncio.Queue(_CHUNKS)
        await asyncio.gather(self._read(reader, held), self._write(held, writer))

    async def _read(self, reader, held):
        data = True
        while data:
            try:
                data = await reader.read(_CHUNK)
            except OSError:
                data = b""  # a reset; here it is like the end
            await held.put((_loop.time() + self.delay, data))

    async def _write(self, held, writer):
        data = True
        while data:
            due, data = await held.get()
            await asyncio.sleep(due - _loop.time())
            await self.passing.wait()
            if data:
                writer.write(data)
                await writer.drain()
        writer.write_eof()


class Proxy:
    """Passes connections from `port` of 127.0.0.1 on to a Unix socket."""

    def __init__(self, path):
        self._path = path
        self._reserved = _bound()  # never listens: keeps the port while the proxy refuses connections
        self.port = self._reserved.getsockname()[1]
        self._server = None
        self._connections = {}  # task → its two writers
        self._up = self._down = None
        self._run(self._prepare())

    @property
    def is_open(self):
        return self._server is not None

    def open(self):
        """Accepts connections."""
        self._run(self._listen())

    def shut(self):
        """Refuses connections. Those that are open stay open."""
        self._run(self._unlisten())

    def delay(self, seconds):
        """Holds back all bytes that arrive from now on, in each direction."""
        self._run(self._set(delay=seconds))

    def cut(self, up=True, down=True):
        """Lets nothing pass to the daemon (up) or to the client (down)."""
        self._run(self._set(up=not up, down=not down))

    def mend(self):
        """Ends delay and cut. Passes on what was held back."""
        self._run(self._set(delay=0.0, up=True, down=True))

    def reset(self):
        """Closes all connections with RST."""
        self._run(self._reset())

    def close(self):
        self.shut()
        self.reset()
        self._reserved.close()

    @staticmethod
    def _run(coroutine):
        return asyncio.run_coroutine_threadsafe(coroutine, _loop).result(10)

    async def _prepare(self):
        self._up, self._down = _Direction(), _Direction()

    async def _listen(self):
        if self._server is None:
            self._server = await asyncio.start_server(self._serve, sock=_bound(self.port))

    async def _unlisten(self):
        if self._server is not None:
            self._server.close()
            self._server = None

    async def _set(self, delay=None, up=None, down=None):
        for direction, passes in ((self._up, up), (self._down, down)):
            if delay is not None:
                direction.delay = delay
            if passes is not None:
                (direction.passing.set if passes else direction.passing.clear)()

    async def _reset(self):
        for task, writers in self._connections.items():
            for writer in writers:
                # close() then sends RST.
                writer.get_extra_info("socket").setsockopt(
                    socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            task.cancel()
        if self._connections:
            await asyncio.wait(list(self._connections))

    async def _serve(self, client_reader, client_writer):
        try:
            daemon_reader, daemon_writer = await asyncio.open_unix_connection(self._path)
        except OSError:
            return client_writer.transport.abort()
        task = asyncio.current_task()
        self._connections[task] = client_writer, daemon_writer
        pumps = [asyncio.ensure_future(self._up.pump(client_reader, daemon_writer)),
                 asyncio.ensure_future(self._down.pump(daemon_reader, client_writer))]
        try:
            await asyncio.gather(*pumps)
        except (OSError, RuntimeError, asyncio.CancelledError):
            pass  # one side has gone, or a reset
        finally:
            del self._connections[task]
            for pump in pumps:
                pump.cancel()
            await asyncio.gather(*pumps, return_exceptions=True)
            for writer in (client_writer, daemon_writer):
                writer.transport.abort()
