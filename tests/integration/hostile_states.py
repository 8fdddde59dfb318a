# hostile_states.py: any bytes on the socket at which a replica gives its state to others; attacks of hostile.py.
import re
import struct
import urllib.request

import faults
import wire
from cluster import FULL, PATIENCE, wait_for
from garbage import Sender, metric, mutated

snapshot = wire.module("snapshot")
LIMIT_FETCH = 1024
ROUNDS = 100000 if FULL else 4000


def refused_fetches(address, reason=None):
    name = "holdfast_snapshot_requests_refused_total"
    if reason is None:
        return metric(address, name)
    with urllib.request.urlopen(f"http://{address}/metrics", timeout=10 * PATIENCE) as f:
        return int(re.search(rf'^{name}{{reason="{reason}"}} (\d+)$', f.read().decode(), re.M).group(1))


class States:
    """Of a test with a cluster `c` (one group of three), its id and members, a random generator."""

    def states_door(self, name):
        command = faults.command_of(self.c.pid(name))
        return command[command.index("--snapshot-endpoint") + 1]

    def fetch(self, name, **changed):
        """As the replica behind `name` would ask it for its state, but for what is changed."""
        at = int(name.split("/")[1])
        number = at % 3 + 1
        q = snapshot.Request(version=1, cluster=self.cluster_id, group=1, log_epoch=1, to=at, attempt=5, number=1,
                             from_incarnation=self.members[number].incarnation, **{"from": number})
        q.fetch.CopyFrom(snapshot.Fetch(until=1 << 20))
        for field, value in changed.items():
            if isinstance(value, int):
                setattr(q, field.rstrip("_"), value)
            else:
                getattr(q, field).CopyFrom(value)
        return q

    def wrong_fetches(self):
        """Refused and counted by reason; nothing is made for them."""
        for name in (self.leader, self.follower):
            own, far = int(name.split("/")[1]), (1 << 64) - 1
            wrong = {"cluster": [dict(cluster=self.cluster_id ^ 1), dict(cluster=0)], "group": [dict(group=2)],
                     "epoch": [dict(log_epoch=2), dict(log_epoch=0)],
                     "replica": [dict(to=9), dict(from_=own), dict(from_=0)],
                     "malformed": [dict(version=2), dict(attempt=0), dict(fetch=snapshot.Fetch(offset=2, until=1)),
                                   dict(fetch=snapshot.Fetch(until=far)),
                                   dict(credit=snapshot.Credit(offset=far, until=far))],
                     "gone": [dict(credit=snapshot.Credit(until=5)), dict(stream=7),
                              dict(fetch=snapshot.Fetch(offset=1, until=2))]}
            empty = self.fetch(name)
            empty.ClearField("fetch")
            odd = [(b"a", b"b"), (b"",), (b"\xff",), (b"\xff" * LIMIT_FETCH,), [b""] * 100,
                   (empty.SerializeToString(),)]
            with Sender(self.states_door(name)) as s:
                for reason, changes in wrong.items():
                    before = refused_fetches(self.address(name), reason)
                    frames = [(self.fetch(name, **change).SerializeToString(),) for change in changes]
                    frames += odd if reason == "malformed" else []
                    for some in frames * 20:
                        s.send(*some)
                        s.drain()
                    least = before + 20 * len(frames)
                    wait_for(f"{reason} is counted at {name}", 20, lambda n=name, r=reason, least=least:
                             refused_fetches(self.address(n), r) >= least)
            with Sender(self.states_door(name)) as s:
                s.send(b"\xff" * (LIMIT_FETCH + 1))  # hung up on
            self.assertEqual(metric(self.address(name), "holdfast_snapshot_sending"), 0)

    def mutated_fetches(self):
        for name in (self.leader, self.follower):
            other = dict(cluster=self.cluster_id ^ 1)
            bodies = [self.fetch(name, **other), self.fetch(name, credit=snapshot.Credit(offset=1, until=2), **other),
                      self.fetch(name, end=snapshot.End(code=-1), **other)]
            bodies = [b.SerializeToString() for b in bodies]
            before, sent = refused_fetches(self.address(name)), 0
            with Sender(self.states_door(name)) as s:
                for _ in range(ROUNDS):
                    body = mutated(self.rng, self.rng.choice(bodies))
                    if struct.pack("<Q", self.cluster_id) in body or len(body) > LIMIT_FETCH:
                        continue
                    s.send(body)
                    sent += 1
                    s.drain()
                wait_for("all are refused and counted", 30, lambda n=name, least=before + sent:
                         refused_fetches(self.address(n)) >= least)
