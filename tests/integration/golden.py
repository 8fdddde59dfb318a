#!/usr/bin/env python3
# golden.py: a replica's directory, a backup, the command's outputs and a dump as earlier versions made them (tests/golden) are
# good today.
#
# golden.py --generate VERSION [KIND…] makes tests/golden/{replica,cli,backup}/VERSION with these programs; a file that is there
# is never written again.
import fcntl
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import unittest

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "support"))
from cluster import BUILD, PATIENCE, ROOT, Ports, tool, wait_for  # noqa: E402

GOLDEN = os.path.join(ROOT, "tests", "golden")
PLACE = "/tmp/holdfast-golden"  # its sockets: a directory's endpoints are part of it
SEGMENT = 1 << 20
BACKUP, BACKUPS = PLACE + "/backup", PLACE + "/backups"
CLUSTER_FILE = f"""cluster
    heartbeat_ms = "100"
    election_ms = "500"
shard
    id = "1"
    start = ""
    end = ""
    catalog = "1"
    replica
        id = "1"
        role = "voter"
        raft = "ipc://{PLACE}/raft"
        client = "ipc://{PLACE}/client"
"""
# Commands whose outputs and errors are kept. One a line of load: with every escape.
LOADED = b"a\tone\nb\\t\\n\\\\\ttab, line feed, backslash\nc\\x00\\x7f\t\\x01bytes\nd\xc3\xbc\t\xe2\x82\xac\ne\t\nf\xff\t\xfe\n"
OUTPUTS = [["status"], ["members"], ["routes"], ["get", "a"], ["put", "g", "new"], ["del", "g"], ["cas", "g", "--absent", "x"],
           ["scan", "--limit", "1"], ["scan", "--prefix", "f"], ["scan", "--keys-only", "--limit", "1"],
           ["leader", "transfer", "1", "1"], ["verify"], ["snapshot"], ["backup", "create", BACKUP, "--shard", "1"],
           ["backup", "verify", BACKUP], ["backup", "create", BACKUPS], ["backup", "verify", BACKUPS], ["txn"],
           ["txn", "--retry", "1"]]
ERRORS = [["get", "missing"], ["cas", "a", "two", "three"], ["get"], ["put", "k", "v", "--limit", "1"], ["nonsense"],
          ["put", "k" * 16385, "v"], ["get", ""], ["get", "a", "--at", "5"], ["--timeout", "0", "get", "a"],
          ["leader", "transfer", "9"], ["load", "/no/such/file"], ["inspect", "/no/such/directory"],
          ["-c", "tcp://127.0.0.1:1", "--timeout", "300", "get", "a"],
          ["-c", "tcp://127.0.0.1:1", "--timeout", "300", "put", "a", "b"], ["-c", "nonsense", "get", "a"],
          ["-c", "tcp://127.0.0.1:1", "--timeout", "300", "members"],
          ["verify", "--shard", "9"], ["backup", "verify", "/no/such/file"], ["backup", "verify", "/bin/sh"],
          ["backup", "create", "/no/such/folder/file", "--shard", "1"], ["backup", "restore", "/bin/sh"],
          ["backup", "verify", "/dev/null"], ["txn"], ["txn", "--retry", "1"], ["txn", "--retry", "x"], ["--hex", "txn"],
          ["--timeout", "4000", "txn"], ["-c", "tcp://127.0.0.1:1", "--timeout", "300", "txn"]]
# Their standard inputs; of all others it is empty.
SCRIPTS = {"txn": b"get a\nput h 1\nget missing\nscan --prefix h\n", "txn --retry 1": b"del h\nrollback\n"}
WRONG_SCRIPTS = {"txn": b"nonsense\n", "txn --retry 1": b"put a b\nexpect a other\n", "--hex txn": b"get xy\n",
                 "--timeout 4000 txn": b"put " + b"k" * 16385 + b" v\n"}
BENCH = ["--records", "100", "--workload", "mixed", "--seconds", "1", "--json"]


def shape(value):
    """What scripts rely on: names and kinds. An object's keys may become more."""
    if isinstance(value, dict):
        return {k: shape(v) for k, v in value.items()}
    if isinstance(value, list):
        return [shape(v) for v in value[:1]]
    return "number" if type(value) in (int, float) else type(value).__name__


