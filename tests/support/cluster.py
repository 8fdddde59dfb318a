# cluster.py: a cluster of real processes for a test: deploy/local-cluster.sh, ports of its own, waits for events, judges logs.
import atexit
import contextlib
import fcntl
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
import unittest

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, HERE)
import wire  # noqa: E402

ROOT = os.path.normpath(os.path.join(HERE, "..", ".."))
BUILD = os.path.abspath(os.environ.get("HOLDFAST_BUILD_DIR") or os.path.join(ROOT, "build", "test"))
SCRIPT = os.path.join(ROOT, "deploy", "local-cluster.sh")
FULL = os.environ.get("HOLDFAST_TEST_FULL") == "1"
ENGINE = os.environ.get("HOLDFAST_TEST_ENGINE", "native")  # of every cluster that does not say which
LOG = ENGINE + "-1"  # its folder in a data directory
ASAN = os.environ.get("HOLDFAST_TEST_ASAN_RUN") == "1"
PATIENCE = 4.0 if ASAN else 1.0  # sanitized processes are slower; waits are for events, so this only bounds them
# For cluster(env=…): who leads stays leader on a slow disk, or with a large request under a sanitizer.
SLOW_ELECTIONS = {"HOLDFAST_HEARTBEAT_MS": "300", "HOLDFAST_ELECTION_MS": "3000"}
PORTS_FIRST, PORTS_LAST, PORTS_STEP = 22000, 31500, 500
# What a process must never print: a sanitizer's report, a failed must().
BAD_LINE = re.compile(r"(ERROR: \w*Sanitizer|runtime error:|WARNING: ThreadSanitizer|must failed|must\(|Assertion)")


class StartFailed(Exception):
    def __init__(self, code, message):
        super().__init__(f"exit code {code}: {message}")
        self.code, self.message = code, message


# Commands of one request each: where one must succeed it is given more than the default, which a stall may use up.
REQUESTS = {"put", "get", "del", "cas", "delprefix", "txn", "timestamp"}


def patient(arguments, code):
    if code in (0, 1) and "--timeout" not in arguments and not REQUESTS.isdisjoint(arguments):
        return ("--timeout", str(int(30000 * PATIENCE)), *arguments)
    return arguments


def tool(name):
    return os.path.join(BUILD, "bin", name)


def wait_for(what, seconds, probe, pause=0.02):
    """Waits until probe() is true and returns what it returned; fails with `what` after `seconds`."""
    until = time.monotonic() + seconds * PATIENCE
    while True:
        got = probe()
        if got:
            return got
        if time.monotonic() > until:
            raise AssertionError(f"after {seconds * PATIENCE:.0f} s still not: {what() if callable(what) else what}")
        time.sleep(pause)


class Ports:
    """500 ports that no other test uses while this process lives (a lock file each)."""

    def __init__(self):
        folder = "/tmp/holdfast-test-ports"
        os.makedirs(folder, exist_ok=True)
        for base in range(PORTS_FIRST, PORTS_LAST + 1, PORTS_STEP):
            self.lock = open(os.path.join(folder, str(base)), "w", encoding="utf-8")
            try:
                fcntl.flock(self.lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except OSError:
                self.lock.close()
                continue
            if self.busy(base):  # left over by a test that was killed
                self.lock.close()
                continue
            self.base = base
            return
        raise RuntimeError("no free ports for a test")

    @staticmethod
    def busy(base):
        with open("/proc/net/tcp", encoding="ascii") as f:
            listening = {int(line.split()[1].rpartition(":")[2], 16) for line in list(f)[1:] if line.split()[3] == "0A"}
        return any(base <= port < base + PORTS_STEP for port in listening)

    def free(self):
        self.lock.close()


_open_clusters = []


def _end_all(*_):
    """However this process ends (SIGKILL apart), it leaves no processes behind."""
    while _open_clusters:
        _open_clusters[-1].close(keep=True)


atexit.register(_end_all)
signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))


