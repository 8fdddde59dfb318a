#!/usr/bin/env python3
# network.py: what networks and clients do short of a clean cut: half-open and slow links, moved peers, floods, silence.
import contextlib
import os
import resource
import select
import socket
import subprocess
import sys
import time
import unittest

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "support"))
import histories  # noqa: E402
import netns  # noqa: E402
import wire  # noqa: E402
from cluster import ASAN, FULL, PATIENCE, SCRIPT, SLOW_ELECTIONS, ClusterTest, Hammer, parse_dump, wait_for  # noqa: E402
from relay import Relay, Rule  # noqa: E402
from wire import request  # noqa: E402

GREETING = bytes([0xff, 0, 0, 0, 0, 0, 0, 0, 1, 0x7f, 3, 1]) + b"NULL".ljust(20, b"\0") + b"\0" * 32
READY_BODY = b"\x05READY\x0bSocket-Type\0\0\0\x06DEALER"
READY = bytes([4, len(READY_BODY)]) + READY_BODY
HELLO_BYTES = len(GREETING) + 2 + len(b"\x05READY\x0bSocket-Type\0\0\0\x06ROUTER") + len(b"\x08Identity\0\0\0\0")


def rss(pid, what="VmRSS"):
    """Bytes of memory."""
    with open(f"/proc/{pid}/status", encoding="ascii") as f:
        return next(int(line.split()[1]) * 1024 for line in f if line.startswith(what))


def descriptors(pid):
    return len(os.listdir(f"/proc/{pid}/fd"))


def raw_peer(address):
    """A connected socket that has said its half of ZMTP's handshake."""
    s = socket.create_connection(address, timeout=20 * PATIENCE)
    s.sendall(GREETING + READY)
    return s


def hello(s):
    """Waits for the other side's half; before it nothing else may be sent."""
    left = HELLO_BYTES
    while left:
        got = len(s.recv(left))
        assert got, "the connection was closed"
        left -= got
    return s


def endpoint_of(c, name, key="client"):
    host, _, port = c.processes[name][key].rpartition("/")[2].rpartition(":")
    return host, int(port)


