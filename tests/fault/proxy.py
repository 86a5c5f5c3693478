"""TCP proxies that misbehave on command.

    proxy.py [LISTEN_HOST] LISTEN_PORT:TARGET_PORT...    several in one process
    proxy.py LISTEN_PORT TARGET_PORT                     one

The host is 127.0.0.1 unless it is given, as are the targets'. Reads one command a line from standard input: the number
of the proxy (from 0; left out if there is one), then
`pass`, `delay SECONDS`, `requests` or `replies` (from now on that direction is lost, as if a packet filter
dropped it), `freeze` (nothing moves and nothing is closed: half-open), or `reset` (every connection is cut).
`pass` delivers what was frozen.
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
            if cut:  # the streams have lost bytes, so they cannot continue
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
        # A regular close is frozen or lost like data.
        await faults.moving.wait()
        while direction in faults.lost:
            await asyncio.sleep(0.05)
    except (OSError, asyncio.CancelledError):
        pass
    finally:
        writer.close()


async def listen(faults, host, port, target):
    async def accept(reader, writer):
        try:
            target_reader, target_writer = await asyncio.open_connection("127.0.0.1", target)
        except OSError:
            writer.transport.abort()
            return
        pair = {writer, target_writer}
        faults.connections |= pair
        await asyncio.gather(
            pump(faults, "requests", reader, target_writer),
            pump(faults, "replies", target_reader, writer),
        )
        faults.connections -= pair

    await asyncio.start_server(accept, host, port)


async def serve(host, pairs):
    proxies = [Faults() for _ in pairs]
    for faults, (port, target) in zip(proxies, pairs):
        await listen(faults, host, port, target)
    commands = asyncio.StreamReader()
    await asyncio.get_running_loop().connect_read_pipe(
        lambda: asyncio.StreamReaderProtocol(commands), sys.stdin
    )
    print("ready", flush=True)
    while line := await commands.readline():
        words = line.decode().split()
        index = int(words.pop(0)) if words[0].isdigit() else 0
        proxies[index].command(words)


if __name__ == "__main__":
    arguments = sys.argv[1:]
    host = arguments.pop(0) if "." in arguments[0] else "127.0.0.1"
    pairs = [pair.split(":") for pair in arguments] if ":" in arguments[0] else [arguments]
    asyncio.run(serve(host, [tuple(map(int, pair)) for pair in pairs]))
