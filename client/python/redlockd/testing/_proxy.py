"""A TCP proxy in front of a Unix socket that can delay, hold back and reset connections."""

import asyncio
import socket
import struct
import threading
from typing import Any, Callable, Coroutine, Optional, Set, Tuple

_CHUNK = 65536  # bytes
_CHUNKS = 64  # held back in one direction of a connection; then the proxy stops reading
_RETRY = 0.02  # seconds
_Chunk = Optional[Tuple[float, bytes]]


class Proxy:
    """Listens on 127.0.0.1, on a port chosen by the kernel. Its methods may be called from any thread."""

    def __init__(self, target: str) -> None:
        self._target = target  # the path of a Unix socket
        self._delay = 0.0
        self._transports: Set[asyncio.WriteTransport] = set()
        self._tasks: Set["asyncio.Task[Any]"] = set()
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="redlockd.testing", daemon=True)
        self._thread.start()
        self.port: int = self._run(self._start())

    def delay(self, seconds: float) -> None:
        self._delay = seconds

    def cut(self) -> None:
        self._call(self._open.clear)

    def mend(self) -> None:
        self._delay = 0.0
        self._call(self._open.set)

    def reset(self) -> None:
        self._call(self._reset)

    def close(self) -> None:
        self._run(self._stop())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()

    def _run(self, coroutine: Coroutine[Any, Any, Any]) -> Any:
        return asyncio.run_coroutine_threadsafe(coroutine, self._loop).result()

    def _call(self, function: Callable[[], Any]) -> None:
        async def call() -> None:
            function()

        self._run(call())

    async def _start(self) -> int:
        self._open = asyncio.Event()
        self._open.set()
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        port: int = self._server.sockets[0].getsockname()[1]
        return port

    async def _stop(self) -> None:
        self._server.close()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        self._reset()

    def _reset(self) -> None:
        for transport in list(self._transports):
            raw = transport.get_extra_info("socket")
            if raw is not None and raw.family == socket.AF_INET:
                raw.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            transport.abort()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        self._transports.add(writer.transport)
        writers = [writer]
        try:
            upstream, downstream = await self._connect(writer)
            writers.append(downstream)
            self._transports.add(downstream.transport)
            await asyncio.gather(self._pump(reader, downstream), self._pump(upstream, writer))
        except (OSError, asyncio.CancelledError):
            pass
        finally:
            for each in writers:
                self._transports.discard(each.transport)
                each.transport.abort()
            self._tasks.discard(task)

    async def _connect(self, writer: asyncio.StreamWriter) -> Tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        """Connects to the daemon, once the connection is mended. Refuses the client if no daemon is there."""
        while not self._open.is_set():
            await asyncio.sleep(_RETRY)
            if writer.transport.is_closing():
                raise ConnectionAbortedError()
        return await asyncio.open_unix_connection(self._target)

    async def _pump(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        chunks: "asyncio.Queue[_Chunk]" = asyncio.Queue(_CHUNKS)
        writing = asyncio.ensure_future(self._write(chunks, writer))
        try:
            while True:
                data = await reader.read(_CHUNK)
                due = asyncio.get_running_loop().time() + self._delay
                await chunks.put((due, data) if data else None)
                if not data:
                    break
            await writing
        finally:
            writing.cancel()
            writer.transport.abort()

    async def _write(self, chunks: "asyncio.Queue[_Chunk]", writer: asyncio.StreamWriter) -> None:
        while True:
            chunk = await chunks.get()
            if chunk is not None:
                await asyncio.sleep(max(0.0, chunk[0] - asyncio.get_running_loop().time()))
            await self._open.wait()
            if chunk is None:
                return
            writer.write(chunk[1])
            await writer.drain()
