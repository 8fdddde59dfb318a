# relay.py: stands between TCP clients and servers and does to their bytes what a bad network does.
#
# One thread, on a host of its own (netns.py) or on this one. For each connection and direction it can delay, slow down,
# hold, or swallow bytes without telling anybody, and break connections in several ways. Bytes of one connection keep
# their order, as TCP's do; what changes order is one connection against another, and an old one against its successor.
import asyncio
import contextlib
import random
import socket
import struct
import threading

CHUNK = 16384
UP, DOWN = "up", "down"  # from the one who connected to the server, and back


class Rule:
    """What happens to the bytes of a link: seconds of delay (least, most), bytes a second, directions held back."""

    def __init__(self, delay=(0, 0), rate=None, hold=(), refuse=False):
        self.delay, self.rate, self.hold, self.refuse = delay, rate, hold, refuse


class _Link:
    """One connection through the relay."""

    def __init__(self, relay, source, target, client, server):
        self.relay, self.source, self.target = relay, source, target
        self.ends = {"client": client, "server": server}  # (reader, writer) each
        self.swallowing, self.held_alone = False, False
        self.tasks = [asyncio.ensure_future(self.pump(UP, client[0], server[1])),
                      asyncio.ensure_future(self.pump(DOWN, server[0], client[1]))]
        self.gone = asyncio.ensure_future(self.finish())

    async def finish(self):
        await asyncio.gather(*self.tasks, return_exceptions=True)
        for _, writer in self.ends.values():
            writer.close()
        self.relay.links.discard(self)

    async def pump(self, direction, reader, writer):
        queue = asyncio.Queue(maxsize=256)
        sender = asyncio.ensure_future(self.deliver(direction, queue, writer))
        loop, due = asyncio.get_event_loop(), 0.0
        with contextlib.suppress(OSError):
            while data := await reader.read(CHUNK):
                if self.swallowing:
                    continue
                rule = self.relay.rule(self.source, self.target)
                due = max(due, loop.time() + self.relay.random.uniform(*rule.delay))
                await queue.put((due, data))
        if self.held_alone or self.swallowing:  # the other end learns nothing of this end's death
            await self.relay.released.wait()
        await queue.put((due, b""))
        await sender

    async def deliver(self, direction, queue, writer):
        loop = asyncio.get_event_loop()
        while True:
            due, data = await queue.get()
            await asyncio.sleep(max(0.0, due - loop.time()))
            while self.held(direction):
                await asyncio.sleep(0.01)
            with contextlib.suppress(OSError, RuntimeError):
                if not data:
                    if writer.can_write_eof():
                        writer.write_eof()
                    return
                if not self.swallowing and not writer.is_closing():
                    writer.write(data)
                    self.relay.passed[direction] += len(data)
                    await writer.drain()
            rate = self.relay.rule(self.source, self.target).rate
            if rate:
                await asyncio.sleep(len(data) / rate)

    def held(self, direction):
        if self.held_alone:
            return not self.relay.released.is_set()
        return direction in self.relay.rule(self.source, self.target).hold

    def reset(self, end):
        writer = self.ends[end][1]
        raw = writer.get_extra_info("socket")
        if raw is not None:
            with contextlib.suppress(OSError):
                raw.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        writer.transport.abort()


class Relay:
    """relay.listen(host, port, to_host, to_port, target) then relay.set(…), relay.cut(…), relay.close()."""

    def __init__(self, inside=None, seed=1):
        self.rules, self.links, self.names, self.servers = [], set(), {}, []
        self.passed = {UP: 0, DOWN: 0}
        self.random = random.Random(seed)
        ready = threading.Event()
        self.thread = threading.Thread(target=self._run, args=(inside, ready), daemon=True)
        self.thread.start()
        ready.wait()

    def _run(self, inside, ready):
        with inside() if inside else contextlib.nullcontext():
            self.loop = asyncio.new_event_loop()
            asyncio.set_event_loop(self.loop)
            self.released = asyncio.Event()
            self.loop.call_soon(ready.set)
            self.loop.run_forever()

    def _do(self, coroutine):
        return asyncio.run_coroutine_threadsafe(coroutine, self.loop).result(30)

    def listen(self, host, port, to_host, to_port, target):
        async def begin():
            def accept(reader, writer):
                return self._accept((reader, writer), to_host, to_port, target)
            self.servers.append(await asyncio.start_server(accept, host, port))
        self._do(begin())

    async def _accept(self, client, to_host, to_port, target):
        address = client[1].get_extra_info("peername")[0]
        source = self.names.get(address, address)
        try:
            if self.rule(source, target).refuse:
                raise ConnectionRefusedError
            server = await asyncio.open_connection(to_host, to_port)
        except OSError:
            client[1].transport.abort()
            return
        self.links.add(_Link(self, source, target, client, server))

    # ---- what happens

    def rule(self, source, target):
        for from_, to, rule in self.rules:
            if from_ in (None, source) and to in (None, target):
                return rule
        return NOTHING

    def set(self, *rules):
        """Rules as (source or None, target or None, Rule), the first that fits; none: everything passes."""
        self.rules = list(rules)

    def matching(self, source, target):
        return [k for k in self.links if source in (None, k.source) and target in (None, k.target)]

    def cut(self, how, source=None, target=None):
        """Breaks the links there are: "reset" both ends; "fin" (both see the end); "swallow": both stay up and hear
        nothing more; "detach": the client is reset, the server keeps a connection whose bytes come after release()."""
        async def now():
            chosen = self.matching(source, target)
            for link in chosen:
                if how == "swallow":
                    link.swallowing = True
                elif how == "detach":
                    self.released.clear()
                    link.held_alone = True
                    link.reset("client")
                elif how == "fin":
                    for _, writer in link.ends.values():
                        writer.close()
                else:
                    link.reset("client")
                    link.reset("server")
            return len(chosen)
        return self._do(now())

    def release(self):
        """What detached connections held back reaches their servers now."""
        self.loop.call_soon_threadsafe(self.released.set)

    def close(self):
        async def end():
            for server in self.servers:
                server.close()
            for link in list(self.links):
                link.reset("client")
                link.reset("server")
            while rest := [t for t in asyncio.all_tasks() if t is not asyncio.current_task()]:
                for t in rest:
                    t.cancel()
                await asyncio.gather(*rest, return_exceptions=True)
        self._do(end())
        self.loop.call_soon_threadsafe(self.loop.stop)
        self.thread.join(10)


NOTHING = Rule()
