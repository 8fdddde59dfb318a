# netns.py: hosts of a test on one machine: network namespaces on a bridge, cut and made lossy with nft; a cluster on them.
#
# Everything is made of names with this process's id and is removed at the end, also after an exception; what a killed
# test left is removed by the next. Needs root. Nothing touches the machine's own network: the bridge has a namespace too.
import atexit
import contextlib
import ctypes
import http.client
import json
import os
import shutil
import subprocess
import time

import zmq

import cluster
import wire
from cluster import BUILD, StartFailed, tool, wait_for

SUBNET = "10.77.0"
RAFT, CLIENT, HTTP, COORDINATOR, COORDINATOR_HTTP, SNAPSHOT = 27001, 27002, 27003, 27004, 27005, 27006
CLONE_NEWNET = 0x40000000
_libc = ctypes.CDLL(None, use_errno=True)
_networks = []
_count = 0


_home = os.open("/proc/self/ns/net", os.O_RDONLY)  # the network this process began in


def _enter(fd):
    if _libc.setns(fd, CLONE_NEWNET):
        raise OSError(ctypes.get_errno(), "setns")


def _run(*command, text=None):
    done = subprocess.run(command, input=text, capture_output=True, text=True, timeout=60)
    if done.returncode:
        raise RuntimeError(f"{' '.join(command)}: {done.stderr.strip()}")
    return done.stdout


def _sweep():
    """Removes namespaces whose process is gone."""
    for name in os.listdir("/run/netns") if os.path.isdir("/run/netns") else []:
        parts = name.split("-")
        if parts[0] == "hftest" and not os.path.exists(f"/proc/{parts[1]}"):
            subprocess.run(["ip", "netns", "del", name], check=False, capture_output=True)
            shutil.rmtree(f"/etc/netns/{name}", ignore_errors=True)


class Network:
    """Hosts by name, each with an address; who hears whom can be changed at any time."""

    def __init__(self, hosts):
        global _count
        _sweep()
        _count += 1
        self.prefix = f"hftest-{os.getpid()}-{_count}-"
        self.address = {host: f"{SUBNET}.{10 + i}" for i, host in enumerate(hosts)}
        self.rules = {host: [] for host in hosts}
        self.made = []
        _networks.append(self)
        try:
            self._make()
        except BaseException:
            self.close()
            raise

    def name(self, host):
        return self.prefix + host.replace("/", "-")

    def _make(self):
        hub = self.name("hub")
        for host in ["hub", *self.address]:
            _run("ip", "netns", "add", self.name(host))
            self.made.append(host)
        _run("ip", "-n", hub, "-batch", "-", text="link set lo up\nlink add br0 type bridge\nlink set br0 up\n")
        lines = []
        for i, host in enumerate(self.address):
            lines += [f"link add p{i} type veth peer name eth0 netns {self.name(host)}", f"link set p{i} master br0 up"]
        _run("ip", "-n", hub, "-batch", "-", text="\n".join(lines) + "\n")
        for host, address in self.address.items():
            _run("ip", "-n", self.name(host), "-batch", "-",
                 text=f"link set lo up\naddr add {address}/24 dev eth0\nlink set eth0 up\n")

    def close(self):
        for host in self.made:  # its devices and rules go with it
            subprocess.run(["ip", "netns", "del", self.name(host)], check=False, capture_output=True)
            shutil.rmtree(f"/etc/netns/{self.name(host)}", ignore_errors=True)
        self.made = []
        if self in _networks:
            _networks.remove(self)

    def command(self, host):
        """What to put before a command so that it runs on `host`."""
        return ["ip", "netns", "exec", self.name(host)]

    @contextlib.contextmanager
    def inside(self, host):
        """Sockets and threads that this thread makes meanwhile are on `host`."""
        fd = os.open(f"/run/netns/{self.name(host)}", os.O_RDONLY)
        try:
            _enter(fd)
            yield
        finally:
            _enter(_home)
            os.close(fd)

    # ---- who hears whom

    def apply(self, rules):
        """Replaces each host's rules: {host: [nft statements of its input (i) or output (o) chain: "i ip saddr …"]}."""
        for host in self.address:
            wanted = rules.get(host, [])
            if wanted == self.rules[host]:
                continue
            text = "table inet hf {}\ndelete table inet hf\n"
            chains = [("i", "input"), ("o", "output")]
            text += "table inet hf {\n" + "".join(
                f"chain {hook} {{ type filter hook {hook} priority 0;\n" +
                "".join(f"{w[2:]}\n" for w in wanted if w[0] == letter) + "}\n" for letter, hook in chains) + "}\n"
            _run(*self.command(host), "nft", "-f", "-", text=text)
            self.rules[host] = wanted

    def heal(self):
        self.apply({})

    def _deaf_to(self, host, others):
        return [f"i ip saddr {{ {', '.join(self.address[o] for o in others)} }} drop"] if others else []

    def sides(self, *groups):
        """Hosts of different groups do not hear each other; a host in two groups hears both; others hear everybody."""
        rules = {}
        for host in {h for g in groups for h in g}:
            near = {h for g in groups if host in g for h in g}
            rules[host] = self._deaf_to(host, sorted({h for g in groups for h in g} - near))
        self.apply(rules)

    def one_way(self, sources, targets):
        """Nothing that `sources` send reaches `targets`; what `targets` send arrives."""
        self.apply({t: self._deaf_to(t, sources) for t in targets})

    def loss(self, percent, hosts=None):
        """A share of what arrives at `hosts` is lost; lost() counts."""
        self.apply({h: ["i counter", f"i numgen random mod 100 < {percent} drop", "i counter"] for h in hosts or self.address})

    def lost(self):
        """{host: (packets that arrived, packets of these that did not go on)} since loss()."""
        counts = {}
        for host in self.address:
            rules = json.loads(_run(*self.command(host), "nft", "-j", "list", "ruleset"))["nftables"]
            found = [e["counter"]["packets"] for r in rules for e in r.get("rule", {}).get("expr", []) if "counter" in e]
            if len(found) == 2:
                counts[host] = found[0], found[0] - found[1]
        return counts


