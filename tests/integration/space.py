#!/usr/bin/env python3
# space.py: no room, for the log alone, for the state machine alone, at a start; a file system that turns read-only.
import contextlib
import json
import os
import re
import shutil
import sys
import unittest

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "support"))
import damage  # noqa: E402
import faults  # noqa: E402
import histories  # noqa: E402
import wire  # noqa: E402
from cluster import FULL, LOG, PATIENCE, SLOW_ELECTIONS, ClusterTest, Hammer, StartFailed, parse_dump, wait_for  # noqa: E402
from wire import request  # noqa: E402

VALUE = b"v" * 30000


class Puts:
    """Puts numbered keys, each once, and remembers what was said of each."""

    def __init__(self, c):
        self.c, self.said = c, {}

    def put(self, w, deadline_ms=int(4000 * PATIENCE)):
        key = b"n%06d" % len(self.said)
        reply = w.ask(request(1, put=(key, VALUE), deadline_ms=deadline_ms), 60)
        self.said[key] = reply.code
        return reply.code

    def until(self, w, code, most=3000):
        for _ in range(most):
            if self.put(w) == code:
                return
        raise AssertionError(f"never {code}: {sorted(set(self.said.values()))}")

    def acked(self):
        return [k for k, code in self.said.items() if code == wire.OK]

    def faults(self, dump):
        """Acknowledged and not there, or refused and there."""
        lost = [k for k, code in self.said.items() if code == wire.OK and dump.get(k) != VALUE]
        there = [k for k, code in self.said.items() if code not in (wire.OK, wire.OUTCOME_UNKNOWN) and k in dump]
        return [f"lost: {k}" for k in lost] + [f"refused, and there: {k} ({self.said[k]})" for k in there]


