# stops.py: processes that stop at their crash points (HOLDFAST_CRASH_STOPS): the one that a test waits for is held there, every other
# one goes on at once.
import signal
import threading
import time

from cluster import wait_for

LOOK_SECONDS = 0.01


class PassedBy(Exception):
    """They will not come there any more."""


class Stops:
    def __init__(self, c):
        self.c, self.lock, self.ended = c, threading.Lock(), threading.Event()
        self.wanted, self.held, self.passed = {}, [], 0
        self.thread = threading.Thread(target=self._run, daemon=True)
        self.thread.start()

    def end(self):
        self.ended.set()
        self.thread.join()

    def hold(self, names, skip=0):
        """From now on each of these is held where it stops; the first `skip` stops of any of them do not count."""
        with self.lock:
            self.wanted, self.held, self.passed = set(names), [], -skip

    def let_go(self):
        with self.lock:
            self.wanted, self.held = set(), []

    def await_held(self, count=1, seconds=90, also=lambda: None, passed_by=lambda: False):
        """Waits until so many are held there; their names. `also` is done again and again meanwhile. PassedBy: when `passed_by` says so."""
        def probe():
            also()
            if len(self.held) < count and passed_by():
                raise PassedBy(f"{self.held} of {sorted(self.wanted)} came to the crash point")
            return len(self.held) >= count
        wait_for(lambda: f"{count} of {sorted(self.wanted)} at a crash point: {self.held}", seconds, probe, LOOK_SECONDS)
        return list(self.held)

    def _stopped(self, name):
        pid = self.c.pid(name)
        try:
            with open(f"/proc/{pid}/stat", encoding="ascii", errors="replace") as f:
                return f.read().rpartition(")")[2].split()[0] == "T"
        except OSError:
            return False

    def _look(self):
        for name in list(self.c.processes):
            with self.lock:
                if name in self.held or not self._stopped(name):
                    continue
                self.passed += name in self.wanted
                if name in self.wanted and self.passed > 0:
                    self.held.append(name)
                else:
                    self.c.signal_if_running(name, signal.SIGCONT)

    def _run(self):
        while not self.ended.is_set():
            self._look()
            time.sleep(LOOK_SECONDS)
