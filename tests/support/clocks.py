# clocks.py: a cluster whose coordinators' wall clocks can be set, and `ticks`, which draws timestamps from all of them and
# checks each (tests/support/ticks.c, wallshift.c).
import json
import os
import re
import signal
import subprocess
import sys
import time
import urllib.request

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path[:0] = [HERE, os.path.join(HERE, "powercut")]
import cluster  # noqa: E402
import powercut  # noqa: E402
import wire  # noqa: E402
from cluster import PATIENCE, Counting, tool, wait_for  # noqa: E402

WRAPPER = """#!/bin/sh
# Starts a coordinator whose wall clock can be set; --id comes first.
LD_PRELOAD='%s' WALLSHIFT_FILE='%s'/"$2" exec '%s' "$@"
"""


class ClockCluster(cluster.Cluster):
    """Each of its coordinators lives by a wall clock of its own."""

    def __init__(self, name, **shape):
        super().__init__(name, **shape)
        self.shifts, bin_dir = os.path.join(self.dir, "wallshift"), os.path.join(self.dir, "build", "bin")
        os.makedirs(bin_dir)
        os.makedirs(self.shifts)
        for program in ("holdfast", "holdfast-shard"):
            os.symlink(tool(program), os.path.join(bin_dir, program))
        library = os.path.join(cluster.BUILD, "lib", "libwallshift.so")
        preload = " ".join(filter(None, [powercut.sanitizer(tool("holdfast-coordinator")), library]))
        with open(os.path.join(bin_dir, "holdfast-coordinator"), "w", encoding="utf-8") as f:
            f.write(WRAPPER % (preload, self.shifts, tool("holdfast-coordinator")))
        os.chmod(f.name, 0o755)
        self.env["HOLDFAST_BUILD_DIR"] = os.path.dirname(bin_dir)

    def set_wall(self, name, seconds):
        """The wall clock of coordinator `name` is off by so much from now on."""
        path = os.path.join(self.shifts, name.split("/")[1])
        with open(path + ".new", "w", encoding="ascii") as f:
            f.write(str(int(seconds * 1000)))
        os.replace(path + ".new", path)

    def coordinators(self):
        return [n for n, row in self.processes.items() if row["role"] == "coordinator"]

    def own_status(self, name, seconds=2.0):
        """What a coordinator says of itself: (Status, CoordinatorStatus), or None."""
        if self.pid(name) is None:
            return None
        with self.wire(name) as w:
            reply = w.try_ask(wire.request(status=True), seconds * PATIENCE)
        return (reply.status, reply.cluster.coordinators[0]) if reply is not None and reply.code == 0 else None

    def active(self, among=None, seconds=60):
        """The coordinator that may issue timestamps; waits for one."""
        def probe():
            for n in among or self.coordinators():
                said = self.own_status(n, 0.5)
                if said and said[0].role == "active":
                    return n
            return None
        return wait_for("an active coordinator", seconds, probe)

    def standbys(self, active=None):
        """Of `active`, if it was asked for already: another one may be active by now."""
        active = active or self.active()
        return [n for n in self.coordinators() if n != active and self.pid(n) is not None]

    def timestamp(self, name, seconds=60.0):
        """(the timestamp, when it came): asked of one coordinator until it has one."""
        until = time.monotonic() + seconds * PATIENCE
        with self.wire(name) as w:
            while time.monotonic() < until:
                reply = w.try_ask(wire.request(timestamp=True, deadline_ms=5000), 6.0)
                if reply is not None and reply.code == 0:
                    return reply.timestamp, time.monotonic()
        raise AssertionError(f"{name} issues no timestamps")

    def metric(self, name, family):
        """The value of a family without labels."""
        with urllib.request.urlopen(f"http://{self.processes[name]['http']}/metrics", timeout=10 * PATIENCE) as f:
            found = re.search(rf"^{family} (\S+)$", f.read().decode(), re.MULTILINE)
        assert found, f"{name} has no {family}"
        return float(found.group(1))

    def pause(self, name):
        self.send_signal(name, signal.SIGSTOP)

    def go_on(self, name):
        self.signal_if_running(name, signal.SIGCONT)


class Ticks(Counting):
    def __init__(self, c, tag="t", **options):
        self.path, self.shared = os.path.join(c.dir, f"ticks-{tag}"), os.path.join(c.dir, "ticks-highest")
        arguments = [tool("ticks"), "--endpoints", c.env["HOLDFAST_COORDINATORS"], "--out", self.path, "--shared", self.shared]
        for key, value in options.items():
            arguments += ["--" + key.replace("_", "-"), str(value)]
        self.process = subprocess.Popen(arguments, stdout=subprocess.PIPE, stdin=subprocess.DEVNULL, stderr=subprocess.PIPE)
        os.set_blocking(self.process.stdout.fileno(), False)
        c.hammers.append(self)
        self.partial, self.counts = b"", {"drawn": 0, "low": 0, "twice": 0, "refused": 0, "silent": 0}

    def await_drawn(self, count, seconds=60):
        """Waits for `count` more from now on."""
        goal = self.progress()["drawn"] + count
        wait_for(lambda: f"{count} more timestamps ({self.counts})", seconds, lambda: self.progress()["drawn"] >= goal)

    def stop(self):
        """Ends it; its totals, and in "said" what it found."""
        self.process.send_signal(signal.SIGTERM)
        wait_for("the end of ticks", 60, lambda: self.progress() and self.process.poll() is not None)
        self.progress()
        self.counts["said"] = self.process.stderr.read().decode()
        assert self.process.returncode == 0, self.counts["said"]
        self.process.stdout.close()
        self.process.stderr.close()
        return self.counts


def judge(*ticks):
    """All faults of what was drawn by `ticks` (stopped), as text; and how many were drawn."""
    faults = [t.counts["said"] for t in ticks if t.counts["low"] or t.counts["twice"]]
    done = subprocess.run([tool("ticks"), "--check", *[t.path for t in ticks]], capture_output=True, text=True, check=True)
    drawn, repeated = (int(word) for word in done.stdout.split()[1::2])
    if repeated:
        faults.append(f"{repeated} repeated: {done.stderr}")
    return faults, drawn


def accepted(done):
    """What `holdfast --json clock accept` said."""
    return json.loads(done.stdout)
