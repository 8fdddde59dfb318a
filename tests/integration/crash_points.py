#!/usr/bin/env python3
# crash_points.py: a replica that is being healed dies at a named place, again and again, is started once more and heals: a
# damaged log that is put aside (I13), a learner that lost everything, a state on its way.
import glob
import os
import shutil
import signal
import sys
import unittest

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "support"))
import damage  # noqa: E402
import healing  # noqa: E402
import wire  # noqa: E402
from cluster import LOG, SLOW_ELECTIONS, StartFailed, wait_for  # noqa: E402
from wire import request  # noqa: E402

KILLED = 128 + 9
SEGMENTS = ["log-segment-bytes=65536", "fsm-buffer-bytes=65536"]


class Crashes(healing.Healing):
    def dies_at(self, name, point):
        """Starts `name` with the crash point armed: it is killed there, before it is ready."""
        with self.assertRaises(StartFailed, msg=f"{point} was not passed") as failed:
            self.c.start(name, env={"HOLDFAST_CRASH_POINT": point})
        self.assertEqual(failed.exception.code, KILLED, failed.exception)

    def identity(self, name):
        """The words of the file that says who the replica is; none while it is not there."""
        path = os.path.join(self.c.data(name), "identity")
        if not os.path.exists(path):
            return {}
        with open(path, encoding="ascii") as f:
            return dict(line.split(None, 1) for line in f.read().splitlines() if " " in line)

    def quarantined(self, name):
        return sorted(os.listdir(os.path.join(self.c.data(name), "quarantine")))

    def left_behind(self, *names):
        return [path for name in names for what in ("outgoing-*", "incoming")
                for path in glob.glob(os.path.join(self.c.data(name), "snapshots", what))]

    def healed(self, name):
        """It is started once more and whole; everything is there, also when the one that led meanwhile is gone."""
        since = self.log_since(name)
        self.c.start(name)
        self.whole(name)
        self.put(5)
        self.everything_is_there()
        wait_for(lambda: f"nothing left: {self.left_behind(name)}", 30, lambda: not self.left_behind(name))
        return since()

    def votes_again(self, name):
        """What it said of its log is taken back, durably; and it counts: without one of the others there is a leader."""
        c = self.c
        self.assertNotIn("recovering", self.identity(name))
        leader = c.leader(1)
        c.kill(leader)
        self.assertNotEqual(c.leader(1), leader)
        self.put(5)
        c.start(leader)
        self.whole(leader)
        c.transfer(1, name)
        self.everything_is_there()


class DamagedLog(Crashes):
    def damaged(self):
        """A follower that is down, its log of several segments damaged in the middle."""
        c = self.group(sets=SEGMENTS)
        self.put(60, size=4000)
        name = c.followers(1)[0]
        c.kill(name)
        folder = os.path.join(c.data(name), LOG)
        self.segments = sorted(glob.glob(os.path.join(folder, "seg-*.log")))
        self.assertGreater(len(self.segments), 2)
        damage.middle_of_log(c.data(name))
        return name

    def test_after_it_said_that_it_lost_entries(self):
        """The number is durable before anything of the log is gone; the next start draws another, as it may have spoken."""
        name, seen = self.damaged(), set()
        for _ in range(3):
            self.dies_at(name, "cold.after_recovering")
            seen.add(self.identity(name)["recovering"])
            self.assertEqual(sorted(glob.glob(os.path.dirname(self.segments[0]) + "/seg-*.log")), self.segments)
        self.assertEqual(len(seen), 3, seen)
        said = self.healed(name)
        self.assertIn("state=corrupt_log", said)
        self.assertIn("this replica votes again", said)
        self.assertEqual(self.quarantined(name), ["log-1"])
        self.votes_again(name)

    def test_while_the_log_is_put_aside(self):
        """A segment further with each start, the damaged one among them: what is left looks whole and is not believed."""
        name, deaths = self.damaged(), 0
        while True:
            try:
                self.c.start(name, env={"HOLDFAST_CRASH_POINT": "log.quarantined"})
                break
            except StartFailed as failed:
                self.assertEqual(failed.code, KILLED, failed)
            deaths += 1
            self.assertIn("recovering", self.identity(name))
            self.assertLessEqual(deaths, len(self.segments))
        self.assertGreater(deaths, 0)
        self.whole(name)
        self.c.kill(name)
        self.healed(name)
        moved = glob.glob(os.path.join(self.c.data(name), "quarantine", "log-*", "seg-*.log"))
        self.assertGreaterEqual(len(moved), deaths)
        self.assertIn("this replica votes again", self.c.log(name))
        self.votes_again(name)

    def test_after_the_log_was_begun_anew(self):
        """The new log is whole and holds nothing: that it lacks entries stands in the identity only."""
        name = self.damaged()
        self.dies_at(name, "cold.after_rebuild")
        number = self.identity(name)["recovering"]
        since = self.log_since(name)
        leader = self.c.leader(1)
        self.c.send_signal(leader, signal.SIGSTOP)  # so that nobody gives it back its vote
        try:
            damage.launch(self.c, name)
            self.said(name, since, "cold start state=")
            wait_for("its status", 30, lambda: self.c.status_of(name))
            self.assertEqual(self.identity(name)["recovering"], number)
            self.assertEqual(self.c.answer_of(name).state, "healing")
        finally:
            self.c.send_signal(leader, signal.SIGCONT)
        self.said(name, since, "this replica votes again")
        self.assertNotIn("state=corrupt_log", since())
        self.whole(name)
        self.c.kill(name)
        self.healed(name)
        self.assertEqual(self.quarantined(name), ["log-1"])
        self.votes_again(name)


