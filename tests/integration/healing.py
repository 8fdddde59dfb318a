#!/usr/bin/env python3
# healing.py: a replica that is behind every log, or whose state is damaged, gets another's while the group goes on; senders and
# receivers that die on the way; what never happens meanwhile.
import collections
import glob
import itertools
import os
import re
import shutil
import signal
import sys
import threading
import time
import unittest
import urllib.error
import urllib.request

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "support"))
import damage  # noqa: E402
import wire  # noqa: E402
from cluster import FULL, PATIENCE, AtLeader, ClusterTest, Hammer, StartFailed, lincheck, wait_for  # noqa: E402
from wire import request  # noqa: E402

SMALL = ["snapshot-entries=40", "snapshot-trailing-entries=5", "snapshot-log-bytes=65536", "log-segment-bytes=65536",
         "fsm-buffer-bytes=65536"]
CORRUPT = -19
WINDOW = 256  # requests under way


class Healing(ClusterTest):
    random = False  # values: a stream takes the time that they would

    def group(self, **shape):
        self.c = self.cluster(**dict(dict(shards=1, sets=SMALL), **shape)).up()
        self.puts = {}
        return self.c

    def put(self, count, size=500):
        with self.c.at_leader(1) as w:
            for _ in range(count):
                key = b"k%05d" % len(self.puts)
                value = key + (os.urandom(size) if self.random else b"." * size)
                self.assertEqual(w.ask(request(1, put=(key, value), deadline_ms=20000), 60).code, wire.OK)
                self.puts[key] = value

    def in_windows(self, requests):
        """{key: reply} of all that `requests` makes, `WINDOW` at a time, at whoever leads; who is told to come again does."""
        left, done = dict(requests), {}
        until = time.monotonic() + 600 * PATIENCE
        while left:
            with self.c.wire(self.c.leader(1)) as w:
                leads = True
                while left and leads:
                    self.assertLess(time.monotonic(), until, f"{len(left)} are left")
                    ids = {w.send(make()): key for key, make in itertools.islice(left.items(), WINDOW)}
                    replies = w.receive(ids, 60)
                    leads = len(replies) == len(ids)
                    for i, reply in replies.items():
                        self.assertIn(reply.code, (wire.OK, *AtLeader.AGAIN))
                        leads &= reply.code in (wire.OK, wire.BUSY)
                        if reply.code == wire.OK:
                            done[ids[i]] = reply
                            left.pop(ids[i])
        return done

    def put_many(self, count, size=100):
        """`count` durable puts, many at a time."""
        fresh = {b"k%06d" % i: b"k%06d" % i + b"." * size for i in range(len(self.puts), len(self.puts) + count)}
        self.in_windows({k: lambda k=k, v=v: request(1, put=(k, v), deadline_ms=60000) for k, v in fresh.items()})
        self.puts.update(fresh)

    def trims(self, leader, times, size=500):
        """Writes until the leader's log was cut at its front `times` times."""
        for _ in range(times):
            first = self.c.answer_of(leader).log_first
            self.put(50, size)
            self.writes_until(lambda: f"a cut log: {self.c.status_of(leader)}",
                              lambda: self.c.answer_of(leader).log_first > first, size)  # noqa: B023

    def writes_until(self, what, cut, size=500):
        """Waits for a cut, which may have been put off for a follower that was late: the next one comes with the next writes."""
        again = [time.monotonic() + 5]

        def probe():
            if cut():
                return True
            if time.monotonic() > again[0]:
                self.put(50, size)
                again[0] = time.monotonic() + 5
            return False
        wait_for(what, 60, probe)

    def outgrows(self, index, size=500):
        """Writes until every log there is, whoever of them leads, begins behind what ends at `index`."""
        def cut():
            return all(self.c.answer_of(n).log_first > index + 1 for n in self.c.alive(1))
        self.writes_until(lambda: f"logs behind {index}: {[self.c.status_of(n) for n in self.c.alive(1)]}", cut, size)

    def log_since(self, name):
        before = len(self.c.log(name))
        return lambda: self.c.log(name)[before:]

    def said(self, name, since, text, seconds=60):
        wait_for(lambda: f"{name} says \"{text}\": {since()[-3000:]}", seconds, lambda: text in since())

    def whole(self, name, seconds=60):
        wait_for(lambda: f"{name} is whole: {self.c.status_of(name)} {self.c.log(name)[-2000:]}", seconds,
                 lambda: (s := self.c.status_of(name)) and s.state == "ready" and not s.trouble)
        self.c.digests_agree(1)

    def readyz(self, name):
        """(status, body)"""
        try:
            with urllib.request.urlopen(f"http://{self.c.processes[name]['http']}/readyz", timeout=20 * PATIENCE) as f:
                return f.status, f.read().decode()
        except urllib.error.HTTPError as e:
            return e.code, e.read().decode()

    def stays_ready(self, name, since):
        """Or says why not, as on a machine so slow that a leader is lost, or a follower for longer than its log is kept."""
        code, text = self.readyz(name)
        if code != 200:  # the line comes a moment after the page
            wait_for(lambda: f"{name} says why: {text} {since()[-3000:]}", 10,
                     lambda: re.search("this replica needs a snapshot|no leader is heard", since()))

    def everything_is_there(self):
        replies = self.in_windows({k: lambda k=k: request(1, get=k, deadline_ms=60000) for k in self.puts})
        self.assertEqual([k for k, v in self.puts.items() if replies[k].value != v], [])


    def cold_last(self, since):
        """The last index of the log that the last start found."""
        return int(re.findall(r"cold start state=.* last=(\d+)", since())[-1])