def metric(c, name, wanted):
    """The sum of a metric's rows, asked at the process's http door."""
    host, port = endpoint_of(c, name, "http")
    with socket.create_connection((host, port), timeout=10 * PATIENCE) as s:
        s.sendall(b"GET /metrics HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
        text = b"".join(iter(lambda: s.recv(65536), b"")).decode()
    rows = [line for line in text.splitlines() if line.startswith((wanted + " ", wanted + "{"))]
    assert rows, f"no metric {wanted}"
    return sum(float(line.rsplit(" ", 1)[1]) for line in rows)


@contextlib.contextmanager
def files_limit(soft):
    """Of this process and, to begin with, of those that it starts."""
    before = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (soft, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, before)


def caught_up(c, name, seconds):
    """Waits until `name` has applied what was committed when this began."""
    goal = c.answer_of(c.leader(1)).commit
    wait_for(f"{name} at {goal}", seconds, lambda: (s := c.status_of(name)) is not None and s.applied >= goal)


class Links(netns.NetTest):
    """Three replicas, each link between them through a relay."""

    def begin(self, clients=False, **options):
        c = self.net_cluster(replicas=3, clients=1, hosts=["relay"])
        self.addCleanup(lambda: self.relay.close())
        self.relay = Relay(lambda: c.net.inside("relay"))
        self.relay.names = {address: host for host, address in c.net.address.items()}
        for n in c.names():
            port = netns.RAFT + 100 * int(n.split("/")[1])
            self.relay.listen(c.net.address["relay"], port, c.net.address[n], netns.RAFT, n)
            self.relay.listen(c.net.address["relay"], port + 1, c.net.address[n], netns.CLIENT, "clients of " + n)
        c.raft_endpoint = lambda n: f"tcp://{c.net.address['relay']}:{netns.RAFT + 100 * int(n.split('/')[1])}"
        if clients:
            c.client_endpoint = lambda n: f"tcp://{c.net.address['relay']}:{netns.RAFT + 100 * int(n.split('/')[1]) + 1}"
        c.up()
        h = c.hammer("p", **{**dict(hot=3, unique=1, window=16, pause_us=2000, deadline_ms=4000), **options})
        h.await_acks(20)
        return c, h

    def judge(self, c, *made):
        counts = [h.stop() for h in made]
        c.digests_agree(1)
        dump = parse_dump(c.cli("dump", text=False, seconds=120).stdout)
        print(f"{self.id().rpartition('.')[2]}: {counts}, {self.relay.passed}", file=sys.stderr)
        self.assertEqual(histories.judge(c, made, dump), [])
        self.assertEqual(sorted(c.alive()), sorted(c.names()), "a replica ended by itself")

    def test_delayed_and_out_of_order(self):
        """Each link slow in its own way, never twice the same; old connections deliver after those that follow."""
        c, h = self.begin()
        for _ in range(10 if FULL else 1):
            for most in (0.05, 0.3):
                self.relay.set((None, None, Rule(delay=(0, most))))
                h.await_acks(30)
            self.relay.set()
            for n in c.names():
                self.relay.set((None, n, Rule(hold=("up",))))
                time.sleep(0.3)  # so much stays behind in the connections to n
                self.relay.cut("detach", target=n)
                self.relay.set()
                h.await_acks(20)
                caught_up(c, n, 30)
                self.relay.release()
                h.await_acks(20)
        self.judge(c, h)

    def test_half_open(self):
        """Connections that are up at both ends and carry nothing: they are given up, the group goes on meanwhile."""
        c, h = self.begin()
        leader = c.leader(1)
        follower = c.followers(1, leader)[0]
        self.assertGreater(self.relay.cut("swallow", target=follower), 0)
        h.await_acks(50)  # two of three
        caught_up(c, follower, 30)
        if FULL:
            self.relay.cut("swallow", source=leader)  # the leader is heard by nobody until it connects anew
            h.await_acks(50)
            for n in c.names():
                caught_up(c, n, 30)
        self.relay.release()
        self.judge(c, h)

    def test_half_open_to_clients(self):
        """The same between a leader and its clients, a coordinator among them: they come again on new connections."""
        c, h = self.begin(clients=True)
        routed = c.hammer("q", hot=2, unique=1, pause_us=2000, deadline_ms=8000, routed=True)
        routed.await_acks(20)
        for source in ("client/1", "coordinator/1") if FULL else (None,):
            self.assertGreater(self.relay.cut("swallow", source=source), 0)
            for one in (h, routed):
                one.await_acks(50)
        self.relay.release()
        self.judge(c, h, routed)

    def test_broken_half_way(self):
        """Connections end in the middle of messages, by reset and by a plain end, on slow links with large entries."""
        c, h = self.begin(value_bytes=20000, window=8)
        self.relay.set((None, None, Rule(rate=2_000_000)))
        for i in range(60 if FULL else 6):
            h.await_acks(3)
            self.relay.cut("reset" if i % 2 else "fin")
        self.relay.set()
        h.await_acks(20)
        for n in c.names():
            self.assertEqual(c.metric(n, 'holdfast_raft_messages_dropped_total{reason="malformed"}'), 0, n)
        self.judge(c, h)

    def test_relay_is_needed(self):
        """The canary of this file's relay: held in every direction, nothing goes on."""
        c, h = self.begin()
        self.relay.set((None, None, Rule(hold=("up", "down"))))
        wait_for("no leader", 60, lambda: all(s is not None and s.role != "leader" for s in map(c.status_of, c.names())))
        self.relay.set()
        h.await_acks(20)
        self.judge(c, h)


class Hosts(netns.NetTest):
    def test_readiness_follows_the_leader(self):
        """/readyz and status say "not ready" where no leader is heard, and "ready" again after healing."""
        c = self.net_cluster(replicas=3).up()
        leader = c.leader(1)
        others = [n for n in c.names() if n != leader]
        c.net.sides([leader], others)
        wait_for("the lost leader not ready", 60, lambda: c.http(leader, "/readyz")[0] == 503)
        wait_for("its status to say so", 30, lambda: c.answer_of(leader).state == "starting")
        wait_for("it to be alive", 30, lambda: c.http(leader, "/healthz")[0] == 200)
        wait_for("the others ready", 60, lambda: all(c.http(n, "/readyz")[0] == 200 for n in others))
        c.net.sides(*([n] for n in c.names()))
        wait_for("nobody ready", 60, lambda: all(c.http(n, "/readyz")[0] == 503 for n in c.names()))
        wait_for("the metric to say so", 30, lambda: c.metric(leader, "holdfast_ready") == 0)  # as old as the last look
        c.net.heal()
        wait_for("all ready again", 60, lambda: all(c.http(n, "/readyz")[0] == 200 for n in c.names()))

    def test_a_peer_moves(self):
        """A replica's name leads to another address: the others follow it there without being told."""
        c = self.net_cluster(replicas=3)
        names = {n: "r" + n.split("/")[1] for n in c.names()}
        self.hosts(c, names)
        c.raft_endpoint = lambda n: f"tcp://{names[n]}:{netns.RAFT}"
        c.client_endpoint = lambda n: f"tcp://{names[n]}:{netns.CLIENT}"
        c.up()
        h = c.hammer("p", hot=3, unique=1, pause_us=2000)
        for moved in (c.followers(1)[0], c.leader(1)):
            h.await_acks(20)
            c.kill(moved)
            old = c.net.address[moved]
            c.net.address[moved] = old + "0"
            c.processes[moved] = c._row(moved)
            subprocess.run(["ip", "-n", c.net.name(moved), "-batch", "-"], check=True, text=True,
                           input=f"addr del {old}/24 dev eth0\naddr add {old}0/24 dev eth0\n")
            self.hosts(c, names)
            c.start(moved)
            h.await_acks(20)
            caught_up(c, moved, 30)
        c.transfer(1, moved)
        h.await_acks(20)
        h.stop()
        c.digests_agree(1)
        self.assertEqual(histories.judge(c, [h], parse_dump(c.cli("dump", text=False).stdout)), [])

    @staticmethod
    def hosts(c, names):
        text = "127.0.0.1 localhost\n" + "".join(f"{c.net.address[n]} {name}\n" for n, name in names.items())
        for host in c.net.address:
            folder = f"/etc/netns/{c.net.name(host)}"
            os.makedirs(folder, exist_ok=True)
            with open(os.path.join(folder, "hosts"), "w", encoding="ascii") as f:  # in place: it is mounted by file
                f.write(text)


class Clients(ClusterTest):
    def test_more_connections_than_descriptors(self):
        """A replica with few descriptors keeps some for its files: it ends what is too many, and serves the others."""
        c = self.cluster(shards=1, env=SLOW_ELECTIONS).up()
        leader = c.leader(1)
        h = Hammer(c, "p", hot=2, unique=1, pause_us=1000)
        h.await_acks(50)
        c.kill(leader)
        subprocess.run(["prlimit", "--nofile=400:400", SCRIPT, "start", leader, "--dir", c.dir], env=c.env, check=True,
                       stdin=subprocess.DEVNULL, timeout=300)
        c.transfer(1, leader)
        h.await_acks(50)
        with contextlib.ExitStack() as stack:
            crowd = [stack.enter_context(socket.create_connection(endpoint_of(c, leader), 20 * PATIENCE)) for _ in range(600)]
            for s in crowd:
                with contextlib.suppress(ConnectionError):  # it may be ended already
                    s.sendall(GREETING + READY)
            wait_for("refusals", 60, lambda: metric(c, leader, "holdfast_connections_refused_total") >= 300)
            h.await_acks(200)
            self.assertLess(descriptors(c.pid(leader)), 380)
            del crowd
        wait_for("room again", 30, lambda: metric(c, leader, "holdfast_connections") < 50)
        with c.wire(leader) as w:
            self.assertEqual(w.ask(request(status=True), 20 * PATIENCE).status.role, "leader")
        h.stop()

    def test_5000_idle_connections(self):
        """To a shard's leader, then to a coordinator; others work meanwhile, and nothing is left of them afterwards."""
        count = 1000 if ASAN else 5000
        with files_limit(1024):  # what a login shell gives: the processes raise it
            c = self.cluster(shards=1).up()
        self.enterContext(files_limit(resource.getrlimit(resource.RLIMIT_NOFILE)[1]))
        h = Hammer(c, "p", hot=2, unique=1, pause_us=1000)
        h.await_acks(50)
        for name in (c.leader(1), "coordinator/1"):
            pid = c.pid(name)
            memory, files, begin = rss(pid), descriptors(pid), time.monotonic()
            with contextlib.ExitStack() as stack:
                idle = [stack.enter_context(raw_peer(endpoint_of(c, name))) for _ in range(count)]
                for s in idle:
                    hello(s)
                took = time.monotonic() - begin
                h.await_acks(200)
                with c.wire(name) as w:
                    self.assertEqual(w.ask(request(status=True), 20 * PATIENCE).code, wire.OK, "a new client is served, too")
                grown = rss(pid) - memory
                print(f"{name}: {count} idle connections in {took:.1f} s, memory {memory >> 20} + {grown >> 20} MiB, "
                      f"{grown // count} bytes each", file=sys.stderr)
                self.assertLess(grown, (1 << 30) if ASAN else 400 << 20)
            wait_for("their end", 60, lambda: descriptors(pid) < files + 50)
            h.await_acks(50)
        h.stop()

    def test_a_client_that_never_reads(self):
        """It asks for gigabytes and takes nothing: memory stays bounded, others are served."""
        c = self.cluster(shards=1, env=SLOW_ELECTIONS).up()
        value = os.urandom(1 << 20)
        c.cli("put", "big", "x")
        with c.at_leader(1) as w:
            self.assertEqual(w.ask(request(1, put=(b"big", value))).code, wire.OK)
            self.assertEqual(w.ask(request(1, put=(b"small", b"1"))).code, wire.OK)
        h = Hammer(c, "p", hot=2, unique=1, pause_us=1000)
        h.await_acks(50)
        for name, asked in ((c.leader(1), 4000), ("coordinator/1", 2000)):
            pid = c.pid(name)
            memory = rss(pid)
            deaf = hello(raw_peer(endpoint_of(c, name)))
            frame = request(1, get=b"big", id=1, version=1, deadline_ms=60000).SerializeToString()
            frame = bytes([0, len(frame)]) + frame
            cut = select.poll()  # after ten seconds without reading it is cut off, which is as good
            cut.register(deaf, select.POLLHUP | select.POLLERR)
            with contextlib.suppress(ConnectionError, TimeoutError):
                deaf.sendall(frame * 80)
                wait_for("its share used up", 60, lambda: cut.poll(0) or
                         metric(c, name, "holdfast_replies_unread_bytes") >= 64 << 20)
                deaf.sendall(frame * asked)
            h.await_acks(200)
            with c.wire(name) as w:
                begin = time.monotonic()
                self.assertEqual(w.ask(request(1, get=b"small"), 20 * PATIENCE).value, b"1")
                self.assertEqual(w.ask(request(1, get=b"big"), 20 * PATIENCE).value, value, "large answers to others are not refused")
                self.assertLess(time.monotonic() - begin, 20 * PATIENCE)
            grown = rss(pid, "VmHWM") - memory
            unread = metric(c, name, "holdfast_replies_unread_bytes")
            print(f"{name}: {asked} MiB asked, {int(unread) >> 20} MiB unread, memory +{grown >> 20} MiB",
                  file=sys.stderr)
            self.assertLess(unread, 70 << 20)
            self.assertLess(grown, (600 if ASAN else 300) << 20)
            deaf.close()
            wait_for("its memory freed", 60, lambda: metric(c, name, "holdfast_replies_unread_bytes") == 0)
        h.stop()

    def test_garbage_on_raft_sockets(self):
        """Messages that are none cost a counter each; the group goes on under a flood of them."""
        c = self.cluster(shards=1, env=SLOW_ELECTIONS).up()
        h = Hammer(c, "p", hot=2, unique=1, pause_us=1000)
        h.await_acks(50)
        leader = c.leader(1)
        term = c.answer_of(leader).term
        host, port = endpoint_of(c, leader)
        flood = [hello(raw_peer((host, port - 1))) for _ in range(4)]  # the raft port is the one before (local-cluster.sh)
        frames = (b"\0\x40" + b"g" * 64) * 1000
        dropped = metric(c, leader, "holdfast_raft_messages_dropped_total")
        goal = h.progress()["acked"] + 300
        until, turns = time.monotonic() + 120 * PATIENCE, 0
        while h.progress()["acked"] < goal or turns < 5:
            self.assertLess(time.monotonic(), until, h.counts)
            for s in flood:
                s.sendall(frames)
            turns += 1
        wait_for("what was dropped to be counted", 60,
                 lambda: metric(c, leader, "holdfast_raft_messages_dropped_total") > dropped + 10000)
        for s in flood:
            s.close()
        self.assertEqual(c.answer_of(leader).term, term, "the leader kept its term")
        h.stop()

    def test_the_largest_request_through_the_coordinator(self):
        """A compare-and-set whose two values fill a message of 16 MiB, to the byte, and one byte more."""
        c = self.cluster(shards=1, env=SLOW_ELECTIONS).up()  # a loop may take a second for 16 MiB
        with c.wire("coordinator/1") as w:
            old, patience_ms = os.urandom(8 << 20), int(15000 * PATIENCE)
            self.assertEqual(w.ask(request(put=(b"k", old), deadline_ms=patience_ms), 20 * PATIENCE).code, wire.OK)
            for extra, code in ((0, wire.OK), (1, None)):
                r = request(cas=(b"k", old, b"n" * (8 << 20)), version=1, id=7 + extra, deadline_ms=patience_ms)
                over = len(r.SerializeToString()) - (16 << 20) - extra
                new = b"n" * ((8 << 20) - over)
                r = request(cas=(b"k", old, new), version=1, id=7 + extra, deadline_ms=patience_ms)
                self.assertEqual(len(r.SerializeToString()), (16 << 20) + extra)
                reply = w.try_ask(r, (20 if code == wire.OK else 2) * PATIENCE)
                if code is None:  # ZeroMQ takes no larger message: the connection ends
                    self.assertIsNone(reply)
                else:
                    self.assertEqual(reply.code, code, reply)
                    self.assertEqual(w.ask(request(get=b"k"), 20 * PATIENCE).value, new)


if __name__ == "__main__":
    unittest.main(verbosity=2)