def covers(new, old):
    if isinstance(old, dict):
        return isinstance(new, dict) and all(k in new and covers(new[k], v) for k, v in old.items())
    if isinstance(old, list):
        return isinstance(new, list) and (not old or new and covers(new[0], old[0]))
    return new == old


class OneReplica:
    """A group of one on a given directory, and a coordinator."""

    def __init__(self, data):
        os.makedirs(PLACE, exist_ok=True)
        self.lock = open(PLACE + ".lock", "w", encoding="ascii")
        fcntl.flock(self.lock, fcntl.LOCK_EX)
        self.data, self.ports, self.running = data, Ports(), []
        self.coordinator = f"tcp://127.0.0.1:{self.ports.base}"
        self.env = dict(os.environ, HOLDFAST_COORDINATORS=self.coordinator)

    def start(self):
        http = [f"127.0.0.1:{self.ports.base + i}" for i in (1, 2)]
        self.spawn("holdfast-shard", "--dir", self.data, "--shard", "1", "--replica", "1", "--raft-endpoint", f"ipc://{PLACE}/raft",
                   "--client-endpoint", f"ipc://{PLACE}/client", "--http-endpoint", http[0])
        self.spawn("holdfast-coordinator", "--listen", self.coordinator, "--seeds", f"ipc://{PLACE}/client",
                   "--http-endpoint", http[1])

    def spawn(self, *command):
        with open(os.path.join(os.path.dirname(self.data), command[0] + ".log"), "ab") as log:
            self.running.append(subprocess.Popen([tool(command[0]), *command[1:]], stdout=log, stderr=log,
                                                 stdin=subprocess.DEVNULL))

    def await_healthy(self, command=("status",)):
        def probe():
            gone = [p.args[0] for p in self.running if p.poll() is not None]
            assert not gone, f"{gone} ended: {self.said()}"
            return self.cli(*command, code=None).returncode == 0
        wait_for("a healthy cluster", 30, probe, 0.05)

    def await_serving(self):
        """Without the clock of the coordinator, which waits for the end of its predecessor's lease."""
        self.await_healthy(("get", "a"))

    def await_status(self):
        """With what its replica says; one that has no processor for a moment is told as silent."""
        def probe():
            status = json.loads(self.cli("--json", "status", code=None).stdout)
            return status if status["shards"] and status["shards"][0]["replicas"][0]["applied"] is not None else None
        return wait_for("a status of the replica", 30, probe, 0.05)

    def said(self):
        with open(os.path.join(os.path.dirname(self.data), "holdfast-shard.log"), encoding="utf-8", errors="replace") as f:
            return f.read()[-1000:]

    def end(self, number):
        for p in self.running:
            p.send_signal(number)
            p.wait(60)
        self.running = []

    def cli(self, *arguments, code=0, stdin=b"", command="holdfast"):
        done = subprocess.run([tool(command), *arguments], env=self.env, input=stdin, capture_output=True,
                              timeout=60 * PATIENCE, check=False)
        assert code is None or done.returncode == code, f"{arguments}: exit {done.returncode}, {done.stderr[-300:]}"
        return done

    def outputs(self):
        """{command: [its JSON lines]}"""
        if os.path.exists(BACKUP):
            os.unlink(BACKUP)
        shutil.rmtree(BACKUPS, ignore_errors=True)
        made = {}
        for a in OUTPUTS:
            if a == ["status"]:
                self.await_healthy()  # what does not answer has no numbers
            said = self.cli("--json", *a, code=None, stdin=SCRIPTS.get(" ".join(a), b"")).stdout
            made[" ".join(a)] = [json.loads(line) for line in said.splitlines()]
        made["inspect"] = [json.loads(self.cli("--json", "inspect", self.data).stdout)]
        made["holdfast-bench"] = [json.loads(self.cli(*BENCH, command="holdfast-bench").stdout)]
        return made

    def errors(self):
        """[arguments, exit code, code, class] of each that fails."""
        made = []
        for a in ERRORS:
            done = self.cli("--json", *a, code=None, stdin=WRONG_SCRIPTS.get(" ".join(a), b""))
            lines = done.stderr.splitlines()
            assert len(lines) == 1 and not done.stdout, (a, done)
            error = json.loads(lines[0])["error"]
            assert sorted(error) == ["class", "code", "message"] and error["message"], error
            made.append([" ".join(a)[:60], done.returncode, error["code"], error["class"]])
        return made

    def close(self):
        if self.lock.closed:  # PLACE may be somebody else's by now
            return
        self.end(signal.SIGKILL)
        self.ports.free()
        shutil.rmtree(PLACE, ignore_errors=True)
        self.lock.close()


