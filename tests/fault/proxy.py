"""A TCP proxy between one daemon and one node that can be told to misbehave.

    proxy.py LISTEN_PORT NODE_PORT

Reads one command a line from standard input: `pass`, `delay SECONDS`, `requests` or `replies`
(that direction is lost from now on, as when a packet filter drops it), `freeze` (nothing moves, nothing is
closed: half-open), `reset` (every connection is cut). `pass` delivers what was frozen.
"""

import asyncio
import sys


class Faults:
    def __init__(self):
        self.delay = 0.0
        self.lost = set()
        self.moving = asyncio.Event()
        self.moving.set()
        self.connections = set()

    def command(self, words):
        if words[0] == "pass":
            cut = bool(self.lost)
            self.delay, self.lost = 0.0, set()
            self.moving.set()
            if cut:  # bytes are missing in the streams: they cannot go on
                self.reset()
        elif words[0] == "delay":
            self.delay = float(words[1])
        elif words[0] in ("requests", "replies"):
            self.lost.add(words[0])
        elif words[0] == "freeze":
            self.moving.clear()
        elif words[0] == "reset":
            self.reset()

    def reset(self):
        for writer in list(self.connections):
            writer.transport.abort()


async def pump(faults, direction, reader, writer):
    try:
        while data := await reader.read(1 << 16):
            if faults.delay:
                await asyncio.sleep(faults.delay)
            await faults.moving.wait()
            if direction in faults.lost:
                continue
            writer.write(data)
            await writer.drain()
    except (OSError, asyncio.CancelledError):
        pass
    finally:
        writer.close()


async def serve(listen, node):
    faults = Faults()

    async def accept(reader, writer):
        try:
            node_reader, node_writer = await asyncio.open_connection("127.0.0.1", node)
        except OSError:
            writer.transport.abort()
            return
        pair = {writer, node_writer}
        faults.connections |= pair
        await asyncio.gather(
            pump(faults, "requests", reader, node_writer),
            pump(faults, "replies", node_reader, writer),
        )
        faults.connections -= pair

    await asyncio.start_server(accept, "127.0.0.1", listen)
    commands = asyncio.StreamReader()
    await asyncio.get_running_loop().connect_read_pipe(
        lambda: asyncio.StreamReaderProtocol(commands), sys.stdin
    )
    print("ready", flush=True)
    while line := await commands.readline():
        faults.command(line.decode().split())


if __name__ == "__main__":
    asyncio.run(serve(int(sys.argv[1]), int(sys.argv[2])))
