#!/usr/bin/env python3
# cold_start.py: what a replica finds at its start, made for real: each state of the table with its line, its metric, and what
# becomes of it: skipped, replayed, restored from a peer, the log rebuilt, or refused with a word.
import os
import re
import shutil
import subprocess
import sys
import unittest
import urllib.error

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "support"))
import damage  # noqa: E402
import faults  # noqa: E402
import wire  # noqa: E402
from cluster import LOG, SLOW_ELECTIONS, ClusterTest, StartFailed, tool, wait_for  # noqa: E402
from wire import request  # noqa: E402

REFUSED = 6
SMALL = ["snapshot-entries=40", "snapshot-trailing-entries=5", "snapshot-log-bytes=65536", "log-segment-bytes=65536",
         "fsm-buffer-bytes=65536"]


class Cold(ClusterTest):
    def group(self, **shape):
        self.c = self.cluster(**dict(dict(shards=1, sets=SMALL), **shape)).up()
        self.puts = {}
        return self.c

    def put(self, count, size=500):
        """`count` durable puts, one by one: each is an entry."""
        with self.c.at_leader(1) as w:
            for _ in range(count):
                key = b"k%05d" % len(self.puts)
                value = key + b"." * size
                self.assertEqual(w.ask(request(1, put=(key, value), deadline_ms=10000), 30).code, wire.OK)
                self.puts[key] = value

    def log_since(self, name):
        """What `name` prints from now on, as a function."""
        before = len(self.c.log(name))
        return lambda: self.c.log(name)[before:]

    def begun(self, said):
        """The one line of the last start, as a dict of its fields."""
        lines = [x for x in said().splitlines() if "cold start state=" in x]
        self.assertTrue(lines, said())
        return dict(re.findall(r"(\w+)=(\w+)", lines[-1].partition("cold start ")[2]))

    def metric(self, name, metric, labels=""):
        text = damage.http_get(self.c.processes[name]["http"], "/metrics")
        found = re.search(r"^%s%s (\S+)$" % (re.escape(metric), re.escape(labels)), text, re.M)
        self.assertIsNotNone(found, f"{metric}{labels}:\n{text[:3000]}")
        return float(found.group(1))

    def started(self, name, state, outcome, reason, said):
        """The state, its labels and its counter after a start; the group is whole again."""
        line = self.begun(said)
        self.assertEqual((line["state"], line["outcome"], line["reason"]), (state, outcome, reason), said())
        labels = '{outcome="%s",reason="%s"}' % (outcome, reason)
        self.assertEqual(self.metric(name, "holdfast_fsm_cold_start_restore_total", labels), 1)
        self.assertEqual(self.metric(name, "holdfast_fsm_cold_start_applied_index_gap", '{outcome="%s"}' % outcome),
                         int(line["gap"]))
        return line

    def whole(self, name):
        wait_for(lambda: f"{name} is whole: {self.c.status_of(name)}", 30,
                 lambda: (s := self.c.status_of(name)) and s.state == "ready" and not s.trouble)
        self.c.digests_agree(1)

    def serves_all(self, name):
        """It leads and has it all; it is made the leader again where another one comes to lead meanwhile."""
        left = dict(self.puts)

        def served():
            self.c.transfer(1, name)
            with self.c.wire(name) as w:
                for key in list(left):
                    reply = w.try_ask(request(1, get=key), 20)
                    if reply is None or reply.code in (wire.NOT_LEADER, wire.NOT_READY, wire.BUSY, wire.UNAVAILABLE):
                        return False
                    self.assertEqual(reply.value, left.pop(key), key)
            return True
        wait_for(lambda: f"{name} to serve {len(left)} more", 60, served)

    def terminate(self, name):
        """An end in order: what it applied is in tables, each of which its manifest names."""
        self.c.script("kill", name, "-TERM")
        self.c.await_end(name)

    def restart(self, name, state, outcome, reason):
        said = self.log_since(name)
        self.c.start(name)
        self.started(name, state, outcome, reason, said)
        self.whole(name)
        return said

    def quarantined(self, name, what):
        folder = os.path.join(self.c.data(name), "quarantine")
        return sorted(x for x in (os.listdir(folder) if os.path.isdir(folder) else []) if x.startswith(what))

    def published(self, name, index=1):
        wait_for(lambda: f"a snapshot of {name}: {self.c.status_of(name)}", 30,
                 lambda: (s := self.c.status_of(name)) and s.snapshot >= index)