def versions(kind):
    return sorted(os.listdir(os.path.join(GOLDEN, kind)), key=int)


class Golden(unittest.TestCase):
    def setUp(self):
        os.makedirs(os.path.join(BUILD, "run"), exist_ok=True)
        self.place = tempfile.mkdtemp(prefix="golden-", dir=os.path.join(BUILD, "run"))
        self.addCleanup(shutil.rmtree, self.place)

    def unpack(self, version):
        """Zero bytes at the end of segments are cut off in the tree."""
        data = os.path.join(tempfile.mkdtemp(dir=self.place), "data")
        shutil.copytree(os.path.join(GOLDEN, "replica", version, "data"), data)
        for folder, _, names in os.walk(data):
            for name in names:
                path = os.path.join(folder, name)
                if name.startswith("seg-") and os.path.getsize(path) < SEGMENT:
                    os.truncate(path, SEGMENT)
        return data

    def text(self, *path):
        with open(os.path.join(GOLDEN, *path), "rb") as f:
            return f.read()

    def test_a_directory_of_each_version_is_served(self):
        for version in versions("replica"):
            one = OneReplica(self.unpack(version))
            self.addCleanup(one.close)
            want = self.text("replica", version, "dump.txt")
            inspected = json.loads(one.cli("--json", "inspect", one.data).stdout)
            one.start()
            one.await_serving()
            one.await_healthy(("dump",))  # it asks the coordinator for a moment, in vain for as long as that one starts
            dumped, level = one.cli("dump"), inspected["fsm"].get("feature_level", 1)
            self.assertEqual(dumped.stdout, want)
            self.assertEqual([b"no moment of all shards: " in line and b"feature level" in line for line in dumped.stderr.splitlines()],
                             [True] * (level < 3))  # it is said in one line that its group serves the latest only
            status = one.await_status()
            known = json.loads(self.text("replica", version, "known.json"))
            self.assertEqual(status["cluster"], known["cluster"])
            self.assertGreaterEqual(status["shards"][0]["replicas"][0]["applied"], known["applied"])
            self.assertTrue(covers(shape(inspected), shape(known["inspect"])), inspected)
            one.cli("put", "a", "from now on")
            if known["inspect"].get("fsm", {}).get("feature_level", 1) < 2:  # its programs may not know such an entry
                self.assertIn(b"feature level 1", one.cli("verify", code=6).stderr)
            else:
                one.cli("verify")
            one.end(signal.SIGKILL)
            one.start()
            one.await_serving()
            self.assertEqual(one.cli("get", "a").stdout, b"from now on\n")
            one.end(signal.SIGKILL)  # the next one listens at the same place
            one.close()

    def test_outputs_and_dump(self):
        one = OneReplica(self.unpack(versions("replica")[-1]))  # of a feature level that all commands take
        self.addCleanup(one.close)
        one.start()
        one.await_serving()
        one.cli("delprefix", "")
        for version in versions("cli"):
            one.cli("load", "-", stdin=self.text("cli", version, "dump.txt"))
            self.assertEqual(one.cli("dump").stdout, self.text("cli", version, "dump.txt"))
            kept = json.loads(self.text("cli", version, "outputs.json"))
            now = one.outputs()
            for command, lines in kept.items():
                for old, new in zip(lines, now[command]):
                    self.assertTrue(covers(shape(new), shape(old)), f"{command}: {new} was {old}")
                    for key in {"key", "value", "hex", "jobs"} & old.keys():
                        self.assertEqual(new[key], old[key], command)
                self.assertEqual(len(now[command]), len(lines), command)
            errors = json.loads(self.text("cli", version, "errors.json"))
            now = one.errors()[:len(errors)]  # later ones came behind
            for row in errors + now:  # by feature level, and by whether its leader ever went on without a coordinator
                if row[0] == "get a --at 5" and row[1:3] in ([6, "REFUSED"], [6, "TOO_OLD"], [4, "RESTART_ABOVE"]):
                    row[1:3] = "as of too long ago"
            self.assertEqual(now, errors)
            one.cli("delprefix", "")


    def test_a_backup_of_each_version_is_read(self):
        for version in versions("backup"):
            folder = os.path.join(GOLDEN, "backup", version)
            known = json.loads(self.text("backup", version, "known.json"))
            for path, scope in ((folder, known["scope"]), (os.path.join(folder, "shard-1.backup"), "shard")):
                done = subprocess.run([tool("holdfast"), "--json", "backup", "verify", path], capture_output=True, timeout=60 * PATIENCE,
                                      check=True)
                told = json.loads(done.stdout)
                self.assertEqual((told["intact"], told["scope"], told["files"]), (True, scope, known["files"]), path)


