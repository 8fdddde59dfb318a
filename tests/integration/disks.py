#!/usr/bin/env python3
# disks.py: syncs that fail or come late (strace): the process ends or gives up its lead, nothing is acknowledged wrongly.
import calendar
import glob
import os
import re
import sys
import time
import unittest

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "support"))
import faults  # noqa: E402
import histories  # noqa: E402
from cluster import FULL, LOG, SLOW_ELECTIONS, ClusterTest, Hammer, parse_dump, wait_for  # noqa: E402
from wire import request  # noqa: E402

FATAL = 70
ELECTION_S = 0.65  # the longest time-out of the demo's group constants
STALL_S = 30  # of a sync: so long that a leader that only gives up afterwards is told from one that does at once
TAKEN_OVER_S = 20  # two time-outs and an election, on a machine that has more to do
STEADY_LOOKS, STEADY_S = 10, 0.3  # a thread that strace only looks at goes on between them


class Disks(ClusterTest):
    def load(self, c, **options):
        made = [Hammer(c, tag, hot=3, unique=2, window=16, pause_us=1500, **options, **extra)
                for tag, extra in (("p", {}), ("q", {"routed": True}))]
        for h in made:
            h.await_acks(30)
        return made

    def judge(self, c, made, every_replica=FULL):
        """Histories against the content; each replica leads and shows the same; all are killed and come back."""
        counts = [h.stop() for h in made]
        c.digests_agree(1)
        dump = parse_dump(c.cli("dump", text=False).stdout)
        print(f"{self.id().rpartition('.')[2]}: {counts}, {len(dump)} keys at the end", file=sys.stderr)
        self.assertEqual(histories.judge(c, made, dump), [])
        for name in c.names(1) if every_replica else ():
            c.transfer(1, name)
            self.assertEqual(parse_dump(c.cli("dump", text=False).stdout), dump, f"{name} leads")
        c.kill(*c.names(1))
        c.start_in_background(*c.names(1))
        self.assertEqual(parse_dump(c.cli("dump", text=False).stdout), dump, "after all were killed at once")

    def said(self, c, name, since):
        return faults.complaints(c.log(name)[since:])

    def fatal_line(self, c, name, since, *words):
        """The process said one line about its end, with all `words` in it."""
        lines = [x for x in self.said(c, name, since) if " WARN " not in x]
        self.assertEqual(len(lines), 1, lines)
        for word in words:
            self.assertIn(word, lines[0])

    def fail_in_loop(self, c, name, fault):
        """Lets a system call of the loop thread fail; returns the trap when the process has ended, and its log's size before."""
        since = len(c.log(name))
        trap = faults.Trap(os.path.join(c.dir, f"trap-{name.replace('/', '-')}"), fault, pid=c.pid(name), thread=True)
        self.addCleanup(trap.detach)
        return trap, since

    def nothing_left_after(self, trap, call):
        """After the failed call the loop thread wakes no other thread and writes no file: it closes the segment that was to be,
        if it was about to begin one, says its line and ends."""
        lines = trap.lines()
        at = max(i for i, line in enumerate(lines) if "(INJECTED)" in line)
        self.assertIn(call, lines[at])
        after = [re.search(r"\d+\.\d+ (\w+)\(([^,)]*)", line) for line in lines[at + 1:]]
        calls = [(m.group(1), m.group(2)) for m in after if m]
        self.assertIn(("exit_group", str(FATAL)), calls)
        for name, first in calls:
            self.assertTrue(name in ("exit_group", "getpid", "gettid", "newfstatat") or
                            (name == "write" and first.startswith("2<")) or (name == "close" and f"/{LOG}/spare-" in first),
                            f"{name}({first} after a failed {call}")
        return lines, at

    def rewritten_at_start(self, c, name, lines, at):
        """Starts the process under strace: what the failed sync covered is written again where it was, and synced, before
        the replica takes part."""
        written = next(x for x in reversed(lines[:at]) if " pwrite64(" in x and "seg-" in x)
        place = re.search(r", (\d+), (\d+)\) += ", written)
        size, offset = place.group(1), place.group(2)
        trap = faults.Trap(os.path.join(c.dir, "trap-start"), command=self.commands[name],
                           trace="pwrite64,fdatasync,write")
        self.addCleanup(trap.detach)
        wait_for(lambda: f"{name} to be ready: {trap.output()}", 60, lambda: "ready applied=" in trap.output())
        seen = trap.lines()
        opened = next(i for i, x in enumerate(seen) if " write(2<" in x and "open engine=" in x)
        tail = [i for i, x in enumerate(seen) if " pwrite64(" in x and "seg-" in x and f", {size}, {offset}) = " in x]
        self.assertTrue(tail, f"no write of {size} bytes at {offset} before: {seen[:opened]}")
        synced = [i for i, x in enumerate(seen) if " fdatasync(" in x and "seg-" in x and i > tail[0]]
        self.assertTrue(synced and synced[0] < opened, "the tail is synced before the engine runs")
        hard = [i for i, x in enumerate(seen) if " fdatasync(" in x and "hardstate" in x]
        self.assertGreaterEqual(len([i for i in hard if i < opened]), 2, "both copies of the hard state, too")
        trap.detach()
        pid = int(re.match(r"\d+", seen[0]).group())
        wait_for("its end", 30, lambda: not os.path.exists(f"/proc/{pid}"))

    def refuses_while_the_disk_fails(self, c, name):
        """The rewriting of the tail fails as well: it does not start, and says what to look at."""
        trap = faults.Trap(os.path.join(c.dir, "trap-start"), "fdatasync:error=EIO:when=1+", command=self.commands[name],
                           trace="fdatasync", only=[faults.segment_in_use(c.data(name))])
        self.addCleanup(trap.detach)
        wait_for("the refusal", 60, trap.gone)
        said = faults.complaints(trap.output())
        self.assertEqual((trap.process.returncode, len(said)), (6, 1), said)
        for word in (c.data(name), "Input/output error", "rewriting", "check the disk"):
            self.assertIn(word, said[0])

    def remember_commands(self, c):
        self.commands = {n: faults.command_of(c.pid(n)) for n in c.names(1)}

    def test_a_failed_sync_of_the_log_ends_the_process(self):
        c = self.cluster(shards=1).up()
        self.remember_commands(c)
        made = self.load(c)
        for i in range(4 if FULL else 2):
            leader = c.leader(1)
            name = leader if i % 2 == 0 else c.followers(1, leader)[i // 2]
            trap, since = self.fail_in_loop(c, name, f"fdatasync:error=EIO:when={7 + 5 * i}")
            self.assertEqual(trap.exit_code(), FATAL)
            c.await_end(name)
            lines, at = self.nothing_left_after(trap, "fdatasync")
            self.fatal_line(c, name, since, "seg-", "at offset", "Input/output error", c.data(name), "check the disk")
            for h in made:
                h.await_acks(30)  # the others go on
            if i < 2:
                self.refuses_while_the_disk_fails(c, name)
            self.rewritten_at_start(c, name, lines, at)
            c.start(name)
            for h in made:
                h.await_acks(30)
        self.judge(c, made, every_replica=True)

    def test_a_failed_sync_of_the_hard_state_ends_the_process(self):
        """A vote that could not be stored is not given; each of the two copies."""
        c = self.cluster(shards=1).up()
        made = self.load(c)
        for copy in (1, 2):
            name = c.followers(1)[0]
            since = len(c.log(name))
            trap = faults.Trap(os.path.join(c.dir, "trap"), f"fdatasync:error=EIO:when={copy}", pid=c.pid(name),
                               trace="fdatasync,pwrite64", only=[os.path.join(c.data(name), LOG, "hardstate")])
            self.addCleanup(trap.detach)
            wait_for("the end of strace", 90, lambda: trap.gone() or self.campaigns(c, name), 0.1)
            self.assertEqual(trap.exit_code(), FATAL)
            c.await_end(name)
            self.fatal_line(c, name, since, "hardstate", "Input/output error", c.data(name), "check the disk")
            for h in made:
                h.await_acks(30)
            c.start(name)
        self.judge(c, made)

    @staticmethod
    def campaigns(c, name):
        """Asks for it, once: who is late is not handed the lead. A leader must lose it first."""
        leader = c.leader(1)
        to = name if name != leader else c.followers(1, leader)[0]
        with c.wire(leader) as w:
            w.try_ask(request(1, transfer=int(to.split("/")[1])), 2.0)

    def test_a_failed_sync_of_the_state_machine_loses_nothing(self):
        """A flush of RocksDB: the table, the directory, the manifest. RocksDB then writes no more; nor does the replica."""
        c = self.cluster(shards=1, sets=["fsm-buffer-bytes=65536"]).up()
        made = self.load(c, value_bytes=2000)
        for i, (call, files) in enumerate([("fdatasync", faults.next_tables), ("fsync", lambda folder: [folder]),
                                           ("fdatasync", lambda folder: glob.glob(folder + "/MANIFEST-*"))]):
            name = c.leader(1) if i % 2 == 0 else c.followers(1)[0]
            since = len(c.log(name))
            trap = faults.Trap(os.path.join(c.dir, "trap"), f"{call}:error=EIO:when=1", pid=c.pid(name),
                               trace="fdatasync,fsync", only=files(os.path.join(c.data(name), "fsm")))
            self.addCleanup(trap.detach)
            trap.await_hit()
            c.await_end(name)
            self.assertEqual(trap.exit_code(), FATAL)
            self.fatal_line(c, name, since, "state machine", c.data(name), "Input/output error", "check the disk")
            for h in made:
                h.await_acks(30)
            c.start(name)
        self.judge(c, made)

    def test_a_late_sync_costs_the_lead_only(self):
        """A leader's disk stalls: another leads while it still hangs there; what the old one says afterwards is true."""
        c = self.cluster(shards=1).up()
        made = self.load(c)
        rounds = tries = 0
        while rounds < (3 if FULL else 1):
            tries += 1
            old = c.leader(1)
            since = len(c.log(old))
            trap = faults.Trap(os.path.join(c.dir, "trap"), f"fdatasync:delay_enter={STALL_S}000000:when=3", pid=c.pid(old),
                               trace="fdatasync", thread=True)
            self.addCleanup(trap.detach)
            wait_for("the late sync to begin", 30, lambda: self.in_sync(c.pid(old)))

            def elsewhere():
                found = [c.status_of(n, 1) for n in c.names(1) if n != old]  # noqa: B023
                return next((s for s in found if s is not None and s.role == "leader" and s.state == "ready"), None)
            wait_for("another leader", STALL_S, elsewhere)
            for h in made:
                h.await_acks(30)
            line = trap.await_hit()
            stalled = float(re.search(r"<([\d.]+)>$", line).group(1))
            took_over = self.first_ack_elsewhere(c, old, faults.seconds_of(line))
            if took_over is None and tries < 6:  # so busy a machine that another led before this one came to the sync
                trap.detach()
                continue
            rounds += 1
            self.assertIsNotNone(took_over)
            print(f"another led {took_over:.2f} s after the sync began, which took {stalled:.2f} s", file=sys.stderr)
            self.assertLess(took_over, min(TAKEN_OVER_S, stalled), "the sync came back before another led")
            trap.detach()
            wait_for(f"{old} to follow", 60, lambda: " role=follower " in c.log(old)[since:] and c.status_of(old))  # noqa: B023
            for h in made:
                h.await_acks(30)
        self.assertEqual(sorted(c.alive(1)), sorted(c.names(1)), "nobody ended")
        self.judge(c, made)

    def first_ack_elsewhere(self, c, old, since):
        """Seconds from `since` (wall clock) until another replica said that it leads; None if none did since."""
        best = None
        for name in c.names(1):
            if name == old:
                continue
            for line in c.log(name).splitlines():
                if " role=leader " not in line:
                    continue
                stamp = line.split()[0].rstrip("Z")
                at = calendar.timegm(time.strptime(stamp[:19], "%Y-%m-%dT%H:%M:%S")) + float("0" + stamp[19:])
                if at >= since and (best is None or at < best):
                    best = at
        return None if best is None else best - since

    def test_a_follower_with_a_late_disk_is_not_waited_for(self):
        # Nobody else is to come late: an election would be for want of the leader, or for the delay.
        c = self.cluster(shards=1, env=dict(SLOW_ELECTIONS, HOLDFAST_ELECTION_MS="10000")).up()
        made = self.load(c)
        leader = c.leader(1)
        slow = c.followers(1, leader)[0]
        term = c.answer_of(leader).term
        trap = faults.Trap(os.path.join(c.dir, "trap"), "fdatasync:delay_enter=3000000:when=2", pid=c.pid(slow),
                           trace="fdatasync", thread=True)
        self.addCleanup(trap.detach)
        wait_for("the late sync to begin", 30, lambda: self.in_sync(c.pid(slow)))
        for h in made:
            h.await_acks(50)
        trap.await_hit()
        trap.detach()
        s = c.answer_of(leader)
        self.assertEqual((s.role, s.term), ("leader", term), "no election came of it")
        self.judge(c, made)

    @staticmethod
    def in_sync(pid):
        """Does the loop thread hang before its fdatasync, held by strace, and not for the moment of any call?"""
        for _ in range(STEADY_LOOKS):
            with open(f"/proc/{pid}/stat", encoding="ascii", errors="replace") as f:
                if f.read().rpartition(")")[2].split()[0] != "t":
                    return False
            time.sleep(STEADY_S / STEADY_LOOKS)
        return True


if __name__ == "__main__":
    unittest.main(verbosity=2)