def _end_all():
    for network in list(_networks):
        network.close()


atexit.register(_end_all)


class _NoPorts:
    base = 0

    def free(self):
        pass


class NetCluster(cluster.Cluster):
    """A cluster whose every process has a host of its own: "1/1", "coordinator/1", and hosts for clients: "client/1" …
    `self.net` cuts them; "tester" hears everybody always: commands and questions of the test come from there.

    raft_endpoint(name) may be replaced before up(): what the members list says (a relay, a name)."""

    def __init__(self, name, shards=1, replicas=3, coordinators=1, clients=1, hosts=(), sets=(), splits=None, env=None,
                 engine=None):
        self.ports = _NoPorts()
        self.dir = os.path.join(BUILD, "run", f"{name}-{os.getpid()}-net")
        shutil.rmtree(self.dir, ignore_errors=True)
        for folder in ("log", "run"):
            os.makedirs(os.path.join(self.dir, folder))
        self.shape = dict(shards=shards, replicas=replicas, coordinators=coordinators, learners=0,
                          engine=engine or cluster.ENGINE)
        self.sets, self.splits, self.hammers, self.running, self.context = list(sets), splits, [], {}, None
        names = [f"{s}/{r}" for s in range(1, shards + 1) for r in range(1, replicas + 1)]
        names += [f"coordinator/{i}" for i in range(1, coordinators + 1)]
        self.net = Network(["tester", *names, *(f"client/{i}" for i in range(1, clients + 1)), *hosts])
        cluster._open_clusters.append(self)
        self.env = dict(os.environ, **(env or {}))
        self.env["HOLDFAST_COORDINATORS"] = ",".join(
            f"tcp://{self.net.address[n]}:{COORDINATOR}" for n in names if n.startswith("c"))
        self.processes = {n: self._row(n) for n in names}
        self.raft_endpoint = lambda n: f"tcp://{self.net.address[n]}:{RAFT}"
        self.client_endpoint = lambda n: f"tcp://{self.net.address[n]}:{CLIENT}"
        self.snapshot_endpoint = lambda n: f"tcp://{self.net.address[n]}:{SNAPSHOT}"
        with self.net.inside("tester"):  # ZeroMQ's threads begin with the first socket, and stay there
            self.context = zmq.Context()
            self.context.socket(zmq.DEALER).close()

    def _row(self, name):
        first, _, number = name.partition("/")
        address = self.net.address[name]
        if first == "coordinator":
            return dict(name=name, role="coordinator", shard=None, replica=int(number),
                        client=f"tcp://{address}:{COORDINATOR}", http=f"{address}:{COORDINATOR_HTTP}", dir=None)
        return dict(name=name, role="shard", shard=int(first), replica=int(number), client=f"tcp://{address}:{CLIENT}",
                    http=f"{address}:{HTTP}", dir=os.path.join(self.dir, name.replace("/", "-")))

    # ---- life

    def _splits(self):
        if self.splits:
            return ["", *self.splits.split(","), ""]
        return ["", *[chr(ord("a") + 26 * i // self.shape["shards"]) for i in range(1, self.shape["shards"])], ""]

    def cluster_file(self):
        text, splits = 'cluster\n    heartbeat_ms = "100"\n    election_ms = "500"\n', self._splits()
        for s in range(1, self.shape["shards"] + 1):
            text += f'shard\n    id = "{s}"\n    start = "{splits[s - 1]}"\n    end = "{splits[s]}"\n'
            text += f'    catalog = "{int(s == 1)}"\n'
            for n in self.names(s):
                text += f'    replica\n        id = "{n.split("/")[1]}"\n        role = "voter"\n'
                text += f'        raft = "{self.raft_endpoint(n)}"\n        client = "{self.client_endpoint(n)}"\n'
        path = os.path.join(self.dir, "cluster.conf")
        with open(path, "w", encoding="ascii") as f:
            f.write(text)
        return path

    def command_of(self, name):
        row, address = self.processes[name], self.net.address[name]
        if row["role"] == "coordinator":
            seeds = ",".join(self.client_endpoint(n) for n in self.names(1))
            return [tool("holdfast-coordinator"), "--id", str(row["replica"]), "--listen", row["client"],
                    "--http-endpoint", row["http"], "--seeds", seeds, "--insecure"]
        options = ["--dir", row["dir"], "--shard", str(row["shard"]), "--replica", str(row["replica"]),
                   "--raft-endpoint", self.raft_endpoint(name), "--raft-listen", f"tcp://{address}:{RAFT}",
                   "--client-endpoint", self.client_endpoint(name), "--client-listen", f"tcp://{address}:{CLIENT}",
                   "--http-endpoint", row["http"], "--insecure",
                   "--snapshot-endpoint", self.snapshot_endpoint(name), "--snapshot-listen", f"tcp://{address}:{SNAPSHOT}"]
        if not os.path.exists(os.path.join(row["dir"], "identity")):
            options += ["--engine", self.shape["engine"]]
        for pair in self.sets:
            key, equals, value = pair.partition("=")
            options += ["--" + key] + ([value] if equals else [])
        return [tool("holdfast-shard"), *options]

    def launch(self, name, env=None):
        if self.processes[name]["dir"]:
            os.makedirs(self.processes[name]["dir"], exist_ok=True)
        with open(os.path.join(self.dir, "log", name.replace("/", "-") + ".log"), "ab") as log:
            self.running[name] = subprocess.Popen([*self.net.command(name), *self.command_of(name)], stdout=log,
                                                  stderr=log, stdin=subprocess.DEVNULL, start_new_session=True,
                                                  env=dict(self.env, **(env or {})))

    def start(self, name, env=None, path="/readyz", seconds=120):
        begin = time.monotonic()
        if self.pid(name) is None:
            self.launch(name, env)
        wait_for(lambda: f"{name} {path}: {self.last_line(name)}", seconds, lambda: self.http(name, path)[0] == 200 or
                 self._ended(name))
        return time.monotonic() - begin

    def _ended(self, name):
        if self.pid(name) is None:
            raise StartFailed(self.running[name].returncode, self.last_line(name))
        return False

    def last_line(self, name):
        return (self.log(name).strip().splitlines() or ["it printed nothing"])[-1]

    def up(self, env=None):
        for n in self.names():
            self.launch(n, env)
        for n in self.names():
            self.start(n, path="/healthz")
        conf = self.cluster_file()
        wait_for("bootstrap", 120, lambda: self.cli("bootstrap", conf, code=None).returncode == 0, 0.1)
        for n in self.processes:
            if n not in self.running:
                self.launch(n)
        for n in self.processes:
            self.start(n)
        if self.shape["coordinators"]:
            wait_for("a healthy cluster", 120, lambda: self.cli("status", code=None).returncode == 0, 0.05)
        return self

    def down(self):
        for n in list(self.running):
            if self.pid(n) is not None:
                os.kill(self.pid(n), cluster.signal.SIGTERM)
        self.await_end(*self.running)

    def pid(self, name):
        process = self.running.get(name)
        return process.pid if process is not None and process.poll() is None else None

    def close(self, keep):
        super().close(keep)
        for process in self.running.values():
            process.wait()
        if self.context is not None:
            self.context.destroy(0)
        self.net.close()

    # ---- asking

    def cli(self, *arguments, code=0, stdin=None, seconds=120, text=True, host="tester"):
        arguments = cluster.patient(arguments, code)
        done = subprocess.run([*self.net.command(host), tool("holdfast"), *arguments], env=self.env, text=text,
                              capture_output=True, timeout=seconds * cluster.PATIENCE,
                              input=stdin if stdin is not None else ("" if text else b""))
        assert code is None or done.returncode == code, \
            f"holdfast {' '.join(map(str, arguments))[:200]}: {done.returncode}, not {code}; {str(done.stderr)[-300:]}"
        return done

    def wire(self, name):
        return wire.Wire(self.processes[name]["client"], self.context)

    def http(self, name, path):
        """(status, body) of the process's http door; (0, "") when there is no answer."""
        with self.net.inside("tester"):
            connection = http.client.HTTPConnection(self.processes[name]["http"], timeout=2 * cluster.PATIENCE)
            try:
                connection.request("GET", path)
                answer = connection.getresponse()
                return answer.status, answer.read().decode()
            except (OSError, http.client.HTTPException):  # the process may end half way through its answer
                return 0, ""
            finally:
                connection.close()

    def page(self, name, seconds=60):
        """All metrics of a running process; waits for them."""
        return wait_for(f"the metrics of {name}", seconds, lambda: self.http(name, "/metrics")[1])

    def metric(self, name, metric):
        """The sum of a metric's rows."""
        rows = [line for line in self.page(name).splitlines() if line.startswith((metric + " ", metric + "{"))]
        return sum(float(line.rsplit(" ", 1)[1]) for line in rows)

    def hammer(self, tag, host="client/1", **options):
        return cluster.Hammer(self, tag, inside=self.net.command(host), **options)


class NetTest(cluster.ClusterTest):
    def net_cluster(self, **shape):
        c = NetCluster(self.id().rpartition(".")[2], **shape)
        self.addCleanup(self._close, c)
        return c
