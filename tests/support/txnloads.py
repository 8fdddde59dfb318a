# txnloads.py: txnload running against a cluster, and txncheck on what it recorded.
import os
import signal
import subprocess

from cluster import PATIENCE, Counting, tool, wait_for

SPLITS = "h5,q5"  # where txnload expects them


class TxnLoad(Counting):
    """tests/support/txnload.c; its history is in self.path."""

    def __init__(self, c, tag, inside=(), **options):
        self.path = os.path.join(c.dir, f"txns-{tag}.tsv")
        arguments = [*inside, tool("txnload"), "--endpoints", c.env["HOLDFAST_COORDINATORS"], "--out", self.path, "--tag", tag]
        for key, value in options.items():
            arguments += ["--" + key.replace("_", "-"), str(value)]
        self.said = open(self.path + ".said", "w+", encoding="utf-8")
        self.process = subprocess.Popen(arguments, stdout=subprocess.PIPE, stdin=subprocess.DEVNULL, stderr=self.said, env=c.env)
        os.set_blocking(self.process.stdout.fileno(), False)
        c.hammers.append(self)
        self.partial, self.counts = b"", {"acked": 0, "unknown": 0, "failed": 0, "conflicts": 0, "violations": 0}

    def complaints(self):
        with open(self.said.name, encoding="utf-8") as f:
            return f.read()

    def progress(self):
        chunk = self.process.stdout.read()
        if chunk:
            lines = (self.partial + chunk).split(b"\n")
            self.partial = lines.pop()
            if lines:
                words = lines[-1].split()
                self.counts = {words[i].decode(): int(words[i + 1]) for i in range(0, len(words), 2)}
        assert self.process.poll() in (None, 0), self.complaints()
        return self.counts

    def await_acks(self, count, seconds=120):
        """Waits for `count` more transactions from now on."""
        goal = self.progress()["acked"] + count
        wait_for(lambda: f"{count} more transactions ({self.counts})", seconds, lambda: self.progress()["acked"] >= goal)

    def stop(self):
        """Ends it after its last look at everything; its totals."""
        self.process.send_signal(signal.SIGTERM)
        wait_for("the end of txnload", 120, lambda: self.progress() and self.process.poll() is not None)
        self.progress()
        self.process.stdout.close()
        return self.counts

    def kill(self):
        """Ends it whatever it does; for a test that failed."""
        if self.process.poll() is None:
            self.process.kill()
            self.process.wait()
        self.process.stdout.close()
        self.said.close()


def txncheck(*paths):
    """(good, what it said) of the histories."""
    done = subprocess.run([tool("txncheck"), *paths], capture_output=True, text=True, timeout=300 * PATIENCE)
    return done.returncode == 0, done.stdout + done.stderr


def judge(*loads):
    """All faults of stopped loads, as text."""
    faults = [load.complaints()[:3000] for load in loads if load.counts["violations"]]
    good, said = txncheck(*(load.path for load in loads))
    return faults + ([] if good else [said[-6000:]]), said.splitlines()[-1] if said else ""