class Cluster:
    def __init__(self, name, shards=2, replicas=3, coordinators=1, learners=0, sets=(), splits=None, env=None,
                 coordinator_sets=(), engine=None):
        self.ports = Ports()
        self.dir = os.path.join(BUILD, "run", f"{name}-{os.getpid()}-{self.ports.base}")
        shutil.rmtree(self.dir, ignore_errors=True)
        os.makedirs(os.path.dirname(self.dir), exist_ok=True)
        self.shape = dict(shards=shards, replicas=replicas, coordinators=coordinators, learners=learners,
                          engine=engine or ENGINE)
        self.sets, self.coordinator_sets, self.splits = list(sets), list(coordinator_sets), splits
        self.hammers = []
        _open_clusters.append(self)
        self.env = dict(os.environ, HOLDFAST_BUILD_DIR=BUILD, HOLDFAST_SKIP_BUILD="1", HOLDFAST_START_SECONDS="120",
                        PATH=os.path.join(BUILD, "bin") + ":" + os.environ["PATH"], **(env or {}))
        self.env["HOLDFAST_COORDINATORS"] = ",".join(
            f"tcp://127.0.0.1:{self.ports.base + 2 * i}" for i in range(coordinators))

    # ---- life

    def script(self, *arguments, env=None, check=True):
        done = subprocess.run([SCRIPT, *arguments, "--dir", self.dir], env=dict(self.env, **(env or {})),
                              stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=300)
        if check and done.returncode:
            raise StartFailed(done.returncode, done.stderr.strip())
        return done

    def up(self, env=None, leave=False):
        arguments = ["up", *(["--leave"] if leave else []), "--port-base", str(self.ports.base)]
        for key, value in self.shape.items():
            arguments += ["--" + key, str(value)]
        for pair in self.sets:
            arguments += ["--set", pair]
        for pair in self.coordinator_sets:
            arguments += ["--coordinator-set", pair]
        if self.splits:
            arguments += ["--splits", self.splits]
        self.script(*arguments, env=env)
        self.processes = {row["name"]: row for row in json.loads(self.script("ps", "--json").stdout)}
        return self

    def down(self):
        self.script("down")

    def start(self, name, env=None):
        """Returns how long it took until the process was ready."""
        begin = time.monotonic()
        self.script("start", name, env=env)
        return time.monotonic() - begin

    def start_in_background(self, *names):
        """Starts several at once (a replica may need another to be ready); returns when all are ready."""
        running = [(n, subprocess.Popen([SCRIPT, "start", n, "--dir", self.dir], env=self.env,
                                        stdin=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)) for n in names]
        for name, process in running:
            said = process.communicate(timeout=300)[1]
            if process.returncode:
                raise StartFailed(process.returncode, f"{name}: {said.strip()}")

    def pid(self, name):
        try:
            with open(os.path.join(self.dir, "run", name.replace("/", "-") + ".pid"), encoding="ascii") as f:
                pid, start = f.read().split()
            with open(f"/proc/{pid}/stat", encoding="ascii", errors="replace") as f:
                fields = f.read().rpartition(")")[2].split()
            ended = fields[0] in "ZX" and len(os.listdir(f"/proc/{pid}/task")) <= 1  # else it still holds ports and locks
            return int(pid) if fields[19] == start and not ended else None
        except (OSError, ValueError):
            return None

    def send_signal(self, name, number):
        pid = self.pid(name)
        assert pid is not None, f"{name} is not running"
        os.kill(pid, number)

    def signal_if_running(self, name, number):
        """For one that may end by itself at any moment."""
        pid = self.pid(name)
        if pid is not None:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, number)

    def kill(self, *names, number=signal.SIGKILL):
        """SIGKILLs all of them at once and returns when all are gone."""
        for name in names:
            self.send_signal(name, number)
        self.await_end(*names)

    def await_end(self, *names, seconds=60):
        wait_for(f"the end of {names}", seconds, lambda: all(self.pid(n) is None for n in names), 0.005)

    def names(self, shard=None):
        return [n for n, row in self.processes.items()
                if row["role"] == "shard" and (shard is None or row["shard"] == shard)]

    def alive(self, shard=None):
        return [n for n in self.names(shard) if self.pid(n) is not None]

    def log(self, name):
        with open(os.path.join(self.dir, "log", name.replace("/", "-") + ".log"), encoding="utf-8", errors="replace") as f:
            return f.read()

    def data(self, name):
        return self.processes[name]["dir"]

    # ---- asking

    def cli(self, *arguments, code=0, stdin=None, seconds=120, text=True):
        """Runs `holdfast`; returns the completed process; `code` None: any exit code."""
        arguments = patient(arguments, code)
        done = subprocess.run([tool("holdfast"), *arguments], env=self.env, capture_output=True, text=text,
                              input=stdin if stdin is not None else ("" if text else b""), timeout=seconds * PATIENCE)
        said = done.stderr if text else done.stderr.decode("utf-8", "replace")
        assert not BAD_LINE.search(said), f"holdfast {' '.join(map(str, arguments))[:200]}: {said}"
        assert code is None or done.returncode == code, \
            f"holdfast {' '.join(map(str, arguments))[:200]}: exit {done.returncode}, wanted {code}; {str(done.stderr)[-300:]}"
        return done

    def wire(self, name):
        return wire.Wire(self.processes[name]["client"])

    def at_leader(self, shard):
        return AtLeader(self, shard)

    def status_of(self, name, seconds=2.0):
        """The replica's own Status, or None when it does not answer."""
        if self.pid(name) is None:
            return None
        with self.wire(name) as w:
            reply = w.try_ask(wire.request(status=True), seconds * PATIENCE)
        return reply.status if reply is not None and reply.code == 0 else None

    def answer_of(self, name, seconds=60):
        """The replica's own Status; waits for it, as a process may be kept waiting for the processor."""
        return wait_for(f"a status of {name}", seconds, lambda: self.status_of(name))

    def leader(self, shard, seconds=60):
        """The name of the shard's leader that says so of itself and is ready; waits for one."""
        def probe():
            found = [(s.term, n) for n in self.alive(shard) for s in [self.status_of(n)]
                     if s is not None and s.role == "leader" and s.state == "ready"]
            return max(found)[1] if found else None
        return wait_for(f"a leader of shard {shard}", seconds, probe)

    def followers(self, shard, leader=None):
        """Of `leader`, if it was asked for already: another one may lead by now."""
        leader = leader or self.leader(shard)
        return [n for n in self.alive(shard) if n != leader]

    def status(self):
        return json.loads(wait_for("a status", 60, lambda: self.cli("--json", "status", code=None).stdout))

    def transfer(self, shard, to):
        """Makes the replica `to` (a name) the leader."""
        def probe():
            leader = self.leader(shard)
            if leader == to:
                return True
            with self.wire(leader) as w:
                w.try_ask(wire.request(shard, transfer=int(to.split("/")[1])), 2.0)
            return self.leader(shard) == to
        wait_for(f"leadership of {to}", 60, probe, 0.1)

    def digests_agree(self, shard, seconds=60):
        """Waits until a look at all replicas finds them at one applied index, and says whether the digests agree."""
        seen = {}

        def probe():
            for n in self.names(shard):
                s = self.status_of(n)
                if s is not None:
                    seen.setdefault(s.applied, {})[n] = (s.applied_term, bytes(s.digest))
            return next((i for i, by in seen.items() if len(by) == len(self.names(shard))), None)
        index = wait_for(lambda: f"all replicas of shard {shard} at one index: {sorted(seen)[-5:]}", seconds, probe)
        different = [i for i, by in seen.items() if len(set(by.values())) > 1]
        assert not different, f"shard {shard}: digests differ at equal index {different[:3]}: {seen[different[0]]}"
        return index

    # ---- end

    def bad_lines(self):
        bad = []
        folder = os.path.join(self.dir, "log")
        for name in sorted(os.listdir(folder)) if os.path.isdir(folder) else []:
            with open(os.path.join(folder, name), encoding="utf-8", errors="replace") as f:
                bad += [f"{name}: {line.strip()}" for line in f if BAD_LINE.search(line)]
        return bad

    def close(self, keep):
        if self in _open_clusters:
            _open_clusters.remove(self)
        for h in self.hammers:
            h.kill()
        for name in getattr(self, "processes", {}):
            self.signal_if_running(name, signal.SIGKILL)
        if os.path.isdir(os.path.join(self.dir, "run")):
            for entry in os.listdir(os.path.join(self.dir, "run")):  # an up that failed half way
                if entry.endswith(".pid"):
                    self.signal_if_running(entry[:-4], signal.SIGKILL)
        if not keep:
            shutil.rmtree(self.dir, ignore_errors=True)
        self.ports.free()


