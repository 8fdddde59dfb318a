#!/usr/bin/env python3
# hostile.py: any bytes on every live socket: an error reply or a counted drop; no crash, no growth, no change of state.
# One cluster serves a legitimate client all the time. After each attack: the same processes, term and leader, the data
# as the client wrote it, the client goes on, and what was refused was counted.
import os
import random
import struct
import subprocess
import sys
import time
import unittest
import urllib.error
import urllib.request

import zmq

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "support"))
import histories  # noqa: E402
import hostile_states  # noqa: E402
import wire  # noqa: E402
import zmtp  # noqa: E402
from cluster import ASAN, ENGINE, FULL, PATIENCE, ClusterTest, Hammer, parse_dump, tool, wait_for  # noqa: E402
from garbage import Sender, drops, metric, mutated, port_of, rss_kib  # noqa: E402
from wire import catalog, pb, request  # noqa: E402

raft, entry = wire.module("raft"), wire.module("entry")
SEED = int(os.environ.get("HOLDFAST_TEST_SEED", "0")) or int(time.time())
ROUNDS = 100000 if FULL else 4000  # mutated frames a socket
LIMIT_REQUEST, LIMIT_TEXT, LIMIT_RAFT, MESSAGE_ENTRIES = 16 << 20, 4 << 10, 24 << 20, 1024
GROWTH_MAX_KIB = (1024 if ASAN else 160) * 1024  # over all attacks: freed memory that the allocator keeps
FLOOD, FLOOD_BYTES = (100000 if FULL else 12000), 4096
FLOOD_GROWTH_MAX_KIB = FLOOD * FLOOD_BYTES // 1024 // 3 + (400 if ASAN else 0) * 1024  # and over a flood: far less than it
READS = ("get", "scan", "status", "routes", "cluster_status", "timestamp")