class Publisher:
    """Asks a replica for publishes, some at any time, from its start on; `codes` counts the answers. NOT_READY is the answer
    to one that was not through when the machine was replaced."""

    def __init__(self, c, name):
        self.endpoint = c.processes[name]["client"]
        self.codes, self.stop = collections.Counter(), threading.Event()
        self.thread = threading.Thread(target=self.run)

    @property
    def published(self):
        return self.codes[wire.OK]

    def run(self):
        with wire.Wire(self.endpoint) as w:
            out = set()
            while not self.stop.is_set():
                while len(out) < 4:
                    ask = request(1, deadline_ms=20000)
                    ask.snapshot.SetInParent()
                    out.add(w.send(ask))
                got = w.receive([next(iter(out))], 0.1)
                got.update(w.receive(out & w.replies.keys(), 0))
                for i, reply in got.items():
                    self.codes[reply.code] += 1
                    out.discard(i)

    def __enter__(self):
        self.thread.start()
        return self

    def __exit__(self, *_):
        self.stop.set()
        self.thread.join()


class Behind(Healing):
    def test_three_truncations_later(self):
        """Down while others write and cut their logs: up, and behind every log, it is ready only when it has the state."""
        c = self.group()
        name = c.followers(1)[0]
        self.put(20)
        c.kill(name)
        reached = c.answer_of(c.leader(1)).last
        self.put_many(100000 if FULL else 1000)
        self.trims(c.leader(1), 3)
        self.outgrows(reached)
        since = self.log_since(name)
        c.start(name)
        self.said(name, since, " ready applied=")
        lines = since()
        self.assertLess(lines.index("installed index="), lines.index(" ready applied="))
        self.whole(name)
        self.assertNotIn("role=leader", lines.partition(" ready applied=")[0])
        c.transfer(1, name)
        self.everything_is_there()

    def test_one_that_was_ready_is_not_while_it_needs_a_state(self):
        """Asleep while others write and cut their logs: it wakes up as a ready one. /readyz says no from the moment it hears
        what it lacks until it has what its leader had committed; then yes, and stays so."""
        # libraft goes on sending to who is silent, and what is under way would bring it far enough.
        c = self.group(sets=SMALL + ["snapshot-rate=150000"], engine="native")
        self.random = True
        self.put(20)
        leader = c.leader(1)
        name = c.followers(1, leader)[0]
        heard = self.log_since(name)
        for i in range(300):  # somewhat behind is no reason
            self.put(1)
            if i % 10 == 0:
                self.stays_ready(name, heard)
        said, heard = [self.log_since(n) for n in c.names(1)], self.log_since(name)
        c.send_signal(name, signal.SIGSTOP)
        try:
            self.trims(leader, 3, 10000)  # ten seconds of a stream
            while not any("peer needs a snapshot" in s() for s in said):  # whoever leads
                self.trims(leader, 1, 10000)
        finally:
            c.send_signal(name, signal.SIGCONT)
        behind = "not ready: the leader's log begins too late"
        self.said(name, heard, behind)
        code, text = self.readyz(name)
        self.assertEqual(code, 503, text)
        self.assertRegex(text, f"^({behind}|not ready: no leader is heard)")
        s = c.answer_of(name)
        self.assertEqual((s.state, s.trouble != ""), ("healing", True), s)
        committed = c.answer_of(leader).commit
        put_at, until = 0, time.monotonic() + 120 * PATIENCE
        while (answer := self.readyz(name))[0] == 503 and time.monotonic() < until:
            self.assertTrue(answer[1].startswith("not ready: "), answer)
            if time.monotonic() > put_at:  # few: the leader keeps 512 KiB of log for it, no more
                self.put(1)
                put_at = time.monotonic() + 0.05
        self.assertEqual(answer, (200, "ready\n"))
        self.assertGreaterEqual(c.answer_of(name).applied, committed)
        self.said(name, heard, " ready applied=")
        lines = heard()
        lines = lines[lines.index(behind):]
        self.assertLess(lines.index("installed index="), lines.index(" ready applied="))
        self.whole(name)
        heard = self.log_since(name)
        for _ in range(100):
            self.put(1)
            self.stays_ready(name, heard)
        self.everything_is_there()

    def test_a_longer_log_of_its_own(self):
        """What it wrote and nobody else has goes, though it reaches further than what it is given."""
        # So long the old leader takes what it cannot commit; libraft would hold it back before its log.
        c = self.group(env={"HOLDFAST_ELECTION_MS": "2000"}, engine="native")
        self.put(20)
        for turn in range(5):  # one that is late gives up to lead before it has taken all
            old = c.leader(1)
            others = c.followers(1, old)
            c.kill(*others)
            commit = c.answer_of(old).commit
            with c.wire(old) as w:  # never committed: there is no quorum; a session between two puts parts their entries
                for i in range(200):
                    w.send(request(1, put=(b"lost%d-%04d" % (turn, i), b"x" * 100), deadline_ms=300))
                    w.send(request(1, session_open=True, deadline_ms=300))
                wait_for(lambda: f"a longer log: {c.status_of(old)}", 20,
                         lambda: (s := c.answer_of(old)).last >= commit + 400 or s.role != "leader")  # noqa: B023
            longer = c.answer_of(old).last
            if longer >= commit + 400:
                break
            c.start_in_background(*others)
        self.assertGreaterEqual(longer, commit + 400)
        self.assertLess(c.answer_of(old).commit, commit + 100)
        c.kill(old)
        c.start_in_background(*others)
        leader = c.leader(1)
        self.trims(leader, 1)
        self.outgrows(commit)  # what both hold
        since = self.log_since(old)
        c.start(old)
        installed = re.search(r"installed index=(\d+)", since())
        self.assertIsNotNone(installed, since())
        self.assertGreaterEqual(self.cold_last(since), longer, "its own log was not what it found")
        self.assertLess(int(installed.group(1)), longer, "its own log ended before what it was given")
        self.whole(old)
        with c.at_leader(1) as w:
            for i in range(200):
                self.assertEqual(w.ask(request(1, get=b"lost%d-%04d" % (turn, i)), 20).code, wire.NOT_FOUND)
        c.kill(old)
        since = self.log_since(old)
        c.start(old)
        self.assertLess(self.cold_last(since), longer, "the longer log is still there")
        self.whole(old)
        self.everything_is_there()

    def test_a_lagging_replica_never_leads(self):
        """Two are left: the one with the longer log, whom the other would elect, lacks its machine. So nobody leads until the
        third is back."""
        c = self.group(sets=[])
        self.put(30)
        leader = c.leader(1)
        lagging, short = c.followers(1, leader)
        c.kill(short)
        self.put(30)
        c.kill(leader, lagging)
        shutil.rmtree(os.path.join(c.data(lagging), "fsm"))
        since, said, of_leader = (self.log_since(n) for n in (lagging, short, leader))
        for name in (lagging, short):
            damage.launch(c, name)
        wait_for("both run", 60, lambda: c.status_of(lagging) and c.status_of(short))
        self.assertGreater(c.answer_of(lagging).last, c.answer_of(short).last)
        wait_for("the other to ask for votes", 30, lambda: c.answer_of(short).role == "candidate" or "role=candidate" in said())
        with self.assertRaises(AssertionError):
            c.leader(1, seconds=4)  # many election time-outs
        self.assertEqual(c.answer_of(lagging).state, "healing")
        for lines in (since(), said()):
            self.assertNotIn("role=leader", lines)
        c.start(leader)
        self.assertIn("role=leader", of_leader(), "another one led first")
        self.said(lagging, since, "installed index=")
        self.assertNotIn("role=leader", since().partition("installed index=")[0])
        self.whole(lagging)
        c.transfer(1, lagging)  # now it may
        self.everything_is_there()

    def test_all_members_of_four_shards_at_once(self):
        c = self.group(shards=4, replicas=3)
        h = Hammer(c, "all")
        h.await_acks(400)
        c.kill(*c.names())
        c.start_in_background(*c.names())
        for shard in range(1, 5):
            c.leader(shard)
        h.await_acks(200)
        h.stop()
        good, text = lincheck(h.path)
        self.assertTrue(good, text)
        for name in c.names():
            lines = [x for x in c.log(name).splitlines() if "cold start state=" in x]
            self.assertIn("outcome=skipped", lines[-1])
            self.assertNotIn("reason=behind ", lines[-1])