class AtLeader:
    """As a wire.Wire to whoever leads a shard, which may be another one at any moment of a slow machine. For requests that may be done
    twice: one that was not surely done, or refused for now, is asked again."""
    AGAIN = (wire.NOT_LEADER, wire.NOT_READY, wire.BUSY, wire.UNAVAILABLE, wire.OUTCOME_UNKNOWN)

    def __init__(self, c, shard):
        self.c, self.shard, self.to = c, shard, None

    def __enter__(self):
        return self

    def __exit__(self, *_):
        if self.to is not None:
            self.to.socket.close()
            self.to = None

    def ask(self, request, seconds=60.0):
        until, reply = time.monotonic() + seconds * PATIENCE, None
        while time.monotonic() < until:
            if self.to is None:
                self.to = self.c.wire(self.c.leader(self.shard))
            reply = self.to.try_ask(request, 10 * PATIENCE)
            if reply is not None and reply.code not in self.AGAIN:
                return reply
            self.__exit__()
            request.id = 0
        raise TimeoutError(f"shard {self.shard} did nothing in {seconds} s: {str(request)[:200]}; {reply}")


class ClusterTest(unittest.TestCase):
    """A test with clusters: each is ended after it, its directory kept only when the test failed."""

    def cluster(self, **shape):
        c = Cluster(self.id().rpartition(".")[2], **shape)
        self.addCleanup(self._close, c)
        return c

    def _close(self, c):
        said = self._outcome.result  # `success` speaks of this cleanup only
        failed = any(test is self for test, _ in said.failures + said.errors)
        bad = c.bad_lines()
        c.close(keep=failed or bad)
        if failed or bad:
            print(f"kept: {c.dir}", file=sys.stderr)
        self.assertEqual(bad, [], "a process reported a fault")