class Hostile(hostile_states.States, ClusterTest):
    def setUp(self):
        self.rng = random.Random(SEED)
        print(f"HOLDFAST_TEST_SEED={SEED} replays the mutations", file=sys.stderr)

    # ---- what must stay

    def start(self):
        # elections of ten seconds: on a loaded machine, too, a new term then has a cause
        c = self.c = self.cluster(shards=1, env={"HOLDFAST_HEARTBEAT_MS": "300", "HOLDFAST_ELECTION_MS": "10000"}).up()
        self.leader = c.leader(1)
        self.follower = next(n for n in c.names(1) if n != self.leader)
        self.cluster_id = c.answer_of(self.leader).cluster
        self.members = {m.replica: m for m in c.answer_of(self.leader).members.members}
        c.cli("put", "kept", "as it was")
        self.hammer = Hammer(c, "h", hot=3, unique=1, pause_us=2000, deadline_ms=20000)
        self.hammer.await_acks(20)
        self.pids = {n: c.pid(n) for n in c.processes}
        self.term = c.answer_of(self.leader).term
        self.rss = {n: rss_kib(p) for n, p in self.pids.items()}

    def address(self, name):
        return self.c.processes[name]["http"]

    def door(self, name):
        return self.c.processes[name]["client"]

    def raft_door(self, name):
        return self.members[int(name.split("/")[1])].raft_endpoint

    def unharmed(self, what):
        """The same processes, leader and term; the client goes on; nobody wrote but the client."""
        c = self.c
        self.assertEqual({n: c.pid(n) for n in c.processes}, self.pids, f"{what}: a process is gone")
        self.hammer.await_acks(10)
        for n in c.names(1):
            s = wait_for(f"{n} answers after {what}", 20,
                         lambda n=n: (s := c.status_of(n)) is not None and s.leader and s)
            self.assertEqual((s.term, s.leader), (self.term, int(self.leader.split("/")[1])), f"{what}: {n}")
            self.assertLess(s.ceiling >> 16, (time.time() + 3600) * 1000, f"{what}: {n}: the clock's ceiling")
            wait_for(f"{n} is ready after {what}", 20, lambda n=n: self.ready(n))
        self.assertEqual(c.cli("get", "kept").stdout, "as it was\n", what)
        for n, pid in self.pids.items():
            self.assertLess(rss_kib(pid) - self.rss[n], GROWTH_MAX_KIB, f"{what}: {n} grew")
        self.assertEqual(c.bad_lines(), [], what)

    def ready(self, name):
        try:
            return self.get(f"http://{self.address(name)}/readyz") == "ready\n"
        except urllib.error.HTTPError as e:
            if e.code != 503:  # it heard of its leader too long ago
                raise
            return False

    @staticmethod
    def get(url):
        with urllib.request.urlopen(url, timeout=10 * PATIENCE) as f:
            return f.read().decode()

    def counted(self, name, before, at_least, what):
        """Every message came to an end: an error reply, or a malformed one that is counted."""
        def probe():
            return self.refusals(name) - before >= at_least
        wait_for(lambda: f"{what} at {name}: {at_least} refusals counted, {self.refusals(name) - before} are", 30, probe)

    def refusals(self, name):
        if name.startswith("coordinator"):
            return metric(self.address(name), "holdfast_coordinator_rejected_total")
        return metric(self.address(name), "holdfast_requests_refused_total") + \
            metric(self.address(name), "holdfast_requests_malformed_total")

    def test_every_socket(self):
        self.start()
        attacks = (self.no_zmtp, self.odd_zmtp, self.odd_sizes, self.truncated_requests, self.refused_requests,
                   self.mutated_requests, self.same_ids, self.wrong_envelopes, self.absurd_envelopes,
                   self.mutated_envelopes, self.replayed_envelopes, self.claimed_identity, self.wrong_fetches,
                   self.mutated_fetches, self.odd_http, self.floods)
        for attack in attacks:
            begin = time.monotonic()
            attack()
            self.unharmed(attack.__name__)
            print(f"{attack.__name__}: {time.monotonic() - begin:.1f} s", file=sys.stderr)
        counts = self.hammer.stop()
        self.assertEqual(counts["failed"], 0, "the legitimate client saw no error")
        self.assertEqual(counts["unknown"], 0)
        dump = parse_dump(self.c.cli("dump", text=False).stdout)
        self.assertEqual(histories.judge(self.c, [self.hammer], {k: v for k, v in dump.items() if k != b"kept"}), [])
        self.c.digests_agree(1)
        self.c.down()  # with sanitizers: what leaked is said at the end
        self.assertEqual(self.c.bad_lines(), [])

    # ---- below ZeroMQ's messages

    def doors(self):
        return [self.door(self.leader), self.door(self.follower), self.door("coordinator/1"), self.raft_door(self.leader),
                self.raft_door(self.follower), self.states_door(self.leader), self.states_door(self.follower)]

    def no_zmtp(self):
        for door in self.doors():
            port = port_of(door)
            for size in (0, 1, 7, 63, 64, 65, 4096):
                zmtp.say(port, self.rng.randbytes(size))
            for size in range(0, 64, 3):  # greetings cut short
                zmtp.say(port, zmtp.GREETING[:size])
            for at in range(0, 64, 2):
                broken = bytearray(zmtp.GREETING)
                broken[at] ^= 0xff
                zmtp.say(port, bytes(broken), zmtp.ready(), zmtp.frame(b"x"))
            zmtp.say(port, b"GET / HTTP/1.1\r\nHost: x\r\n\r\n", wait=True)

    def odd_zmtp(self):
        for door in self.doors():
            port = port_of(door)
            for kind in (b"PUB", b"SUB", b"PULL", b"PUSH", b"PAIR", b"ROUTER", b"REP", b"STREAM", b"", b"\xff" * 200):
                zmtp.talk(port, zmtp.frame(b"x"), socket_type=kind)
            zmtp.talk(port, zmtp.frame(b"", size=1 << 63))
            zmtp.talk(port, zmtp.frame(b"abc", size=(1 << 64) - 1))
            zmtp.talk(port, zmtp.frame(b"abc", size=200))
            zmtp.talk(port, bytes([0xff, 3]) + b"abc")
            zmtp.talk(port, zmtp.frame(b"\x04PING" + b"\xff" * 40, command=True), zmtp.frame(b"\x05READY" + b"\xff", command=True))
            zmtp.talk(port, zmtp.frame(b"", more=True))
            zmtp.say(port, zmtp.GREETING, zmtp.frame(b"\x05READY" + b"\x0bSocket-Type\xff\xff\xff\xff", command=True))
            zmtp.say(port, zmtp.GREETING, zmtp.ready(Identity=b"\0" * 255), zmtp.frame(b"x"))
            for _ in range(20):
                zmtp.say(port, zmtp.GREETING, zmtp.ready(), mutated(self.rng, zmtp.frame(b"x" * 300)))

    def odd_sizes(self):
        malformed = "holdfast_requests_malformed_total"
        for name, most in ((self.leader, LIMIT_REQUEST + LIMIT_TEXT), ("coordinator/1", LIMIT_REQUEST)):
            before = self.refusals(name)
            with Sender(self.door(name)) as s:
                s.send(b"a", b"b")
                s.send(b"", b"b", b"")
                s.send(*[b""] * 1000)
                s.send(b"\xff")
                s.send(b"\xff" * most)
                self.counted(name, before, 5, "odd frames")
                before = self.refusals(name)
                s.send(b"")  # a message of no fields: version 0
                self.assertEqual(s.reply().code, wire.PROTOCOL)
            with Sender(self.door(name)) as s:
                s.send(b"\xff" * (most + 1))  # hung up on
                self.assertEqual(s.replies(100), [])
            with Sender(self.door(name), kind=zmq.REQ) as s:
                s.send(b"x")  # two frames: REQ puts an empty one in front
                self.counted(name, before, 2, "what REQ sends")
        before = drops(self.address(self.leader), "malformed")
        with Sender(self.raft_door(self.leader)) as s:
            for body in ((b"",), (b"a", b"b"), (b"\xff",), (b"\xff" * LIMIT_RAFT,)):
                s.send(*body)
            wait_for("malformed raft messages counted", 20, lambda: drops(self.address(self.leader), "malformed") >= before + 4)
        with Sender(self.raft_door(self.leader)) as s:
            s.send(b"\xff" * (LIMIT_RAFT + 1))
        self.assertGreater(metric(self.address(self.leader), malformed), 0)

    # ---- clients' messages

    def samples(self, shard=1):
        """One good request of each kind; executed, they would write below "hostile/"."""
        key = b"hostile/k"
        made = [request(shard, put=(key, b"v" * 40), session=7, seq=2, done_below=1), request(shard, delete=key),
                request(shard, cas=(key, None, b"v")), request(shard, delete_prefix=b"hostile/"), request(shard, get=key),
                request(shard, scan=dict(start=b"a", end=b"z", limit=3, reverse=True)), request(shard, session_open=True),
                request(shard, session_fence=(7, 2)), request(shard, transfer=9)]
        made += [request(shard, **{name: True}) for name in ("status", "routes", "cluster_status", "timestamp")]
        lease, beat, boot = request(shard), request(shard), request(shard)
        lease.lease.ceiling, lease.lease.timestamp = 1 << 62, 1 << 40
        beat.beat.issued, beat.beat.route_version = 1 << 50, 9
        beat.beat.routes.CopyFrom(catalog.Routes(version=1 << 40, cluster=self.cluster_id))
        boot.bootstrap.CopyFrom(catalog.Bootstrap(cluster=1, shard=1, replica=1, heartbeat_ms=1, election_ms=2,
                                                  members=catalog.Members(), range=catalog.Range()))
        for r in made + [lease, beat, boot]:
            r.version, r.id, r.cluster = 1, 77, self.cluster_id
        return made + [lease, beat, boot]

    def truncated_requests(self):
        for name in (self.leader, self.follower, "coordinator/1"):
            before, count = self.refusals(name), 0
            with Sender(self.door(name)) as s:
                for q in self.samples():
                    body = q.SerializeToString()
                    for size in range(1, len(body)):
                        count += self.send_tame(s, body[:size], b"")
                self.counted(name, before, count * 9 // 10, "truncated requests")  # some are a whole, smaller question

    def send_tame(self, s, body, tail=None):
        """Sends it unless it would be executed, or would move leadership or the clock; true: it was sent."""
        if self.executed(body) is None:  # nor may another unpacker, which reads it, find it good
            body += b"\x19" + struct.pack("<Q", self.cluster_id ^ 1) if tail is None else tail
        tame = not self.executed(body)  # it is when a field that was cut off took the tail for its own end
        if tame:
            s.send(body)
        return tame

    def executed(self, body):
        """Would it be; None: it cannot be read."""
        try:
            q = pb.Request.FromString(body)
        except Exception:  # pylint: disable=broad-except
            return None
        return q.version == 1 and q.cluster in (0, self.cluster_id) and q.WhichOneof("op") not in (None, *READS)

    def refused_requests(self):
        """(request, codes of leader, of coordinator)."""
        def one(shard=1, version=1, cluster=self.cluster_id, **fields):
            q = request(shard, **fields)
            q.version, q.cluster = version, cluster
            return q
        big = (1 << 64) - 1
        put = (b"hostile/x", b"v")
        cases = [(one(version=2, put=put), wire.PROTOCOL), (one(version=0xffffffff, put=put), wire.PROTOCOL),
                 (one(cluster=self.cluster_id ^ 1, put=put), wire.WRONG_CLUSTER), (one(shard=9, put=put), wire.WRONG_SHARD),
                 (one(put=(b"", b"v")), wire.INVALID), (one(put=(b"k" * 16385, b"v")), wire.LIMIT),
                 (one(put=(b"hostile/big", b"v" * ((8 << 20) + 1))), wire.LIMIT), (one(space=2, put=put), wire.PROTOCOL),
                 (one(put=put, session=1), wire.INVALID), (one(put=put, session=1, seq=1, done_below=2), wire.INVALID),
                 (one(put=put, session=big, seq=big, done_below=big), wire.SESSION_UNKNOWN),
                 (one(session_fence=(0, 1)), wire.INVALID), (one(session_fence=(big, big)), wire.SESSION_UNKNOWN),
                 (one(get=b"k" * 16385), wire.LIMIT), (one(scan=dict(start=b"k" * 16386)), wire.LIMIT), (one(), wire.PROTOCOL)]
        unknown = one(put=put)
        unknown.ClearField("put")
        unknown = pb.Request.FromString(unknown.SerializeToString() + b"\xfa\x0f\x03abc")  # field 255, as an operation to come
        cases.append((unknown, wire.PROTOCOL))
        soon = int((time.time() + 90000) * 1000) << 16  # in a day and an hour
        for ceiling, stamp in ((big, big), (1 << 62, 1), (5, 5), (1, 2), (1 << 60, 1), (soon, 1)):
            q = one()
            q.lease.ceiling, q.lease.timestamp = ceiling, stamp
            cases.append((q, wire.INVALID))
        with self.c.wire(self.leader) as w, self.c.wire("coordinator/1") as routed:
            for q, code in cases:
                self.assertEqual(w.ask(q, 20 * PATIENCE).code, code, str(q)[:200])
                lease = q.WhichOneof("op") == "lease"  # no request for a coordinator
                q.id = 0
                self.assertEqual(routed.ask(q, 20 * PATIENCE).code, -17 if lease else code, str(q)[:200])
            odd = one(get=b"kept", deadline_ms=0xffffffff, route_version=big)
            odd.id = big
            self.assertEqual(w.ask(odd, 20 * PATIENCE).value, b"as it was")
            odd = one(scan=dict(start=b"kept", end=b"kept\0", limit=0xffffffff))
            self.assertEqual([i.key for i in w.ask(odd, 20 * PATIENCE).items], [b"kept"])
        self.beats_nobody_sent()

    def beats_nobody_sent(self):
        """No answer is owed; the clock stays, and routes that cannot be kept are not."""
        with Sender(self.door(self.leader)) as s:
            for issued in (1 << 63, (1 << 64) - 1):
                beat = request(1)
                beat.version, beat.cluster, beat.beat.issued = 1, self.cluster_id, issued
                s.send(beat.SerializeToString())
            beat = request(1)
            beat.version, beat.cluster = 1, self.cluster_id
            with self.c.wire("coordinator/1") as w:
                beat.beat.routes.CopyFrom(w.ask(request(routes=True)).routes)
            beat.beat.routes.version = 1 << 40
            routes = beat.beat.routes.SerializeToString() + b"\x80\0\x01"  # field 0, in two bytes: read, never written so
            beat.beat.ClearField("routes")
            head = beat.SerializeToString()
            body = b"\x1a" + bytes([len(routes) & 0x7f | 0x80, len(routes) >> 7]) + routes
            s.send(head + b"\xe2\x01" + bytes([len(body) & 0x7f | 0x80, len(body) >> 7]) + body)
            s.send(request(1, status=True, version=1, id=1).SerializeToString())
            self.assertEqual(s.reply().id, 1)
            self.assertEqual(s.replies(100), [])

    def mutated_requests(self):
        bodies = [q.SerializeToString() for q in self.samples()]
        for name in (self.leader, self.follower, "coordinator/1"):
            before, sent = self.refusals(name), 0
            with Sender(self.door(name)) as s:
                for _ in range(ROUNDS):
                    sent += self.send_tame(s, mutated(self.rng, self.rng.choice(bodies)))
                    if sent % 500 == 0:
                        s.replies()
                self.counted(name, before, sent // 2, "mutated requests")
                s.send(request(status=True, version=1, id=5).SerializeToString())
                wait_for(f"{name} answers behind them", 30, lambda s=s: 5 in [r.id for r in s.replies(200)])

    def same_ids(self):
        with Sender(self.door(self.leader)) as s:
            for _ in range(300):
                s.send(request(1, get=b"kept", version=1, id=9).SerializeToString())
            got = []
            wait_for("an answer to each", 20, lambda: got.extend(s.replies(100)) or len(got) >= 300)
            self.assertEqual({(r.id, r.code, r.value) for r in got}, {(9, 0, b"as it was")})

    # ---- replicas' messages

    def envelope(self, to, sender=None, body=None, **changed):
        """As the member `sender` would send it to `to` (names), but for what is changed."""
        at = int(to.split("/")[1])
        number = int((sender or self.leader).split("/")[1])
        if number == at:
            number = int(self.follower.split("/")[1])
        e = raft.Envelope(version=1, cluster=self.cluster_id, group=1, log_epoch=1, engine=ENGINE, to=at,
                          to_incarnation=self.members[at].incarnation, **{"from": number})
        e.from_incarnation = self.members[number].incarnation
        e.raft.CopyFrom(body or raft.Raft(kind=3, term=1 << 61, index=1 << 40, log_term=1 << 40, transfer=True))
        for name, value in changed.items():
            setattr(e, name.rstrip("_"), value)
        return e

    def bodies(self):
        """Messages that would change everything if they were believed."""
        far = 1 << 61
        noop = raft.Entry(term=far)
        yield raft.Raft(kind=3, term=far, index=far, log_term=far, transfer=True)
        yield raft.Raft(kind=5, term=far, index=0, log_term=0, commit=far, entries=[noop])
        yield raft.Raft(kind=8, term=far, index=far, log_term=far)
        for kind in (2, 4, 6, 9):
            yield raft.Raft(kind=kind, term=far, reject=True, index=far)
        yield raft.Raft(kind=7, term=self.term)

    def wrong_envelopes(self):
        """From whoever is not a member, as one: whatever is in it, it changes nothing."""
        wrong = {"cluster": dict(cluster=self.cluster_id ^ 1), "group": dict(group=2), "epoch": dict(log_epoch=2),
                 "engine": dict(engine="native" if ENGINE != "native" else "libraft"), "incarnation": dict(from_incarnation=12345),
                 "stranger": dict(from_=9), "malformed": dict(version=2)}
        for name in (self.leader, self.follower):
            with Sender(self.raft_door(name)) as s:
                before = {reason: drops(self.address(name), reason) for reason in wrong}
                for reason, change in wrong.items():
                    more = {"epoch": [dict(log_epoch=0), dict(log_epoch=0xffffffff)], "engine": [dict(engine="")],
                            "incarnation": [dict(to_incarnation=5), dict(from_incarnation=0)], "group": [dict(to_=9)],
                            "stranger": [dict(from_=0), dict(from_=0xffffffff)]}.get(reason, [])
                    for changed in [change] + more:
                        for body in self.bodies():
                            s.send(self.envelope(name, body=body, **changed).SerializeToString())
                    count = (1 + len(more)) * len(list(self.bodies()))
                    wait_for(f"{count} drops for {reason} at {name}", 20,
                             lambda r=reason, n=count: drops(self.address(name), r) >= before[r] + n)
                s.send(raft.Envelope(version=1, cluster=self.cluster_id).SerializeToString())

    def absurd_envelopes(self):
        """From a member, but of no protocol: beyond every bound, of times gone by, or of forms nobody knows."""
        far, put = 1 << 63, entry.CommandBatch(commands=[entry.Command(op=1, key=b"hostile/raft", value=b"v")])
        command = raft.Entry(term=self.term, kind=1, data=b"\x01" + put.SerializeToString())
        s_now = self.c.answer_of(self.leader)
        here = dict(index=s_now.commit, log_term=self.term)
        bodies = [raft.Raft(kind=k, term=t, index=1) for k in range(1, 10) for t in (0, far, (1 << 64) - 1)]
        bodies += [raft.Raft(kind=5, term=self.term, index=far, log_term=self.term),
                   raft.Raft(kind=5, term=self.term, round=far, **here),
                   raft.Raft(kind=5, term=self.term, commit=far, entries=[command] * (MESSAGE_ENTRIES + 1), **here),
                   raft.Raft(kind=5, term=self.term, entries=[raft.Entry(term=self.term, kind=2, data=b"\xff")], **here),
                   raft.Raft(kind=5, term=self.term, entries=[raft.Entry(term=self.term, kind=2)], **here),
                   raft.Raft(kind=5, term=self.term, entries=[raft.Entry(term=self.term - 1)], **here),
                   raft.Raft(kind=5, term=self.term, entries=[raft.Entry(term=self.term + 1)], **here),
                   raft.Raft(kind=5, term=self.term - 1, entries=[command], **here),
                   raft.Raft(kind=3, term=self.term - 1, index=far >> 2, log_term=1, transfer=True),
                   raft.Raft(kind=6, term=self.term, index=far, entries=[command]), raft.Raft(), raft.Raft(kind=0, term=self.term)]
        unknown = raft.Raft(term=self.term, index=1)
        bodies.append(raft.Raft.FromString(unknown.SerializeToString() + b"\x08\x63"))  # kind 99
        odd_kind = raft.Entry.FromString(raft.Entry(term=self.term).SerializeToString() + b"\x10\x63")
        bodies.append(raft.Raft(kind=5, term=self.term, entries=[odd_kind], **here))
        for name in (self.leader, self.follower):
            received = metric(self.address(name), "holdfast_raft_messages_received_total")
            with Sender(self.raft_door(name)) as s:
                for body in bodies:
                    s.send(self.envelope(name, body=body).SerializeToString())
                wait_for("they are received", 20, lambda n=name, r=received: metric(
                    self.address(n), "holdfast_raft_messages_received_total") >= r + len(bodies))
        self.assertEqual(self.c.cli("get", "hostile/raft", code=1).stdout, "")

    def believable(self, body):
        """Would a replica take it for a member's?"""
        try:
            e = raft.Envelope.FromString(body)
        except Exception:  # pylint: disable=broad-except
            return False
        m = self.members.get(getattr(e, "from"))
        return m is not None and (e.cluster, e.group, e.from_incarnation) == (self.cluster_id, 1, m.incarnation)

    def mutated_envelopes(self):
        bodies = [self.envelope(self.follower, body=b, cluster=self.cluster_id ^ 1).SerializeToString() for b in self.bodies()]
        bodies += [self.envelope(self.follower, body=b, from_incarnation=1).SerializeToString() for b in self.bodies()]
        for name in (self.leader, self.follower):
            before = metric(self.address(name), "holdfast_raft_messages_dropped_total")
            sent = 0
            with Sender(self.raft_door(name)) as s:
                for _ in range(ROUNDS):
                    body = mutated(self.rng, self.rng.choice(bodies))
                    if not self.believable(body):
                        s.send(body)
                        sent += 1
                wait_for("all are dropped and counted", 30, lambda n=name, b=before, c=sent: metric(
                    self.address(n), "holdfast_raft_messages_dropped_total") >= b + c)

    def replayed_envelopes(self):
        """What members sent a while ago, said again, several times and in any order."""
        for name in (self.follower, self.leader):
            tap = zmtp.Tap(port_of(self.raft_door(name)))
            self.hammer.await_acks(100)
            wait_for("messages on the wire", 60, lambda t=tap: sum(map(self.believable, t.bodies[:])) > 50)
            recorded = [b for b in tap.stop() if self.believable(b)]
            self.assertGreater(len(recorded), 50)
            received = metric(self.address(name), "holdfast_raft_messages_received_total")
            with Sender(self.raft_door(name)) as s:
                for _ in range(3):
                    self.rng.shuffle(recorded)
                    for body in recorded:
                        s.send(body)
                wait_for("they are received", 30, lambda n=name, r=received, c=3 * len(recorded): metric(
                    self.address(n), "holdfast_raft_messages_received_total") >= r + c)

    def claimed_identity(self):
        """A connection that claims a replica's name, again and again, takes nothing from the replica."""
        for _ in range(20):
            for name in (self.leader, self.follower):
                for other in self.c.names(1):
                    with Sender(self.raft_door(name), identity=other.encode()) as s:
                        s.send(b"\xff")
                with Sender(self.door(name), identity=b"client") as a, Sender(self.door(name), identity=b"client") as b:
                    a.send(b"\xff")
                    b.send(b"\xff")
        self.hammer.await_acks(50)

    # ---- http

    def odd_http(self):
        for name in (self.leader, "coordinator/1"):
            port = int(self.address(name).rpartition(":")[2])
            idle = [zmtp.connect(port) for _ in range(8)]
            for text in (b"", b"\0", b"GET\r\n\r\n", b"GET / HTTP/9.9\r\n\r\n", b"GET /" + b"a" * 100000 + b" HTTP/1.1\r\n\r\n",
                         b"GET /metrics HTTP/1.1\r\n" + b"X: y\r\n" * 20000, b"POST /metrics HTTP/1.1\r\nContent-Length: 99\r\n\r\n",
                         b"GET /%00%ff/../../etc/passwd HTTP/1.0\r\n\r\n", b"PUT / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n"
                         b"ffffffffffffffff\r\n", b"GET /metrics HTTP/1.1\r\nContent-Length: 18446744073709551616\r\n\r\n",
                         zmtp.GREETING):
                zmtp.say(port, text, wait=True)
            for _ in range(100 if not FULL else 1000):
                zmtp.say(port, mutated(self.rng, b"GET /metrics HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\n\r\nhello"))
            self.assertIn("holdfast_", self.get(f"http://{self.address(name)}/metrics"))
            for s in idle:
                s.close()

    def floods(self):
        """Many large messages that are refused leave nothing behind."""
        bad = request(1, put=(b"hostile/flood", b"v" * FLOOD_BYTES), version=1, id=1)
        bad.cluster = self.cluster_id ^ 1
        vote = self.envelope(self.leader, cluster=self.cluster_id ^ 1)
        vote.engine = "x" * FLOOD_BYTES
        for name, door, body, seen in (
                (self.leader, self.door(self.leader), bad, self.refusals),
                ("coordinator/1", self.door("coordinator/1"), bad, self.refusals),
                (self.leader, self.raft_door(self.leader), vote, lambda n: drops(self.address(n), "cluster"))):
            grown = []
            while len(grown) < 2 or min(grown[1:]) >= FLOOD_GROWTH_MAX_KIB:  # buffers get their size by the slowest so far
                self.assertLess(len(grown), 5, f"{name} keeps what it refused, KiB: {grown}")
                begin, rss = seen(name), rss_kib(self.pids[name])
                with Sender(door) as s:
                    for i in range(FLOOD):
                        s.send(body.SerializeToString())
                        if i % 256 == 0:
                            s.replies()
                    wait_for("the flood is over", 60, lambda s=s: s.replies() is not None and seen(name) >= begin + FLOOD)
                grown.append(rss_kib(self.pids[name]) - rss)

    # ---- a replica that belongs to nobody yet

    def test_a_fresh_replica(self):
        c = self.cluster(shards=1, replicas=1).up()
        base, folder = c.ports.base + 400, os.path.join(c.dir, "fresh")
        ends = [f"tcp://127.0.0.1:{base + i}" for i in range(2)]
        child = subprocess.Popen([tool("holdfast-shard"), "--dir", folder, "--shard", "1", "--replica", "1", "--raft-endpoint",
                                  ends[0], "--client-endpoint", ends[1]], stderr=subprocess.PIPE, stdin=subprocess.DEVNULL)
        try:
            with wire.Wire(ends[1]) as w, Sender(ends[1]) as s:
                fresh = w.ask(request(status=True), 30 * PATIENCE).status
                good = catalog.Bootstrap(cluster=5, shard=1, replica=1, incarnation=fresh.incarnation, heartbeat_ms=100,
                                         election_ms=500, range=catalog.Range(catalog=True), members=catalog.Members(
                                             members=[catalog.Member(replica=1, incarnation=fresh.incarnation,
                                                                     raft_endpoint=ends[0], client_endpoint=ends[1])]))
                self.bad_bootstraps(w, s, good)
                self.assertEqual(w.ask(request(status=True), 30 * PATIENCE).status.role, "fresh", "still nobody's")
                boot = request(1)
                boot.bootstrap.CopyFrom(good)
                self.assertEqual(w.ask(boot, 30 * PATIENCE).code, wire.OK)
                wait_for("it leads", 30, lambda: (r := w.try_ask(request(status=True), 2.0)) is not None and
                         r.status.role == "leader")
        finally:
            child.terminate()
            said = child.communicate(timeout=60)[1].decode(errors="replace")
        self.assertEqual(child.returncode, 0, said[-2000:])

    def bad_bootstraps(self, w, s, good):
        learner = catalog.Members.FromString(good.members.SerializeToString())
        learner.members[0].role = 1
        many = catalog.Members(members=list(good.members.members) * 65)
        changes = [dict(election_ms=0), dict(heartbeat_ms=1 << 31, election_ms=0), dict(heartbeat_ms=0), dict(members=learner),
                   dict(heartbeat_ms=0xffffffff, election_ms=0xffffffff), dict(members=many), dict(members=catalog.Members()),
                   dict(range=catalog.Range(start=b"b", end=b"a")), dict(range=catalog.Range(start=b"b" * 20000)), dict(cluster=0),
                   dict(incarnation=1), dict(shard=2), dict(replica=3)]
        for change in changes:
            boot = request(1)
            boot.bootstrap.CopyFrom(good)
            for name, value in change.items():
                if isinstance(value, int):
                    setattr(boot.bootstrap, name, value)
                else:
                    getattr(boot.bootstrap, name).CopyFrom(value)
            self.assertIn(w.ask(boot, 20 * PATIENCE).code, (wire.INVALID, -17), change)
        boot = request(1, version=1, id=3)
        boot.bootstrap.CopyFrom(good)
        body = boot.SerializeToString()
        for size in range(len(body)):
            s.send(body[:size])
        for _ in range(500):
            out = mutated(self.rng, request(1, get=b"k", version=1, id=3).SerializeToString())
            s.send(out)
        s.send(b"a", b"b")
        s.send(b"")


if __name__ == "__main__":
    unittest.main(verbosity=2)
