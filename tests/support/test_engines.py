#!/usr/bin/env python3
# test_engines.py: engines.py finds whatever is half of one engine and half of the other.
import os
import sys
import tempfile
import types
import unittest

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
import engines  # noqa: E402


class FakeCluster:
    """Three replicas that went over to libraft in log epoch 2, and back in 3."""

    def __init__(self, top):
        self.top, self.said = top, {}
        for name in ("1/1", "1/2", "1/3"):
            migration = types.SimpleNamespace(state=engines.SEALED, id=7, epoch=2, index=90, term=4, digest=b"d")
            self.said[name] = types.SimpleNamespace(engine="native", log_epoch=3, migration=migration)
            for folder in ("native-3", "fsm", "archive/native-1", "archive/libraft-2"):
                os.makedirs(os.path.join(self.data(name), folder))

    def names(self, _):
        return list(self.said)

    def status_of(self, name, _=0):
        return self.said[name]

    def data(self, name):
        return os.path.join(self.top, name.replace("/", "-"))


class Engines(unittest.TestCase):
    def found(self, change):
        with tempfile.TemporaryDirectory() as top:
            c = FakeCluster(top)
            change(c)
            return engines.faults(c, {1: ("native", 3)}, 0)

    def test_whole(self):
        self.assertEqual(self.found(lambda c: None), [])

    def test_what_it_says(self):
        for field, value, text in [("engine", "libraft", "1/2: runs libraft in log epoch 3, not native in 3"),
                                   ("log_epoch", 2, "1/2: runs native in log epoch 2, not native in 3")]:
            self.assertIn(text, self.found(lambda c, f=field, v=value: setattr(c.said["1/2"], f, v)))
        self.assertIn("1/2: does not answer", self.found(lambda c: c.said.update({"1/2": None})))

    def test_seals(self):
        for field, value in [("state", 1), ("id", 8), ("index", 91), ("term", 5), ("digest", b"e"), ("epoch", 1)]:
            said = self.found(lambda c, f=field, v=value: setattr(c.said["1/3"].migration, f, v))
            self.assertTrue(said and said[0].startswith("shard 1: seals differ"), (field, said))

        def all_of_epoch_1(c):
            for s in c.said.values():
                s.migration.epoch = 1
        self.assertEqual(len(self.found(all_of_epoch_1)), 3)

    def test_directories(self):
        for folder in ("libraft-2", "MIGRATION", "identity.tmp", "archive/native-3"):
            said = self.found(lambda c, f=folder: os.makedirs(os.path.join(c.data("1/1"), f)))
            self.assertEqual((len(said), said[0][:5]), (1, "1/1: "), said)
        for folder in ("native-3", "archive/libraft-2"):
            self.assertEqual(len(self.found(lambda c, f=folder: os.rmdir(os.path.join(c.data("1/1"), f)))), 1)


if __name__ == "__main__":
    unittest.main(verbosity=2)