def load(c, count, prefix="k", size=100):
    """Numbered keys with values of about `size` bytes."""
    lines = "".join(f"{prefix}{i:06d}\t{i:06d}{'x' * size}\n" for i in range(count))
    assert c.cli("load", "-", stdin=lines).stdout == f"loaded {count} failed 0 unknown 0\n"


class Counting:
    """A program beside a test (self.process) that says what it has counted so far: lines of words and numbers."""

    def progress(self):
        chunk = self.process.stdout.read()
        if chunk:
            lines = (self.partial + chunk).split(b"\n")
            self.partial = lines.pop()
            if lines:
                words = lines[-1].split()
                self.counts = {words[i].decode(): int(words[i + 1]) for i in range(0, len(words), 2)}
        assert self.process.poll() in (None, 0), self.process.stderr.read()
        return self.counts

    def kill(self):
        """Ends it whatever it does; for a test that failed."""
        if self.process.poll() is None:
            self.process.kill()
            self.process.wait()
        self.process.stdout.close()
        self.process.stderr.close()


class Hammer(Counting):
    """tests/support/hammer.c running against a cluster; its history is in self.path."""

    def __init__(self, c, tag, inside=(), **options):
        self.path = os.path.join(c.dir, f"history-{tag}.tsv")
        arguments = [*inside, tool("hammer"), "--endpoints", c.env["HOLDFAST_COORDINATORS"], "--out", self.path, "--tag", tag]
        for key, value in options.items():
            arguments += ["--" + key.replace("_", "-")] + ([] if value is True else [str(value)])
        self.process = subprocess.Popen(arguments, stdout=subprocess.PIPE, stdin=subprocess.DEVNULL,
                                        stderr=subprocess.PIPE, env=c.env)
        os.set_blocking(self.process.stdout.fileno(), False)
        c.hammers.append(self)
        self.partial, self.counts = b"", {"acked": 0, "unknown": 0, "failed": 0, "last_ack_ns": 0}

    def await_acks(self, count, seconds=120):
        """Waits for `count` more acknowledgements from now on."""
        goal = self.progress()["acked"] + count
        wait_for(lambda: f"{count} more acknowledgements ({self.counts})", seconds, lambda: self.progress()["acked"] >= goal)

    def await_more_than(self, count, seconds=120):
        """Waits until it has more than `count` acknowledgements altogether."""
        wait_for(lambda: f"more than {count} acknowledgements ({self.counts})", seconds, lambda: self.progress()["acked"] > count)

    def stop(self):
        """Ends it and returns its totals when everything is recorded."""
        self.process.send_signal(signal.SIGTERM)
        until = time.monotonic() + 120
        while self.process.poll() is None:
            assert time.monotonic() < until, "hammer does not end"
            self.progress()
            time.sleep(0.02)
        self.progress()
        assert self.process.returncode == 0, self.process.stderr.read()
        self.process.stdout.close()
        self.process.stderr.close()
        return self.counts


def lincheck(*paths):
    """(good, what it said) of the histories."""
    done = subprocess.run([tool("lincheck"), *paths], capture_output=True, text=True, timeout=300)
    return done.returncode == 0, done.stdout + done.stderr


def unescape(field):
    """The bytes of a dump's field."""
    def one(found):
        code = found.group(1)
        return {b"t": b"\t", b"n": b"\n", b"\\": b"\\"}.get(code) or bytes([int(code[1:], 16)])
    return re.sub(rb"\\(t|n|\\|x[0-9a-f]{2})", one, field)


def parse_dump(output):
    rows = {}
    for line in output.split(b"\n"):
        if line:
            key, _, value = line.partition(b"\t")
            rows[unescape(key)] = unescape(value)
    return rows
