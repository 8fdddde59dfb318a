#!/usr/bin/env python3
# partitions.py: hosts that do not hear each other, loaded from both sides: who can goes on, nothing is lost or stale.
import os
import random
import signal
import sys
import time
import unittest

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "support"))
import cluster  # noqa: E402
import histories  # noqa: E402
import netns  # noqa: E402
import starts  # noqa: E402
import wire  # noqa: E402
from cluster import FULL, PATIENCE, parse_dump, wait_for  # noqa: E402
from wire import request  # noqa: E402

SEED = int(os.environ.get("HOLDFAST_CHAOS_SEED", "0")) or random.SystemRandom().randrange(1, 1 << 31)
BOUND_S = 0.65                        # the longest election time-out
LEADER_WITHIN_S = 10 * BOUND_S        # a leader that stays
STAYS_S = 2 * BOUND_S                 # … for so long
TURNS = 3  # for that: a busy machine stalls now and then, what is wrong is late each time
CLIENTS = ["client/1", "client/2"]


class Partitions(netns.NetTest):
    def setUp(self):
        self.random, self.asleep, self.keys = random.Random(SEED), None, 0
        print(f"{self.id()}: replay with HOLDFAST_CHAOS_SEED={SEED}", file=sys.stderr)

    def begin(self, replicas=3, **options):
        c = self.net_cluster(replicas=replicas, coordinators=2, clients=2)
        c.up()
        shape = dict(hot=3, unique=1, window=16, pause_us=2000, deadline_ms=2500, seed=SEED, **options)
        made = [c.hammer(tag, host, **shape, **extra) for tag, host, extra in [
            ("p", "client/1", {}), ("q", "client/2", {}), ("r", "client/1", {"routed": True}),
            ("s", "client/2", {"routed": True})]]
        for h in made:
            h.await_acks(20)
        return c, made

    def judge(self, c, made):
        for h in made:
            h.await_more_than(50)
        counts = [h.stop() for h in made]
        c.digests_agree(1)
        dump = parse_dump(c.cli("dump", text=False).stdout)
        print(f"{self.id().rpartition('.')[2]}: {counts}, {len(dump)} keys at the end", file=sys.stderr)
        faults = starts.faults(c, c.page)
        self.assertEqual(histories.judge(c, made, dump) + faults, [])

    @staticmethod
    def view(c, names):
        """(leader, term) that a majority of all replicas, these asked, agree on; None when there is none."""
        said = [s for s in (c.status_of(n, 1.0) for n in names) if s is not None and s.leader]
        for s in said:
            if s.role == "leader" and s.state == "ready" and \
                    sum(o.leader == s.replica and o.term == s.term for o in said) > c.shape["replicas"] // 2:
                return s.replica, s.term
        return None

    def stays(self, c, names):
        """Waits for a leader that is the same for a while; was it found within ten times the bound?"""
        seen, since, begin, views = None, time.monotonic(), time.monotonic(), []
        while True:
            now, view = time.monotonic(), self.view(c, names)
            if view != seen:
                seen, since = view, now
                views.append((round(now - begin, 2), view))
            if seen and now - since >= STAYS_S:
                if since - begin >= LEADER_WITHIN_S * PATIENCE:
                    print(f"late: {views}", file=sys.stderr)
                return since - begin < LEADER_WITHIN_S * PATIENCE
            self.assertLess(now - begin, 10 * LEADER_WITHIN_S * PATIENCE, f"no leader stays: {views}")
            time.sleep(0.05)

    def in_time(self, once):
        """Does it again while a leader that stays is found too late, which it may be now and then."""
        self.assertTrue(any(once() for _ in range(TURNS)), "a leader that stays is found too late each time")

    # ---- faults: each takes (cluster, leader, others), applies its rules, returns who must go on: (hammers, replicas)

    def cut_leader_off(self, c, leader, others):
        """The leader with a client and a coordinator on one side, the majority with theirs on the other."""
        c.net.sides([leader, "client/1", "coordinator/1"], [*others, "client/2", "coordinator/2"])
        return "qs", others

    def cut_follower_off(self, c, leader, others):
        lone, other = self.random.sample(others, 2)
        c.net.sides([lone, "client/2", "coordinator/2"], [leader, other, "client/1", "coordinator/1"])
        return "pr", [leader, other]

    def leader_alone(self, c, leader, others):
        c.net.sides([leader], [*others, *CLIENTS, "coordinator/1", "coordinator/2"])
        return "pqrs", others

    def deaf_leader(self, c, leader, others):
        """What the leader sends arrives; nobody's connection to it carries anything."""
        c.net.apply({leader: [f"i tcp dport {netns.RAFT} drop", f"o tcp sport {netns.RAFT} drop"]})
        return "pqrs", others

    def mute_leader(self, c, leader, others):
        """The leader hears the others; nothing it sends on its own connections leaves."""
        c.net.apply({leader: [f"o tcp dport {netns.RAFT} drop", f"i tcp sport {netns.RAFT} drop"]})
        return "pqrs", others

    def packets_from_leader(self, c, leader, others):
        c.net.one_way([leader], others)
        return "pqrs", others

    def packets_to_leader(self, c, leader, others):
        c.net.one_way(others, [leader])
        return "pqrs", others

    def cut_link_of_leader(self, c, leader, others):
        """The leader and one follower do not hear each other; the third hears both."""
        c.net.sides([leader, others[0]], [others[0], others[1]])
        return "pqrs", [leader, *others]

    def cut_link_of_followers(self, c, leader, others):
        c.net.sides([leader, others[0]], [leader, others[1]])
        return "pqrs", [leader, *others]

    def everybody_alone(self, c, leader, others):
        c.net.sides([leader], *([o] for o in others))
        return "", []

    def killed_while_cut_off(self, c, leader, others):
        """Cut off, killed under load, and started again before it hears anybody."""
        going = self.cut_leader_off(c, leader, others)
        c.kill(leader)
        c.start(leader, path="/healthz")
        return going

    def asleep_while_cut_off(self, c, leader, others):
        """Cut off and stopped; what it dreams of when it wakes was true before the cut."""
        going = self.cut_leader_off(c, leader, others)
        c.send_signal(leader, signal.SIGSTOP)
        self.asleep = leader
        return going

    def round(self, c, made, fault):
        """Was a leader found in time?"""
        in_time, by_tag = True, {os.path.basename(h.path)[8]: h for h in made}  # history-TAG.tsv
        leader = c.leader(1)
        others = [n for n in c.names() if n != leader]
        begin = time.monotonic()
        try:
            going, majority = getattr(self, fault)(c, leader, others)
            if going:
                in_time = self.stays(c, majority)
                for tag in going:
                    by_tag[tag].await_acks(20)
            else:
                wait_for("no leader", 60, lambda: all(s is None or s.role != "leader"
                                                      for s in (c.status_of(n, 1) for n in c.names())))
        finally:
            c.net.heal()
            if self.asleep:
                c.signal_if_running(self.asleep, signal.SIGCONT)
            self.asleep = None
        healed = time.monotonic()
        for h in made:
            h.await_acks(20)
        wait_for("all ready again", 60, lambda: all(c.http(n, "/readyz")[0] == 200 for n in c.names()))
        print(f"{fault}: {healed - begin:.1f} s, healed in {time.monotonic() - healed:.1f} s", file=sys.stderr)
        return in_time

    FAULTS = ["cut_leader_off", "cut_follower_off", "leader_alone", "deaf_leader", "mute_leader", "packets_from_leader",
              "packets_to_leader", "cut_link_of_leader", "cut_link_of_followers", "everybody_alone", "killed_while_cut_off",
              "asleep_while_cut_off"]

    def test_partitions(self):
        c, made = self.begin()
        for _ in range(8 if FULL else 1):
            for fault in self.random.sample(self.FAULTS, len(self.FAULTS) if FULL else 6):
                self.in_time(lambda: self.round(c, made, fault))  # noqa: B023
        self.assertEqual(sorted(c.alive()), sorted(c.names()), "a replica ended by itself")
        self.judge(c, made)

    def test_bridge(self):
        """Five replicas: two on each side do not hear the other two, the fifth hears all: one leader, and it stays."""
        c, made = self.begin(replicas=5)
        for where in ("side", "bridge") * (5 if FULL else 1):
            self.in_time(lambda: self.bridged(c, made, where))  # noqa: B023
        self.judge(c, made)

    def bridged(self, c, made, where):
        leader = c.leader(1)
        rest = [n for n in c.names() if n != leader]
        self.random.shuffle(rest)
        bridge = leader if where == "bridge" else rest.pop()
        side = [leader] if where == "side" else [rest.pop()]
        side.append(rest.pop())
        try:
            c.net.sides([*side, bridge, "client/1", "coordinator/1"], [*rest, bridge, "client/2", "coordinator/2"])
            in_time = self.stays(c, c.names())
            made[0].await_acks(20)
        finally:
            c.net.heal()
        for h in made:
            h.await_acks(20)
        return in_time

    def test_loss(self):
        """Three packets of ten are lost on every link: slow, but it goes on, and nothing is wrong."""
        c, made = self.begin()
        for percent in (10, 20, 30) if FULL else (30,):
            c.net.loss(percent)
            try:
                for h in made:
                    h.await_acks(100 if FULL else 10, seconds=240)
                self.lossy(c, percent)
            finally:
                c.net.heal()
        self.judge(c, made)

    def lossy(self, c, percent):
        """Packets were really lost, at every replica: by chance, so far less than the share asked for is enough."""
        wait_for("packets enough to judge by", 120, lambda: all(c.net.lost().get(n, (0, 0))[0] > 300 for n in c.names()), 0.2)
        lost = c.net.lost()
        print(f"{percent} %: packets arrived and dropped: {lost}", file=sys.stderr)
        for name in c.names():
            arrived, dropped = lost[name]
            self.assertGreater(dropped, arrived * percent / 400, name)

    # ---- reads of a leader that was cut off

    def reads_of_cut_leader(self, c, rounds):
        """Asks a leader that is alone while the others elect and write; (good, what the checker said)."""
        path = os.path.join(c.dir, "history-cut.tsv")
        with open(path, "w", encoding="utf-8") as out:
            for _ in range(rounds):
                wait_for("a round with one leader before the cut", 120, lambda: self.read_of_cut_leader(c, out))
        return cluster.lincheck(path)

    def read_of_cut_leader(self, c, out):
        """False: who was to be cut off did not lead any more. Each time on a key of its own."""
        self.keys += 1
        i, old = self.keys, c.leader(1)
        others = [n for n in c.names() if n != old]
        with c.wire(old) as w:
            if not self.put(out, w, i, "past"):
                return False
            c.net.sides([old], others)
            try:
                wait_for("a new leader", 60, lambda: self.read(out, w, i) or self.view(c, others))
                wait_for("its write", 60, lambda begin=time.monotonic_ns(): self.put_at(c, out, others, i, begin))
                for _ in range(20):
                    self.read(out, w, i)
            finally:
                c.net.heal()
        return True

    def put_at(self, c, out, names, i, begin):
        """At whoever of these leads now; all tries count as one put, which began with the first."""
        view = self.view(c, names)
        if view is None:
            return False
        with c.wire(f"1/{view[0]}") as w:
            return self.put(out, w, i, "present", begin)

    def put(self, out, w, i, value, begin=None):
        begin = begin or time.monotonic_ns()
        reply = w.try_ask(request(1, put=(b"key-%d" % i, value.encode())), 5 * PATIENCE)
        if reply is None or reply.code in cluster.AtLeader.AGAIN:  # another one came to lead, or it does not serve yet
            return False
        self.assertEqual(reply.code, wire.OK)
        out.write(f"w\tput\tkey-{i}\t{value}\t-\t{begin}\t{time.monotonic_ns()}\tok\t-\tOK\n")
        return True

    @staticmethod
    def read(out, w, i):
        begin = time.monotonic_ns()
        reply = w.try_ask(request(1, get=b"key-%d" % i, deadline_ms=50), 0.2 * PATIENCE)
        if reply is not None and reply.code == wire.OK:
            out.write(f"r\tget\tkey-{i}\t-\t-\t{begin}\t{time.monotonic_ns()}\tok\t{reply.value.decode()}\tOK\n")

    def test_reads_of_a_leader_that_is_cut_off(self):
        c = self.net_cluster(replicas=3).up()
        good, said = self.reads_of_cut_leader(c, 20 if FULL else 2)
        self.assertTrue(good, said)

    def test_canary_lease_unchecked(self):
        """A leader whose lease never ends must be found by the checker, or the test above proves nothing."""
        c = self.net_cluster(replicas=3, env={"HOLDFAST_PLANTED_BUG": "native.lease_unchecked"}, engine="native").up()
        for _ in range(5):  # a slow machine may let the time of each read pass
            good, said = self.reads_of_cut_leader(c, 1)
            if not good:
                break
        self.assertFalse(good)
        self.assertIn("not linearizable", said)


if __name__ == "__main__":
    unittest.main(verbosity=2)
