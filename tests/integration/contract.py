#!/usr/bin/env python3
# contract.py: what the protocol promises, asked byte by byte of real processes: sessions, retries, routes, queues, limits.
import os
import signal
import sys
import time
import unittest

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "support"))
import wire  # noqa: E402
from cluster import PATIENCE, SLOW_ELECTIONS, AtLeader, ClusterTest, wait_for  # noqa: E402
from wire import request  # noqa: E402


class Contract(ClusterTest):
    def ask_leader(self, c, shard, seconds=30, **fields):
        """Sends to whoever leads until it is answered by a leader that serves."""
        def probe():
            with c.wire(c.leader(shard)) as w:
                reply = w.try_ask(request(shard, **fields), 3.0 * PATIENCE)
            return reply if reply is not None and reply.code not in AtLeader.AGAIN else None
        return wait_for(f"an answer to {list(fields)}", seconds, probe)

    def at_one_leader(self, c, work):
        """work(w, n) beside the leader of shard 1; when it failed, all of it again, as the n-th time, if that one had
        been deposed: by a machine that kept it waiting. Nothing else is forgiven."""
        for n in range(5):
            name = c.leader(1)
            term = c.answer_of(name).term
            try:
                with c.wire(name) as w:
                    return work(w, n)
            except (AssertionError, TimeoutError):
                now = c.answer_of(c.leader(1))
                if n == 4 or (now.term, f"1/{now.replica}") == (term, name):
                    raise

    def open_session(self, c, shard=1):
        reply = self.ask_leader(c, shard, session_open=True)
        self.assertEqual(reply.code, wire.OK, reply.message)
        self.assertGreater(reply.session, 0)
        return reply.session

    def test_same_seq_through_three_leaders_applies_once(self):
        c = self.cluster(shards=1).up()
        session = self.open_session(c)
        first = self.ask_leader(c, 1, cas=(b"once", None, b"1"), session=session, seq=1)
        self.assertEqual(first.code, wire.OK, first.message)
        versions, leaders = {(first.written.t, first.written.seq)}, {c.leader(1)}
        for way in ("a crash", "a hand-over"):
            if way == "a crash":
                c.kill(*leaders)
                leaders.add(c.leader(1))
                c.start(next(n for n in c.names(1) if c.pid(n) is None))
            else:
                third = next(n for n in c.names(1) if n not in leaders)
                c.transfer(1, third)
                leaders.add(third)
            again = self.ask_leader(c, 1, cas=(b"once", None, b"1"), session=session, seq=1)
            self.assertEqual(again.code, wire.OK, "executed a second time, the compare would have failed")
            versions.add((again.written.t, again.written.seq))
        self.assertEqual(len(leaders), 3)
        self.assertEqual(len(versions), 1)
        self.assertEqual(self.ask_leader(c, 1, cas=(b"once", None, b"1"), session=session, seq=2).code,
                         wire.COMPARE_FAILED)

    def test_pipelined_retries_with_a_lost_middle(self):
        c = self.cluster(shards=1, env=SLOW_ELECTIONS).up()

        def work(w, n):
            session = self.open_session(c)

            def put(seq, done_below=0):
                cas = (b"k%d.%d" % (n, seq), None, b"v")
                return request(1, cas=cas, session=session, seq=seq, done_below=done_below)
            first, third = put(1), put(3)
            got = w.receive([w.send(first), w.send(third)], 30)
            self.assertEqual([r.code for r in got.values()], [wire.OK] * 2)
            written = {i: (r.written.t, r.written.seq) for i, r in got.items()}
            ids = [w.send(put(seq)) for seq in (1, 2, 3)]  # the second was lost; all are sent again at once
            got = w.receive(ids, 30)
            self.assertEqual([got[i].code for i in ids if i in got], [wire.OK] * 3)
            again = [(got[i].written.t, got[i].written.seq) for i in ids]
            self.assertEqual([again[0], again[2]], [written[first.id], written[third.id]])
            self.assertNotIn(again[1], written.values())
            # What the client no longer asks about is forgotten, and a forgotten seq is refused, not executed.
            self.assertEqual(w.ask(put(4, done_below=4)).code, wire.OK)
            self.assertEqual(w.ask(put(2)).code, wire.SESSION_WINDOW)
            far = put(4 + 5000, done_below=4)
            self.assertEqual(w.ask(far).code, wire.SESSION_WINDOW)
            self.assertEqual(w.ask(request(1, get=b"k%d.5004" % n)).code, wire.NOT_FOUND)
        self.at_one_leader(c, work)

    def test_unknown_session_executes_nothing(self):
        c = self.cluster(shards=1, replicas=1).up()
        self.assertEqual(self.ask_leader(c, 1, put=(b"k", b"v"), session=123456789, seq=1).code, wire.SESSION_UNKNOWN)
        self.assertEqual(self.ask_leader(c, 1, get=b"k").code, wire.NOT_FOUND)

    def test_fence_decides(self):
        c = self.cluster(shards=1).up()
        session = self.open_session(c)
        self.assertEqual(self.ask_leader(c, 1, put=(b"done", b"v"), session=session, seq=1).code, wire.OK)
        fence = self.ask_leader(c, 1, session_fence=(session, 1))
        self.assertEqual((fence.code, fence.outcome), (wire.OK, wire.OK), "it did run: its result is returned")
        fence = self.ask_leader(c, 1, session_fence=(session, 2))
        self.assertEqual((fence.code, fence.outcome), (wire.OK, wire.FENCED))
        late = self.ask_leader(c, 1, put=(b"late", b"v"), session=session, seq=2)
        self.assertEqual(late.code, wire.FENCED)
        self.assertEqual(self.ask_leader(c, 1, get=b"late").code, wire.NOT_FOUND)

    def test_put_then_cas_in_one_batch_and_in_two(self):
        c = self.cluster(shards=1, env=SLOW_ELECTIONS).up()

        def work(w, n):
            for name, together in ((b"two%d" % n, False), (b"one%d" % n, True)):
                requests = [request(1, put=(name, b"a")), request(1, cas=(name, b"a", b"b")),
                            request(1, cas=(name, b"a", b"c")), request(1, delete=name), request(1, cas=(name, None, b"d"))]
                if together:
                    ids = [w.send(r) for r in requests]
                    got = w.receive(ids, 30)
                    codes = [got[i].code for i in ids if i in got]
                else:
                    codes = [w.ask(r).code for r in requests]
                self.assertEqual(codes, [wire.OK, wire.OK, wire.COMPARE_FAILED, wire.OK, wire.OK], name)
                self.assertEqual(w.ask(request(1, get=name)).value, b"d")
            replies = [w.ask(request(1, put=(b"x%d" % i, b""))) for i in range(3)]
            self.assertEqual([r.code for r in replies], [wire.OK] * 3)
            writes = [(r.written.t, r.written.seq) for r in replies]
            self.assertEqual(sorted(writes), writes)
        self.at_one_leader(c, work)

    def test_stale_route_gets_the_newer_one(self):
        c = self.cluster(shards=2, env=SLOW_ELECTIONS).up()

        def work(w, _):
            def told():  # the coordinator's beats bring the routes to every replica soon after it is active
                answer = w.ask(request(1, put=(b"zebra", b"v"), route_version=0))
                self.assertEqual(answer.code, wire.WRONG_SHARD)
                return answer if answer.route_version >= 1 else None
            reply = wait_for("routes at the replica", 30, told)
            self.assertEqual(reply.routes.version, reply.route_version)
            owner = [r.shard for r in reply.routes.routes
                     if r.range.start <= b"zebra" and (r.range.end == b"" or b"zebra" < r.range.end)]
            self.assertEqual(owner, [2])
            self.assertTrue(any(s.shard == 2 and len(s.members) == 3 for s in reply.routes.shards))
            self.assertEqual(w.ask(request(2, put=(b"apple", b"v"))).code, wire.WRONG_SHARD)
            leader = next(n for n in c.names(1) if c.processes[n]["client"] == w.endpoint)
            with c.wire(c.followers(1, leader)[0]) as other:
                def names_one():  # who heard from nobody for a while knows none
                    reply = other.ask(request(1, put=(b"apple", b"v")))
                    self.assertEqual(reply.code, wire.NOT_LEADER)
                    return reply if reply.leader else None
                reply = wait_for("a follower that knows its leader", 30, names_one)
                self.assertEqual(f"1/{reply.leader}", leader)
                self.assertEqual(reply.leader_endpoint, w.endpoint)
        self.at_one_leader(c, work)

    def test_time_never_goes_back_over_a_restart(self):
        c = self.cluster(shards=1, replicas=1).up()
        c.cli("put", "k", "v", "--ttl", "300")
        wait_for("the key to expire", 30, lambda: c.cli("get", "k", code=None).returncode == 1)
        c.kill("coordinator/1")  # no beat tells the time after the restart
        c.kill("1/1")
        c.start("1/1")
        with c.wire("1/1") as w:
            def answered(**fields):  # at first it cannot know how far an earlier leader's time went
                def probe():
                    code = w.ask(request(1, **fields)).code
                    return [code] if code not in (wire.NOT_READY, wire.NOT_LEADER) else None
                return wait_for(f"an answer to {list(fields)}", 20, probe)[0]
            self.assertEqual(answered(get=b"k"), wire.NOT_FOUND)
            self.assertEqual(answered(cas=(b"k", b"v", b"w")), wire.COMPARE_FAILED)
            # a time to live cannot be counted before a beat was heard
            put = request(1, put=(b"t", b"v"))
            put.put.ttl_ms = 1000
            self.assertEqual(w.ask(put).code, wire.NOT_READY)
            self.assertEqual(w.ask(request(1, put=(b"t", b"v"))).code, wire.OK)

    def test_full_queue_of_a_shard_is_busy(self):
        c = self.cluster(shards=1, env=SLOW_ELECTIONS).up()  # who hears from nobody may lead until the queue is full
        packed = []
        for i in range(18000):
            r = request(1, put=(b"q%d" % i, b""))
            r.id, r.version = i + 1, 1
            packed.append(r.SerializeToString())

        def flood():
            leader = c.leader(1)
            others = c.followers(1, leader)
            for n in others:
                c.send_signal(n, signal.SIGSTOP)  # nothing can be committed, so everything queues
            try:
                with c.wire(leader) as w:
                    for message in packed:
                        w.socket.send(message)
                    w.receive([18000], 2 * PATIENCE)
                    return [r for r in w.replies.values() if r.code == wire.BUSY]
            finally:
                for n in others:
                    c.send_signal(n, signal.SIGCONT)
        busy = wait_for("BUSY from a full queue", 60, flood)
        self.assertEqual(busy[0].class_, 1, "BUSY is: surely not done, try again")
        reply = self.ask_leader(c, 1, seconds=60, put=(b"after", b"v"))  # it is still BUSY for a while
        self.assertEqual(reply.code, wire.OK, "it serves again")

    def test_full_queue_of_the_coordinator_is_busy_and_other_shards_go_on(self):
        c = self.cluster(shards=2, coordinator_sets=["queue-max=8"], env=SLOW_ELECTIONS).up()
        c.leader(2)
        for n in c.names(2):
            c.send_signal(n, signal.SIGSTOP)
        try:
            with wire.Wire(c.processes["coordinator/1"]["client"]) as w:
                ids = [w.send(request(put=(b"z%d" % i, b"v"), deadline_ms=30000)) for i in range(100)]
                wait_for("BUSY for most", 20, lambda: not w.receive([0], 0.1) and  # nobody sent 0: it takes what comes
                         sum(w.replies[i].code == wire.BUSY for i in ids if i in w.replies) >= 80)
                begin = time.monotonic()
                self.assertEqual(w.ask(request(put=(b"apple", b"v")), 20).code, wire.OK)
                self.assertLess(time.monotonic() - begin, 10.0 * PATIENCE)  # those that hang do so for 30 s
        finally:
            for n in c.names(2):
                c.send_signal(n, signal.SIGCONT)

    def test_limits_and_malformed_messages(self):
        c = self.cluster(shards=1, env=SLOW_ELECTIONS).up()
        big = bytes(range(256)) * 4096 * 8
        self.assertEqual(len(big), 8 * 1024 * 1024)
        # A sanitized leader on a busy machine may be deposed over it; the same put again is the same.
        self.assertEqual(self.ask_leader(c, 1, seconds=60, put=(b"big", big)).code, wire.OK)

        def work(w, _):
            self.assertEqual(w.ask(request(1, get=b"big"), 30).value, big)
            self.assertEqual(w.ask(request(1, put=(b"big", big + b"x")), 30).code, wire.LIMIT)
            self.assertEqual(w.ask(request(1, put=(b"k" * 16 * 1024, b"v"))).code, wire.OK)
            self.assertEqual(w.ask(request(1, put=(b"k" * (16 * 1024 + 1), b"v"))).code, wire.LIMIT)
            self.assertEqual(w.ask(request(1, put=(b"", b"v"))).code, wire.INVALID)
            self.assertEqual(w.ask(request(1, get=b"big"), 30).value, big, "the refused ones changed nothing")
            self.assertEqual(w.ask(request(1, put=(b"k", b"v"), cluster=1)).code, wire.WRONG_CLUSTER)
            self.assertEqual(w.ask(request(1, put=(b"k", b"v"), version=99)).code, wire.PROTOCOL)
            self.assertEqual(w.ask(request(1)).code, wire.PROTOCOL)
            for garbage in (b"", b"\xff" * 100, b"\x08\x01" * 50):
                w.socket.send(garbage)
            self.assertEqual(w.ask(request(1, get=b"k")).code, wire.NOT_FOUND, "garbage harmed nobody")
        self.at_one_leader(c, work)
        self.assertEqual(len(c.alive()), 3)

    def test_scan_order_limits_and_pages(self):
        c = self.cluster(shards=1, env=SLOW_ELECTIONS).up()
        keys = sorted([b"a", b"a\x00", b"a\x00\x00", b"a\x00\x01", b"a\x00\xff", b"a\x01", b"a\xff", b"a\xff\xff", b"aa",
                       b"ab", b"b", b"\x00", b"\xff", b"\xff\x00"])

        def work(w, _):
            for k in reversed(keys):
                self.assertEqual(w.ask(request(1, put=(k, b"v" + k))).code, wire.OK)

            def scan(**how):
                found = []
                while True:
                    reply = w.ask(request(1, scan=how))
                    self.assertEqual(reply.code, wire.OK, reply.message)
                    found += [i.key for i in reply.items]
                    self.assertTrue(how.get("keys_only") or all(i.value == b"v" + i.key for i in reply.items))
                    if not reply.more:
                        return found
                    how["end" if how.get("reverse") else "start"] = reply.next
            for limit in (0, 1, 3, 100):
                self.assertEqual(scan(limit=limit), keys)
                self.assertEqual(scan(limit=limit, reverse=True), keys[::-1])
                self.assertEqual(scan(limit=limit, keys_only=True, start=b"a\x00", end=b"a\xff\xff"),
                                 [k for k in keys if b"a\x00" <= k < b"a\xff\xff"])
                self.assertEqual(scan(limit=limit, reverse=True, start=b"a\x00", end=b"aa"),
                                 [k for k in keys if b"a\x00" <= k < b"aa"][::-1])
            self.assertEqual(w.ask(request(1, delete_prefix=b"a\x00")).code, wire.OK)
            self.assertEqual(scan(), [k for k in keys if not k.startswith(b"a\x00")])
            self.assertEqual(w.ask(request(1, put=(b"a\x00\x01", b"va\x00\x01"))).code, wire.OK)
            self.assertEqual(scan(reverse=True), [k for k in keys if not k.startswith(b"a\x00") or k == b"a\x00\x01"][::-1])
        self.at_one_leader(c, work)


if __name__ == "__main__":
    unittest.main(verbosity=2)