class WipedLearner(Crashes):
    def test_before_it_is_somebody_again(self):
        """Its log and its peers are there, its identity is not: the next start begins once more."""
        c = self.group(learners=1)
        name = "1/4"
        self.put(60)
        c.kill(name)
        c.script("wipe", name)
        for _ in range(3):
            self.dies_at(name, "rejoin.before_identity")
            self.assertNotIn("recovering", self.identity(name))
        said = self.healed(name)
        self.assertIn("state=missing", said)
        self.assertIn("installed index=", said)
        self.assertNotIn("recovering", self.identity(name))
        self.assertEqual(c.answer_of(name).role, "learner")
        c.kill(name)
        self.put(5)
        self.assertIn("outcome=skipped", self.healed(name))


class Fetched(Crashes):
    def without_state(self, **shape):
        """A follower that lost its state machine and is down."""
        c = self.group(**shape)
        with c.at_leader(1) as w:
            for i in range(60):
                key, value = b"r%02d" % i, os.urandom(20000)  # several chunks, compressed or not
                self.assertEqual(w.ask(request(1, put=(key, value), deadline_ms=20000), 60).code, wire.OK)
                self.puts[key] = value
        name = c.followers(1)[0]
        c.kill(name)
        shutil.rmtree(os.path.join(c.data(name), "fsm"))
        return name

    def test_the_receiver_dies(self):
        """With the first chunk and a later one, and when all is there but not synced."""
        name = self.without_state()
        for point in ("snapshot.chunk_received", "snapshot.chunk_received:3", "snapshot.received", "snapshot.received"):
            self.dies_at(name, point)
            self.assertFalse(os.path.exists(os.path.join(self.c.data(name), "fsm")), "it is not used before it is whole")
            self.assertFalse(os.path.exists(os.path.join(self.c.data(name), "INSTALL")))
            self.assertTrue(self.left_behind(name), "what had arrived")
        said = self.healed(name)
        self.assertIn("state=missing", said)
        self.assertIn("installed index=", said)

    def test_the_sender_dies(self):
        """At its first chunk and at a later one: another leads and sends; what it had made for sending goes at its start."""
        for point in ("snapshot.chunk_written", "snapshot.chunk_written:3"):
            with self.subTest(point):
                name = self.without_state(env=SLOW_ELECTIONS)  # who is to send leads until it is asked
                c = self.c
                sender = c.leader(1)
                c.kill(sender)
                c.start(sender, env={"HOLDFAST_CRASH_POINT": point})
                c.transfer(1, sender)
                damage.launch(c, name)
                wait_for(lambda: f"the end of {sender} at {point}: {c.log(name)[-2000:]}", 60,  # noqa: B023
                         lambda: c.pid(sender) is None)  # noqa: B023
                self.assertTrue(self.left_behind(sender), "the checkpoint it sent")
                self.assertNotEqual(c.leader(1), sender)
                self.whole_but(sender, name)
                c.start(sender)
                self.whole(sender)
                self.whole(name)
                wait_for(lambda: f"nothing left: {self.left_behind(*c.names())}", 30,  # noqa: B023
                         lambda: not self.left_behind(*c.names()))  # noqa: B023
                self.everything_is_there()
                c.close(keep=False)

    def whole_but(self, dead, name):
        wait_for(lambda: f"{name} is whole without {dead}: {self.c.status_of(name)} {self.c.log(name)[-2000:]}", 60,
                 lambda: (s := self.c.status_of(name)) and s.state == "ready" and not s.trouble)


if __name__ == "__main__":
    unittest.main(verbosity=2)