class Times(Healing):
    def times(self, name):
        with open(os.path.join(self.c.data(name), "identity"), encoding="ascii") as f:
            return [x for x in f.read().splitlines() if x.startswith(("heartbeat_ms ", "election_ms "))]

    def test_who_does_not_know_the_times_of_its_group_takes_them_from_the_state(self):
        """An identity of an earlier build and no state machine: it guesses, cautiously, until it was given a state; then it
        votes as soon as anybody, without another start."""
        c = self.group()
        self.put(20)
        leader = c.leader(1)
        name = c.followers(1, leader)[0]
        c.kill(name)
        shutil.rmtree(os.path.join(c.data(name), "fsm"))
        identity = os.path.join(c.data(name), "identity")
        damage.edit_lines(identity, lambda lines: [x for x in lines if not x.startswith(("heartbeat_ms", "election_ms"))])
        self.assertEqual(self.times(name), [])
        c.start(name)
        self.whole(name)
        self.assertEqual(len(self.times(name)), 2)
        self.assertEqual(self.times(name), self.times(leader))
        c.kill(leader)  # its vote is needed
        self.assertNotEqual(c.leader(1), leader)
        self.everything_is_there()


class OnTheWay(Healing):
    def behind(self, size=500, sets=()):
        """A group whose last replica is down and behind every log; (leader, the one that is down)."""
        c = self.group(sets=SMALL + list(sets))
        name = c.followers(1)[0]
        self.put(20, size=size)
        c.kill(name)
        leader = c.leader(1)
        reached = c.answer_of(leader).last
        self.trims(leader, 2, size)
        self.outgrows(reached, size)
        return leader, name

    def test_the_receiver_is_killed_at_each_step_of_the_swap(self):
        # What comes while it is down for a moment is kept: else it would need another state.
        leader, name = self.behind(sets=["snapshot-trailing-entries=40"])
        c = self.c
        points = ["install.before_record", "install.after_record", "install.after_exchange", "install.before_log",
                  "install.before_done"]
        for point in points:
            with self.subTest(point):
                c.script("start", name, check=False, env={"HOLDFAST_CRASH_POINT": point})
                c.await_end(name)
                since = self.log_since(name)
                c.start(name)
                self.whole(name)
                done = point in points[2:]
                self.assertEqual("installed index=" in since(), not done and point != "install.after_record", since())
                wait_for("the pointer alone", 30, lambda: os.listdir(os.path.join(c.data(name), "snapshots")) == ["token"])
                self.assertFalse(os.path.exists(os.path.join(c.data(name), "INSTALL")))
                c.kill(name)
                reached = c.answer_of(c.leader(1)).last
                self.trims(leader, 2)
                self.outgrows(reached)
        c.start(name)
        self.everything_is_there()

    def test_the_sender_is_killed_on_the_way(self):
        """And the next leader gives it what it lacks."""
        leader, name = self.behind(20000, ["snapshot-rate=400000"])
        c = self.c
        since = self.log_since(name)
        damage.launch(c, name)
        self.said(name, since, "fetching a state")
        self.said(name, since, "begins index=")
        c.kill(leader)
        c.leader(1)
        self.said(name, since, "installed index=")
        c.start(leader)
        self.whole(name)
        self.everything_is_there()

    def test_what_comes_too_late_is_dropped(self):
        """A leader that still has the log brings it there before the stream of another ends."""
        c = self.group(sets=SMALL + ["snapshot-rate=150000"])
        leader = c.leader(1)
        keeper, name = c.followers(1, leader)
        c.kill(keeper)
        c.sets = ["log-segment-bytes=65536"]  # as much log as there is
        c.up()
        c.kill(name)
        c.transfer(1, leader)
        self.trims(leader, 2, 40000)  # half a minute of a stream
        since = self.log_since(name)
        damage.launch(c, name)
        self.said(name, since, "begins index=")
        c.transfer(1, keeper)
        self.whole(name)
        self.said(name, since, "is not used: the log came further meanwhile")
        self.assertNotIn("installed", since())
        incoming = os.path.join(c.data(name), "snapshots", "incoming")
        wait_for("what is not used to go", 30, lambda: not os.path.exists(incoming))
        self.put(20)
        self.whole(name)
        self.everything_is_there()

    def test_a_publish_runs_while_a_state_is_put_in_place(self):
        """Under load and with the smallest triggers each replica in turn sleeps, wakes up and is given the state. It is asked
        for publishes all the while: they are made until the state is put in place, which cuts one off, and again behind it.
        Who gives it publishes too."""
        c = self.group(sets=["snapshot-entries=10", "snapshot-trailing-entries=1", "snapshot-rate=400000", *SMALL[2:]])
        self.put(40, size=20000)
        h = Hammer(c, "load", pause_us=100000)  # a trickle: the state must not outgrow its rate, whatever the machine is at
        turns = cut_off = came = gave_on = 0
        while turns < (6 if FULL else 2) or not (cut_off and came and gave_on):
            self.assertLess(turns, 30, f"publishes cut off by an install: {cut_off}, while a state came: {came}, while it was sent: {gave_on}")
            name = c.followers(1)[turns % 2]
            turns += 1
            c.kill(name)
            leader = c.leader(1)
            reached = c.answer_of(leader).last
            wait_for("logs that begin behind it", 60,
                     lambda: all(c.answer_of(n).log_first > reached + 1 for n in c.alive(1)))  # noqa: B023
            since, gave = self.log_since(name), {n: self.log_since(n) for n in c.names(1)}
            with Publisher(c, name) as p:
                c.start(name)
                lines = since()
                more = p.published + 3
                wait_for(f"publishes of {name} afterwards: {p.codes}", 30, lambda: p.published > more)  # noqa: B023
            begin, end = lines.index("fetching a state"), lines.index("installed index=")
            came += "snapshot published index=" in lines[begin:end]  # not if who asks for them had no processor meanwhile
            self.assertIn("snapshot published index=", since()[end:], "none behind it")
            pointers = [int(x) for x in re.findall(r"(?:snapshot published|installed) index=(\d+)", since())]
            self.assertEqual(pointers, sorted(pointers), "the pointer went back")
            giver = "1/" + re.search(r"installed index=.* from=(\d+)", lines).group(1)
            self.said(giver, gave[giver], "snapshot sent replica=")
            lines = gave[giver]()
            begin, end = lines.index("snapshot asked for replica="), lines.index("snapshot sent replica=")
            gave_on += "snapshot published index=" in lines[begin:end]
            self.assertLessEqual(set(p.codes), {wire.OK, wire.NOT_READY})
            cut_off += p.codes[wire.NOT_READY]
            self.whole(name)
        print(f"{turns} installs, {cut_off} publishes cut off", file=sys.stderr)
        h.stop()
        good, text = lincheck(h.path)
        self.assertTrue(good, text)