class Machine(Cold):
    def test_fresh_at_the_pointer_and_ahead_of_it(self):
        """RocksDB's own log (sync) makes all that was applied durable, and without a coordinator nothing is but what we put."""
        c = self.group(replicas=1, sets=["fsm-sync-mode=sync"])
        name = "1/1"
        self.assertIn(" fresh incarnation=", c.log(name))
        c.kill("coordinator/1")
        self.put(20)
        with c.wire(name) as w:
            ask = request(1)
            ask.snapshot.SetInParent()
            self.assertEqual(w.ask(ask, 30).code, wire.OK)
        for state, count in (("equal", 5), ("ahead", 0)):
            c.kill(name)
            said = self.log_since(name)
            c.start(name)
            line = self.started(name, state, "skipped", state, said)
            self.assertEqual(int(line["applied"]) == int(line["snapshot"]), state == "equal", line)
            self.put(count)
        self.assertNotIn("fetching", said())

    def test_what_is_whole_is_skipped(self):
        """Ahead of the pointer and at it; without reading a snapshot, of which there is none."""
        c = self.group(sets=[*SMALL, "snapshot-trailing-entries=2000"])  # nor is it away for too long
        self.put(100)
        name = c.followers(1)[0]
        self.published(name, 40)
        c.kill(name)
        said = self.log_since(name)
        c.start(name)
        line = self.begun(said)
        self.assertEqual(line["outcome"], "skipped")
        self.assertIn(line["reason"], ("ahead", "equal"))
        self.assertGreaterEqual(int(line["applied"]), int(line["snapshot"]))
        self.whole(name)
        self.assertNotIn("fetching", said())

    def test_a_record_of_an_install_that_says_nothing(self):
        """Garbage in INSTALL while no state was being put in place: told, put aside, and the start goes on."""
        c = self.group(replicas=1)
        self.put(20)
        name = "1/1"
        c.kill(name)
        record = os.path.join(c.data(name), "INSTALL")
        with open(record, "wb") as f:
            f.write(b"garbage" * 10)
        said = self.log_since(name)
        c.start(name)
        self.assertRegex(said(), r"WARN .*put aside .*/quarantine/install-1: it is damaged")
        self.assertFalse(os.path.exists(record))
        with open(os.path.join(c.data(name), "quarantine", "install-1"), "rb") as f:
            self.assertEqual(f.read(), b"garbage" * 10)
        self.assertEqual(self.begun(said)["outcome"], "skipped")
        self.whole(name)

    def test_each_unusable_machine_is_replaced(self):
        c = self.group()
        self.put(60)
        name = c.followers(1)[0]
        fsm = os.path.join(c.data(name), "fsm")
        cases = [("missing", "missing", lambda: shutil.rmtree(fsm)),
                 ("corrupt_fsm", "corrupt_fsm", lambda: damage.flip(3)(damage.newest(fsm, "MANIFEST-*"))),
                 ("corrupt_fsm", "corrupt_fsm", lambda: damage.flip(-5)(damage.newest(fsm, "*.sst"))),
                 ("corrupt_fsm", "corrupt_fsm", lambda: os.remove(damage.newest(fsm, "*.sst")))]
        aside = 0
        for state, reason, break_it in cases:
            self.put(5)
            self.published(name)
            self.terminate(name)  # the newest table is none that a flush had only begun
            break_it()
            with self.subTest(state=state, n=aside):
                said = self.restart(name, state, "fallback", reason)
                self.assertIn("installed index=", said())
                aside += state != "missing"
                self.assertEqual(len(self.quarantined(name, "fsm")), aside)

    def test_of_another_group_and_of_another_cluster(self):
        c = self.group(shards=2)
        self.put(20)
        name = c.followers(1)[0]
        other = self.cluster(shards=1, replicas=1, sets=SMALL).up()
        other.down()
        c.kill(name, "2/1")
        for n, source in enumerate((c.data("2/1"), other.data("1/1"))):
            if n:
                c.kill(name)
            shutil.rmtree(os.path.join(c.data(name), "fsm"))
            shutil.copytree(os.path.join(source, "fsm"), os.path.join(c.data(name), "fsm"))
            said = self.restart(name, "foreign_epoch", "fallback", "foreign_epoch")
            self.assertIn("copied from elsewhere", said())
            self.assertEqual(len(self.quarantined(name, "fsm")), n + 1)

    def test_a_machine_that_says_nonsense_of_itself_or_is_of_another_history(self):
        """Checksums that hold: what it says does not decode, or its term, or the pointer's, is not the log's (I5)."""
        c = self.group()
        self.put(60)
        name = c.followers(1)[0]
        for n, (what, state) in enumerate((("mangled", "unreadable"), ("term", "foreign_term"), ("pointer", "foreign_term"))):
            with self.subTest(what):
                self.put(5)
                c.kill(name)
                subprocess.run([tool("wrongmeta"), c.data(name), what], check=True, timeout=60)
                said = self.restart(name, state, "fallback", state)
                self.assertEqual(said().count("cold start state="), 1)
                self.assertEqual(self.quarantined(name, "fsm"), [f"fsm-{i + 1}" for i in range(n + 1)])
                self.assertIn(f"put aside {c.data(name)}/quarantine/fsm-{n + 1}: ", said())
                self.assertIn("installed index=", said())
                self.assertEqual(self.quarantined(name, "log"), [])
        self.serves_all(name)

    def older_machine(self, sets, puts, covered):
        """A replica whose fsm/ is that of `puts` writes ago; not started."""
        c = self.group(sets=sets)
        self.put(20)
        name = c.followers(1)[0]
        self.terminate(name)
        old = c.answer_of(c.leader(1)).last  # at least; leases are entries, too
        fsm = os.path.join(c.data(name), "fsm")
        shutil.copytree(fsm, fsm + ".old")
        c.start(name)
        self.put(puts)
        self.published(name, old + puts // 2)
        if not covered:
            wait_for("its log to begin behind the old one", 30, lambda: c.answer_of(name).log_first > old + 1)
        c.kill(name)
        shutil.rmtree(fsm)
        shutil.move(fsm + ".old", fsm)
        return name

    def test_an_older_machine_that_the_log_covers(self):
        """It is replayed, with an alarm: it cannot have come about by itself."""
        name = self.older_machine(["snapshot-entries=40", "snapshot-trailing-entries=100000"], 100, covered=True)
        said = self.restart(name, "behind_covered", "skipped", "behind")
        self.assertIn(" WARN ", next(x for x in said().splitlines() if "cold start state=" in x))
        self.assertNotIn("installed index=", said())

    def test_an_older_machine_that_the_log_does_not_cover(self):
        name = self.older_machine(SMALL, 400, covered=False)
        said = self.restart(name, "behind_gap", "executed", "gap")
        self.assertIn("installed index=", said())
        self.assertEqual(self.metric(name, "holdfast_fsm_cold_start_restore_total", '{outcome="skipped",reason="behind"}'), 0)

    def test_forced(self):
        """--cold-start=restore: the old way, for comparison."""
        c = self.group()
        self.put(60)
        name = c.followers(1)[0]
        c.kill(name)
        c.sets = SMALL + ["cold-start=restore"]
        said = self.log_since(name)
        c.up()
        self.assertEqual([self.begun(said)[x] for x in ("outcome", "reason")], ["executed", "forced"])
        self.whole(name)
        self.assertIn("installed index=", said())


class Local(Cold):
    """--snapshot-keep: a group of one has a way back of its own."""

    def kept(self, name):
        folder = os.path.join(self.c.data(name), "snapshots")
        return sorted(x for x in os.listdir(folder) if x.startswith("keep-") and x.endswith(".stream"))

    def setUp(self):
        self.group(replicas=1, sets=SMALL + ["snapshot-keep=2"])
        self.put(200)
        wait_for("two local streams", 30, lambda: len(self.kept("1/1")) == 2)
        self.put(60)
        self.c.kill("1/1")

    def everything_is_there(self):
        with self.c.at_leader(1) as w:
            for key, value in self.puts.items():
                self.assertEqual(w.ask(request(1, get=key), 20).value, value, key)

    def test_a_lost_machine_is_restored(self):
        shutil.rmtree(os.path.join(self.c.data("1/1"), "fsm"))
        said = self.restart("1/1", "missing", "fallback", "missing")
        self.assertIn("restored from a local stream", said())
        self.everything_is_there()

    def test_a_damaged_stream_is_told_and_not_used(self):
        shutil.rmtree(os.path.join(self.c.data("1/1"), "fsm"))
        folder = os.path.join(self.c.data("1/1"), "snapshots")
        damage.middle(os.path.join(folder, self.kept("1/1")[-1]))
        said = self.log_since("1/1")
        try:
            self.c.start("1/1")  # by the one before it, if the log still begins there
            self.everything_is_there()
        except StartFailed as failed:
            self.assertEqual(failed.code, REFUSED)
            self.assertIn("holdfast backup restore", failed.message)
        self.assertIn("a local stream is not used: snapshot stream: the content does not match its checksum", said())
        self.c.signal_if_running("1/1", 9)
        self.c.await_end("1/1")
        for name in self.kept("1/1"):
            damage.cut(0.5)(os.path.join(folder, name))
        shutil.rmtree(os.path.join(self.c.data("1/1"), "fsm"), ignore_errors=True)
        said = self.log_since("1/1")
        with self.assertRaises(StartFailed) as failed:
            self.c.start("1/1")
        self.assertEqual(failed.exception.code, REFUSED)
        self.assertIn("snapshot stream: ", said())

    def test_forced_by_a_local_stream(self):
        self.c.sets = SMALL + ["snapshot-keep=2", "cold-start=restore"]
        said = self.log_since("1/1")
        self.c.up()
        self.assertEqual([self.begun(said)[x] for x in ("outcome", "reason")], ["executed", "forced"])
        self.assertIn("restored from a local stream", said())
        self.everything_is_there()


class Log(Cold):
    def test_a_damaged_middle_is_rebuilt(self):
        c = self.group()
        self.put(30, size=4000)
        name = c.followers(1)[0]
        c.kill(name)
        damage.middle_of_log(c.data(name))
        said = self.restart(name, "corrupt_log", "fallback", "corrupt_log")
        self.assertIn("this replica votes again", said())
        self.assertEqual(self.quarantined(name, "log"), ["log-1"])
        with open(os.path.join(c.data(name), "identity"), encoding="ascii") as f:
            self.assertNotIn("recovering", f.read())

    def test_a_newer_machine_with_an_older_log(self):
        c = self.group()
        self.put(20)
        name = c.followers(1)[0]
        self.terminate(name)
        last = c.answer_of(c.leader(1)).last  # at least
        log = os.path.join(c.data(name), LOG)
        shutil.copytree(log, log + ".old")
        c.start(name)
        self.put(60)
        self.published(name, last + 10)
        c.kill(name)
        shutil.rmtree(log)
        shutil.move(log + ".old", log)
        self.restart(name, "corrupt_log", "fallback", "corrupt_log")
        self.assertEqual(self.quarantined(name, "log"), ["log-1"])

    def test_what_only_a_damaged_log_held_is_not_lost(self):
        """A has e; B had e and loses its log's middle; C never had e; A is dead: B and C elect nobody. A is back: e is
        there."""
        c = self.group()
        self.put(10, size=4000)
        a = c.leader(1)
        b, last = c.followers(1, a)
        c.kill(last)
        self.put(10, size=4000)
        c.kill(a, b)
        damage.middle_of_log(c.data(b))
        said, of_a, of_last = (self.log_since(n) for n in (b, a, last))
        for name in (b, last):
            damage.launch(c, name)
        wait_for(lambda: f"{b} runs: {said()}", 60, lambda: c.status_of(b) is not None and c.status_of(last) is not None)
        term = max(c.answer_of(n).term for n in (b, last))
        with self.assertRaises(AssertionError):
            c.leader(1, seconds=3)
        for name in (b, last):
            self.assertNotEqual(c.answer_of(name).role, "leader")
        self.assertEqual(self.begun(said)["state"], "corrupt_log")
        self.assertEqual(c.answer_of(b).state, "healing")
        self.assertNotIn("role=leader", said() + of_last())
        c.start(a)
        self.assertIn("role=leader", of_a(), "another one led first")
        with c.at_leader(1) as w:
            for key, value in self.puts.items():
                self.assertEqual(w.ask(request(1, get=key), 20).value, value)
        self.assertGreaterEqual(c.answer_of(a).term, term)
        for name in (b, last):
            self.whole(name)
        c.kill(a)  # what A had is on the others
        self.assertIn(c.leader(1), (b, last))

    def borrow(self, own, other):
        """The machine of another replica of the group, which is stopped, in place of one's own, whose owner is stopped too."""
        fsm = os.path.join(self.c.data(own), "fsm")
        shutil.rmtree(fsm)
        shutil.copytree(os.path.join(self.c.data(other), "fsm"), fsm)

    def test_an_older_machine_of_another_replica(self):
        """It is of this very log: one's own log brings it up, with an alarm."""
        c = self.group(sets=["snapshot-entries=40", "snapshot-trailing-entries=100000"])
        own, other = c.followers(1)
        self.put(20)
        self.terminate(other)
        applied = c.answer_of(own).applied
        self.put(100)
        self.published(own, applied + 50)
        c.kill(own)
        self.borrow(own, other)
        c.start(other)
        said = self.restart(own, "behind_covered", "skipped", "behind")
        line = self.begun(said)
        self.assertLess(int(line["applied"]), int(line["snapshot"]))
        self.assertIn(" WARN ", next(x for x in said().splitlines() if "cold start state=" in x))
        self.assertNotIn("installed index=", said())
        self.assertEqual(self.quarantined(own, ""), [])
        self.serves_all(own)

    def test_a_newer_machine_of_another_replica(self):
        """It holds what one's own log does not: the log counts as one that lost entries (I13)."""
        c = self.group()
        own, other = c.followers(1)
        self.put(20)
        c.kill(own)
        self.put(60)
        self.terminate(other)
        self.borrow(own, other)
        c.start(other)
        said = self.restart(own, "corrupt_log", "fallback", "corrupt_log")
        line = self.begun(said)
        self.assertGreater(int(line["applied"]), int(line["last"]))
        self.assertEqual(self.quarantined(own, "log"), ["log-1"])
        self.assertEqual(self.quarantined(own, "fsm"), [])
        wait_for(lambda: f"it votes again: {said()}", 30, lambda: "this replica votes again" in said())
        self.serves_all(own)


class Traced(Cold):
    def test_a_skip_opens_no_snapshot_body(self):
        """Of snapshots/ only the token is read, though a whole state lies there; asked of the system calls."""
        c = self.group(replicas=1, sets=SMALL + ["snapshot-keep=1"])
        self.put(100)
        folder = os.path.join(c.data("1/1"), "snapshots")
        wait_for("a local stream", 30, lambda: any(x.endswith(".stream") for x in os.listdir(folder)))
        command = faults.command_of(c.pid("1/1"))
        c.kill("coordinator/1", "1/1")
        command[command.index("--snapshot-entries") + 1] = "0"  # a publish of its own is no part of the start
        command[command.index("--snapshot-log-bytes") + 1] = "0"
        trap = faults.Trap(os.path.join(c.dir, "trace"), command=command, trace="openat")
        self.addCleanup(trap.detach)
        wait_for(lambda: f"a start: {trap.output()}", 60, lambda: " ready applied=" in trap.output())
        self.assertEqual(self.begun(trap.output)["outcome"], "skipped")
        opened = [x for x in re.findall(r'"([^"]*)"', "\n".join(trap.lines())) if "/snapshots/" in x]
        self.assertIn(os.path.join(folder, "token"), opened)
        self.assertEqual([x for x in opened if ".stream" in x], [])

    def ready_page(self, name):
        try:
            return 200 if damage.http_get(self.c.processes[name]["http"], "/readyz") else 0
        except urllib.error.HTTPError as refused:
            return refused.code
        except OSError:
            return 0  # not there yet

    def test_not_ready_before_it_applied_what_its_leader_had_committed(self):
        """A replica that missed a lot hears its leader; each piece is slow to be durable, and so to be applied."""
        c = self.group(sets=[], env=SLOW_ELECTIONS)  # a sync is shorter than an election
        name = c.followers(1)[0]
        command = faults.command_of(c.pid(name))
        self.put(5)
        c.kill(name)
        self.put(200, size=100000)
        commit = c.answer_of(c.leader(1)).commit
        trap = faults.Trap(os.path.join(c.dir, "trace"), "fdatasync:delay_enter=2000000", command=command, trace="fdatasync",
                           only=[faults.segment_in_use(c.data(name))])
        self.addCleanup(trap.detach)
        pages = []  # (the page, before it: was a leader heard, was "ready" said)

        def look():
            said = trap.output()
            pages.append((self.ready_page(name), re.search(r" leader=[1-9]", said) is not None, " ready applied=" in said))
            return pages[-1][0] == 200
        wait_for(lambda: f"it is ready: {trap.output()}", 120, look, 0.01)
        ready = wait_for("its line", 30, lambda: re.search(r" ready applied=(\d+) ", trap.output()))  # a moment after the page
        self.assertGreaterEqual(int(ready.group(1)), commit, "it was ready too early")
        self.assertIn((503, True, False), pages, "no page was seen between its leader's first word and its being ready")
        self.assertEqual({page for page, _, said in pages if said} - {200}, set())
        self.assertGreater(len(trap.hits()), 1, "it came in one piece")


class Refused(Cold):
    def test_a_group_of_one_names_the_backup(self):
        c = self.group(replicas=1)
        self.put(30, size=4000)
        c.kill("1/1")
        keep = c.data("1/1") + ".keep"
        shutil.copytree(c.data("1/1"), keep)
        fsm = os.path.join(c.data("1/1"), "fsm")
        for break_it in (lambda: shutil.rmtree(fsm), lambda: damage.flip(3)(damage.newest(fsm, "MANIFEST-*")),
                         lambda: damage.middle_of_log(c.data("1/1"))):
            break_it()
            with self.assertRaises(StartFailed) as failed:
                c.start("1/1")
            self.assertEqual(failed.exception.code, REFUSED)
            self.assertIn("holdfast backup restore", failed.exception.message)
            self.assertEqual(self.quarantined("1/1", ""), [])
            shutil.rmtree(c.data("1/1"))
            shutil.copytree(keep, c.data("1/1"))
        c.start("1/1")

    def test_a_wiped_voter_is_told_why(self):
        c = self.group()
        self.put(10)
        name = c.followers(1)[0]
        c.kill(name)
        c.script("wipe", name)
        with self.assertRaises(StartFailed) as failed:
            c.start(name)
        self.assertEqual(failed.exception.code, REFUSED)
        for word in ("votes in cluster", "is empty", "bring its directory back"):
            self.assertIn(word, failed.exception.message)

    def test_a_wiped_learner_comes_back(self):
        c = self.group(learners=1)
        self.put(100)
        c.kill("1/4")
        c.script("wipe", "1/4")
        said = self.log_since("1/4")
        c.start("1/4")
        self.started("1/4", "missing", "fallback", "missing", said)
        self.whole("1/4")
        self.assertEqual(c.answer_of("1/4").role, "learner")
        wait_for("its log is whole", 30, lambda: "the raft log holds again what it lost" in said())
        self.assertIn("this learner, which has no vote, is whole again", said())
        self.assertNotIn("votes again", said())
        with open(os.path.join(c.data("1/4"), "identity"), encoding="ascii") as f:
            identity = f.read()
        self.assertNotIn("recovering", identity)
        self.assertIn("election_ms", identity)  # it came with the state
        c.kill("1/4")
        self.put(5)
        c.start("1/4")
        self.whole("1/4")


if __name__ == "__main__":
    unittest.main(verbosity=2)