def write_new(path, content):
    os.makedirs(os.path.dirname(path), exist_ok=True)
    with open(path, "xb") as f:  # never again
        f.write(content)


def as_json(value):
    return (json.dumps(value, indent=1, ensure_ascii=True) + "\n").encode()


def keep(data, target):
    for folder, _, names in os.walk(data):
        for name in names:
            if name in ("LOCK", "LOG") or name.startswith(("LOG.", "spare-")):
                continue
            with open(os.path.join(folder, name), "rb") as f:
                content = f.read()
            write_new(os.path.join(target, os.path.relpath(folder, data), name),
                      content.rstrip(b"\0") if name.startswith("seg-") else content)


def generate(version, kinds):
    place = tempfile.mkdtemp(prefix="golden-")
    one = OneReplica(os.path.join(place, "data"))
    try:
        one.start()
        conf = os.path.join(place, "cluster.conf")
        with open(conf, "w", encoding="ascii") as f:
            f.write(CLUSTER_FILE)
        wait_for("a bootstrap", 30, lambda: one.cli("bootstrap", conf, code=None).returncode == 0, 0.1)
        one.await_healthy()
        one.cli("load", "-", stdin=LOADED)
        if "backup" in kinds:
            generate_backup(one, os.path.join(GOLDEN, "backup", version))
        if "replica" in kinds:
            generate_replica(one, os.path.join(GOLDEN, "replica", version))
        if "cli" in kinds:
            one.cli("delprefix", "")
            one.cli("load", "-", stdin=LOADED)
            write_new(os.path.join(GOLDEN, "cli", version, "dump.txt"), one.cli("dump").stdout)
            write_new(os.path.join(GOLDEN, "cli", version, "outputs.json"), as_json(one.outputs()))
            write_new(os.path.join(GOLDEN, "cli", version, "errors.json"), as_json(one.errors()))
    finally:
        one.close()
        shutil.rmtree(place)


def generate_backup(one, target):
    made = json.loads(one.cli("--json", "backup", "create", BACKUPS).stdout)
    told = json.loads(one.cli("--json", "backup", "verify", BACKUPS).stdout)
    known = {"scope": told.get("scope", "unknown"), "files": made["files"]}
    for name in os.listdir(BACKUPS):
        with open(os.path.join(BACKUPS, name), "rb") as f:
            write_new(os.path.join(target, name), f.read())
    write_new(os.path.join(target, "known.json"), as_json(known))


def generate_replica(one, target):
    one.end(signal.SIGTERM)  # what was written so far is in RocksDB's files
    one.start()
    one.await_healthy()
    one.cli("load", "-", stdin=b"a\tanother\nlog/1\tin the log only\nlog/2\tdeleted\n")
    one.cli("del", "log/2")
    one.cli("txn", stdin=b"get log/1\nput log/3 transaction\nput log/4/x 1\ndelprefix log/4\nput log/4/y 2\n")
    dump = one.cli("dump").stdout
    status = json.loads(one.cli("--json", "status").stdout)
    one.end(signal.SIGKILL)
    inspect = json.loads(one.cli("--json", "inspect", one.data).stdout)
    known = {"cluster": status["cluster"], "applied": status["shards"][0]["replicas"][0]["applied"], "inspect": inspect}
    write_new(os.path.join(target, "known.json"), as_json(known))
    write_new(os.path.join(target, "dump.txt"), dump)
    keep(one.data, os.path.join(target, "data"))
    one.start()
    one.await_healthy()


if __name__ == "__main__":
    if sys.argv[1:2] == ["--generate"]:  # N, and what of it: replica, cli, backup
        generate(sys.argv[2], sys.argv[3:] or ["replica", "cli", "backup"])
    else:
        unittest.main(verbosity=2)