class Damaged(Healing):
    def test_a_leader_that_reads_damage_hands_over_and_is_healed(self):
        c = self.group(sets=[])
        c.kill("coordinator/1")  # what it writes would meet the damage before a read does
        self.put(300, size=1000)
        name = c.leader(1)
        c.script("kill", name, "-TERM")  # nothing is left to be replayed, which would meet it
        c.await_end(name)
        table = max(glob.glob(os.path.join(c.data(name), "fsm", "*.sst")), key=os.path.getsize)
        damage.flip(os.path.getsize(table) // 3)(table)
        since = self.log_since(name)
        c.start(name)
        codes = set()
        for _ in range(5):  # another one may come to lead meanwhile
            if CORRUPT not in codes:
                c.transfer(1, name)
            with c.wire(name) as w:
                for key in self.puts:
                    if CORRUPT in codes:
                        break
                    reply = w.try_ask(request(1, get=key), 10)
                    codes.add(reply.code if reply else None)
        self.assertIn(CORRUPT, codes)
        self.said(name, since, "installed index=")
        wait_for("another leader", 30, lambda: c.leader(1) != name)
        self.whole(name)
        self.assertFalse(os.path.exists(os.path.join(c.data(name), "quarantine-fsm")))
        c.transfer(1, name)
        self.everything_is_there()

    def test_damage_that_replay_meets_ends_one_start_only(self):
        c = self.group(sets=[])
        self.put(300, size=1000)
        name = c.followers(1)[0]
        c.script("kill", name, "-TERM")
        c.await_end(name)
        c.start(name)
        with c.at_leader(1) as w:
            for key, value in list(self.puts.items())[:25]:  # a compare reads; so few are not flushed yet
                self.puts[key] = key
                done = w.ask(request(1, cas=(key, value, key), deadline_ms=20000), 60).code
                self.assertIn(done, (wire.OK, wire.COMPARE_FAILED), "the second if it was asked twice")
        wait_for("what was compared is applied", 30, lambda: c.answer_of(name).applied >= c.answer_of(c.leader(1)).commit)
        c.kill(name)
        table = max(glob.glob(os.path.join(c.data(name), "fsm", "*.sst")), key=os.path.getsize)
        for at in range(500, os.path.getsize(table) * 9 // 10, 2000):  # keys; the machine's own records come last
            damage.flip(at)(table)
        since = self.log_since(name)
        for _ in range(3):
            try:
                c.start(name)
                break
            except StartFailed as failed:
                self.assertEqual(failed.code, 70)
                self.assertIn("the next start replaces it", failed.message)
        self.whole(name)
        self.assertEqual(since().count("cold start state="), 2, since())
        self.assertIn("state=corrupt_fsm", since())


if __name__ == "__main__":
    unittest.main(verbosity=2)
