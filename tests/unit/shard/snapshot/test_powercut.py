#!/usr/bin/env python3
# test_powercut.py: the power fails while a machine is put in another's place: after each cut one of the two is there, whole.
import collections
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import unittest

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "..", "..", "support", "powercut"))
import powercut  # noqa: E402

BUILD = os.environ["HOLDFAST_BUILD_DIR"]
PROGRAM = os.path.join(BUILD, "bin", "test_snapshot_checkpoint")
LIBRARY = os.path.join(BUILD, "lib", "libpowercut.so")
SEEDS = 100 if os.environ.get("HOLDFAST_TEST_FULL") else 2

# What may be there afterwards. The token is replaced second, after the record.
POINTS = {
    "install.before_record": {"old"},
    "disk.replace.before_rename:1": {"old"},
    "disk.replace.after_rename:1": {"old", "new"},
    "install.after_record": {"new"},
    "install.after_exchange": {"new"},
    "disk.replace.before_rename:2": {"new"},
    "install.before_done": {"new"},
    None: {"new"},
}


class PowerCut(unittest.TestCase):
    def run_program(self, *words, **environment):
        return subprocess.run([PROGRAM, *words], env=dict(os.environ, **environment), capture_output=True, text=True, timeout=300)

    def test_old_or_new(self):
        top = tempfile.mkdtemp(dir="/dev/shm" if os.path.isdir("/dev/shm") else BUILD)  # syncs cost nothing
        self.addCleanup(shutil.rmtree, top)
        origin, root, journal = (os.path.join(top, name) for name in ("origin", "root", "journal"))
        os.mkdir(origin)
        done = self.run_program("prepare", origin)
        self.assertEqual(done.returncode, 0, done.stderr)
        for point, allowed in POINTS.items():
            seen = collections.Counter()
            for seed in range(SEEDS):
                shutil.copytree(origin, root)
                environment = powercut.environment(LIBRARY, root, journal, powercut.sanitizer(PROGRAM))
                if point:
                    environment["HOLDFAST_CRASH_POINT"] = point
                done = self.run_program("install", os.path.join(root, "checkpoint"), root, **environment)
                self.assertEqual(done.returncode, -signal.SIGKILL if point else 0, f"{point}: {done.stderr}")
                lost = powercut.power_cut(root, journal, seed)
                done = self.run_program("settle", root)
                self.assertEqual(done.returncode, 0, f"{point}, seed {seed}: {done.stderr}\n{''.join(lost)}")
                seen[done.stdout.strip()] += 1
                shutil.rmtree(root)
            self.assertLessEqual(set(seen), allowed, f"{point}: {seen}")


if __name__ == "__main__":
    unittest.main(verbosity=2)