class Space(ClusterTest):
    def one_line(self, done, *words):
        lines = done.stderr.splitlines()
        self.assertEqual(len(lines), 1, lines)
        for word in words:
            self.assertIn(word, lines[0])

    def on_small_disks(self, c, stack, part, megabytes, names):
        """Puts that part of the replicas' directories on small file systems."""
        c.kill(*names)
        folders = [stack.enter_context(faults.small_disk(c, os.path.normpath(os.path.join(c.data(n), part)), megabytes)) for n in names]
        c.start_in_background(*names)
        return [faults.Filler(f) for f in folders]

    def refused_until_there_is_room(self, c, fillers):
        leader = c.leader(1)
        term, puts = c.answer_of(leader).term, Puts(c)
        with c.wire(leader) as w:
            self.assertEqual(puts.put(w, 20000), wire.OK)
            for f in fillers:
                f.fill()
            puts.until(w, wire.NO_SPACE)
            # what was under way when the room ran out ends as unknown; from then on it is surely not done
            self.assertLessEqual(set(puts.said.values()), {wire.OK, wire.OUTCOME_UNKNOWN, wire.NO_SPACE})
            self.assertLessEqual(list(puts.said.values()).count(wire.OUTCOME_UNKNOWN), 2)
            for _ in range(5):
                for f in fillers:
                    f.fill()  # what was given back meanwhile
                self.assertEqual(puts.put(w), wire.NO_SPACE, "while it is full, it is known")
            self.assertEqual(w.ask(request(1, get=puts.acked()[-1]), 30 * PATIENCE).value, VALUE)
            self.one_line(c.cli("--timeout", "3000", "put", "x", "y", code=3), "no space")
            self.says_so(c, leader)
            c.cli("get", puts.acked()[0].decode())
            c.cli("scan", "--keys-only", "--limit", "5")
            c.cli("get", "x", code=1)
            if FULL:  # what RocksDB tries meanwhile does no harm
                faults.pause(90)
                self.assertEqual(puts.put(w), wire.NO_SPACE)
            for f in fillers:
                f.free()
            wait_for("writes again", 60, lambda: puts.put(w) == wire.OK)
        self.assertEqual(c.answer_of(leader).term, term, "no election came of it")
        c.digests_agree(1)
        self.assertEqual(puts.faults(parse_dump(c.cli("dump", text=False).stdout)), [])
        c.kill(*c.names(1))
        c.start_in_background(*c.names(1))
        self.assertEqual(puts.faults(parse_dump(c.cli("dump", text=False).stdout)), [], "after a start")

    def says_so(self, c, name):
        """Everybody answers and nobody is dead, yet the cluster is not what it should be."""
        wait_for("status to tell", 60, lambda: "no space" in c.cli("status", code=None).stdout)

        def told():
            done = c.cli("--json", "status", code=None)
            said = json.loads(done.stdout) if done.stdout else {"problems": []}
            return any(f"replica {name}: no space for" in p for p in said["problems"]) and (done.returncode, said["healthy"])
        self.assertEqual(wait_for(f"a problem of {name}", 60, told), (7, False))

    def test_no_room_for_the_logs(self):
        c = self.cluster(shards=1, sets=["log-segment-bytes=1MiB"], env=SLOW_ELECTIONS).up()
        with contextlib.ExitStack() as stack:
            self.refused_until_there_is_room(c, self.on_small_disks(c, stack, LOG, 12, c.names(1)))

    def test_no_room_for_the_state_machines(self):
        c = self.cluster(shards=1, sets=["fsm-buffer-bytes=1MiB"], env=SLOW_ELECTIONS).up()
        with contextlib.ExitStack() as stack:
            self.refused_until_there_is_room(c, self.on_small_disks(c, stack, "fsm", 12, c.names(1)))

    def test_no_room_for_the_state_machines_own_log(self):
        c = self.cluster(shards=1, replicas=1, sets=["fsm-buffer-bytes=1MiB", "fsm-sync-mode=sync"]).up()
        with contextlib.ExitStack() as stack:
            self.refused_until_there_is_room(c, self.on_small_disks(c, stack, "fsm", 16, c.names(1)))

    def test_no_room_to_heal(self):
        """Status says why the state does not come, what it takes and what there is; with room it comes by itself."""
        c = self.cluster(shards=1).up()
        c.cli("load", "-", stdin="".join(f"k{i:04d}\t{'x' * 1000}\n" for i in range(2000)))
        victim = c.followers(1)[0]
        c.kill(victim)
        shutil.rmtree(os.path.join(c.data(victim), "fsm"))
        with contextlib.ExitStack() as stack:
            folder = stack.enter_context(faults.small_disk(c, c.data(victim), 192))
            room = os.statvfs(folder)
            with open(os.path.join(folder, "filler"), "wb") as f:
                os.posix_fallocate(f.fileno(), 0, room.f_bavail * room.f_frsize - (8 << 20))
            damage.launch(c, victim)

            def problem():
                return next((p for p in c.status()["problems"] if f"replica {victim}: " in p and "no room" in p), "")
            found = wait_for("status to tell", 60, lambda: re.search(
                r"state machine missing, .*it takes (\d+) bytes and leaves (\d+) to others, the disk has room for (\d+)$",
                problem()))  # between two tries it says something else
            takes, leaves, there = map(int, found.groups())
            self.assertGreater(takes, 100000)
            self.assertGreater(takes + leaves, there)
            os.remove(os.path.join(folder, "filler"))
            wait_for("the state", 120, lambda: (s := c.status_of(victim)) and s.state == "ready" and not s.trouble)
            c.digests_agree(1)

    def test_one_state_machine_without_room(self):
        """As a follower it is in nobody's way; the leader's death does not bring it to the lead for good."""
        c = self.cluster(shards=1, sets=["fsm-buffer-bytes=1MiB"]).up()
        leader = c.leader(1)
        full, other = c.followers(1, leader)
        with contextlib.ExitStack() as stack:
            filler, = self.on_small_disks(c, stack, "fsm", 12, [full])
            since = len(c.log(full))
            filler.fill()
            puts = Puts(c)
            with c.at_leader(1) as w:
                while "no space" not in c.log(full)[since:]:
                    self.assertEqual(puts.put(w, 20000), wire.OK)
                    self.assertLess(len(puts.said), 3000)
                for _ in range(20):
                    self.assertEqual(puts.put(w, 20000), wire.OK)
            said = [line for line in faults.complaints(c.log(full)[since:]) if "no space" in line]
            self.assertEqual(len(said), 1, f"said once: {said}")
            self.says_so(c, full)

            def given_back():
                """As a leader it could not even answer reads."""
                if "handing leadership over: no space for the state machine" in c.log(full)[since:]:
                    return True
                with c.wire(c.leader(1)) as w:
                    w.try_ask(request(1, transfer=int(full.split("/")[1])), 2.0)
                return False
            wait_for("the lead to be given back", 60, given_back, 1)
            wait_for("a leader that serves", 60, lambda: c.leader(1) != full)
            c.cli("--timeout", "20000", "put", "between", "1")
            leader = wait_for("a leader that serves", 60, lambda: (n := c.leader(1)) != full and n)
            other = next(n for n in c.names(1) if n not in (full, leader))
            for _ in range(3 if FULL else 1):
                c.kill(leader)
                wait_for(f"{other} to lead", 120, lambda: (s := c.status_of(other)) is not None
                         and s.role == "leader" and s.state == "ready")
                c.cli("--timeout", "20000", "put", "after", "1")
                c.start(leader)
                leader, other = other, leader
            filler.free()
            c.digests_agree(1, seconds=60)
            self.assertEqual(puts.faults(parse_dump(c.cli("dump", text=False).stdout)), [])

    def test_a_start_without_room(self):
        """It says that it is room that is missing, changes nothing, and starts when there is some."""
        for part, size in (("fsm", 8), (LOG, 8), ("", 24)):
            c = self.cluster(shards=1, replicas=1, sets=["log-segment-bytes=1MiB"]).up()
            c.cli("put", "k", "v")
            with contextlib.ExitStack() as stack:
                filler, = self.on_small_disks(c, stack, part, size, ["1/1"])
                c.cli("put", "k", "w")
                c.kill("1/1")
                filler.fill()
                try:
                    c.start("1/1")  # the log alone needs none to start
                    self.assertEqual(part, LOG)
                except StartFailed as failed:
                    self.assertEqual(failed.code, 6, failed.message)
                    for word in (c.data("1/1"), "no space", "make room"):
                        self.assertIn(word, failed.message)
                    self.assertEqual(len(failed.message.splitlines()), 1, failed.message)
                filler.free()
                if c.pid("1/1") is None:
                    c.start("1/1")
                self.assertEqual(c.cli("get", "k").stdout, "w\n")
                c.cli("put", "k", "x")

    def test_a_file_system_turns_read_only(self):
        """As the kernel does on an error. The process ends with one line, the others go on; after a repair all is there."""
        c = self.cluster(shards=1, sets=["fsm-buffer-bytes=64KiB"]).up()
        made = []
        for role in ("follower", "leader"):
            name = c.leader(1) if role == "leader" else c.followers(1)[0]
            c.kill(name)
            disk = faults.Ext4(os.path.join(c.dir, "image-" + role))
            with faults.moved_to(c, c.data(name), disk):
                c.start(name)
                if role == "leader":
                    c.transfer(1, name)
                h = Hammer(c, role, hot=3, unique=2, window=16, pause_us=1500)
                h.await_acks(100)
                since = len(c.log(name))
                disk.fail()
                c.await_end(name)
                # a warning, such as of a quorum that was lost, is another matter
                said = [line for line in faults.complaints(c.log(name)[since:]) if " WARN " not in line]
                self.assertEqual(len(said), 1, said)
                for word in (c.data(name), "Read-only file system", "check the disk"):
                    self.assertIn(word, said[0])
                h.await_acks(50)
                with self.assertRaises(StartFailed) as failed:
                    c.start(name)
                self.assertEqual(failed.exception.code, 6)
                self.assertIn("writable", failed.exception.message)
                disk.unmount()
                disk.repair()
                disk.mount(c.data(name))
                c.start(name)
                h.await_acks(50)
                h.stop()
                made.append(h)
                c.digests_agree(1)
                c.transfer(1, name)
                self.assertEqual(histories.judge(c, made, parse_dump(c.cli("dump", text=False).stdout)), [])
            c.start_in_background(*c.names(1))  # moving back killed them


if __name__ == "__main__":
    unittest.main(verbosity=2)
