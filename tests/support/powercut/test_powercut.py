#!/usr/bin/env python3
# test_powercut.py: a power cut may take what was not synced, and takes it at some seed; it never takes what was.
import collections
import os
import random
import shutil
import subprocess
import sys
import tempfile
import unittest

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
import powercut  # noqa: E402

BUILD = os.environ["HOLDFAST_BUILD_DIR"]
LIBRARY = os.path.join(BUILD, "lib", "libpowercut.so")
SEEDS = 40


class PowerCut(unittest.TestCase):
    def setUp(self):
        self.use("/dev/shm" if os.path.isdir("/dev/shm") else BUILD)  # syncs cost nothing

    def use(self, folder):
        self.top = tempfile.mkdtemp(dir=folder)
        self.addCleanup(shutil.rmtree, self.top)
        self.root, self.folder = os.path.join(self.top, "root"), os.path.join(self.top, "journal")

    def fresh(self):
        shutil.rmtree(self.root, ignore_errors=True)
        shutil.rmtree(self.folder, ignore_errors=True)
        os.mkdir(self.root)

    def ops(self, line):
        done = subprocess.run([os.path.join(BUILD, "bin", "powercut_ops"), *line.split()], cwd=self.root,
                              env=dict(os.environ, **powercut.environment(LIBRARY, self.root, self.folder)),
                              capture_output=True, text=True)
        self.assertEqual((done.returncode, done.stderr), (0 if "kill" not in line else -9, ""), line)

    def tree(self):
        """{path: content} of what is there, directories with None."""
        found = {}
        for folder, dirs, files in os.walk(self.root):
            for name in dirs:
                found[os.path.relpath(os.path.join(folder, name), self.root)] = None
            for name in files:
                with open(os.path.join(folder, name), "rb") as f:
                    found[os.path.relpath(os.path.join(folder, name), self.root)] = f.read()
        return found

    def outcomes(self, *lives, mode=None, seeds=SEEDS):
        """How often each tree was found after a cut; every seed is done twice and must be the same."""
        seen = collections.Counter()
        for seed in range(seeds):
            trees = []
            for _ in range(2 if seed < 5 else 1):
                self.fresh()
                for line in lives:
                    self.ops(line)
                self.lines = powercut.power_cut(self.root, self.folder, seed, mode)
                self.assertFalse(os.path.exists(self.folder))
                trees.append(tuple(sorted(self.tree().items())))
            self.assertEqual(len(set(trees)), 1, "one seed, two outcomes")
            seen[trees[0]] += 1
        return {key: n for key, n in seen.items()}

    def trees(self, *lives, **options):
        return [dict(t) for t in self.outcomes(*lives, **options)]

    DURABLE = "new f write 0 old close syncdir . open f sync close "

    def test_write_without_sync(self):
        for life in ("open f write 0 new", "open f write 0 new kill", "open f write 0 new range", "open f append new"):
            found = [t["f"] for t in self.trees(self.DURABLE + life)]
            kept = b"oldnew" if "append" in life else b"new"
            self.assertIn(b"old", found)
            self.assertIn(kept, found)
            if "append" not in life:
                self.assertEqual(sorted(found), [b"new", b"old"])

    def test_synced_write_stays(self):
        for sync in ("sync", "fsync"):
            self.assertEqual(self.trees(f"{self.DURABLE} open f write 0 new {sync} kill"), [{"f": b"new"}])
        self.assertEqual(self.trees(self.DURABLE + "dsync f write 0 new kill"), [{"f": b"new"}])

    def test_sync_covers_what_came_before_it_only(self):
        found = [t["f"] for t in self.trees(self.DURABLE + "open f write 0 one sync write 1 x", mode="ordered")]
        self.assertEqual(sorted(found), [b"one", b"oxe"])

    def test_another_life_does_not_make_durable(self):
        """The page cache shows a restarted process what was never synced; its own sync makes all of the file durable."""
        found = [t["f"] for t in self.trees(self.DURABLE, "open f write 0 new kill", "open f write 0 n")]
        self.assertIn(b"old", found)
        self.assertEqual(self.trees(self.DURABLE, "open f write 0 new kill", "open f sync"), [{"f": b"new"}])

    def test_sectors_are_lost_one_by_one(self):
        life = "new f fill 0 16384 a sync syncdir . fill 0 16384 b"
        found = [t["f"] for t in self.trees(life)]
        for content in found:
            self.assertEqual(len(content), 16384)
            for at in range(0, 16384, 512):
                self.assertIn(content[at:at + 512], (b"a" * 512, b"b" * 512))
        self.assertGreater(sum(0 < content.count(b"a") < 16384 for content in found), 5)
        self.assertTrue(any(content.startswith(b"a") and content.endswith(b"b") for content in found))

    def test_versions_between(self):
        found = {t["f"] for t in self.trees("new f write 0 aaa sync syncdir . write 0 bbb write 0 ccc")}
        self.assertEqual(found, {b"aaa", b"bbb", b"ccc"})

    def test_growth(self):
        """Ordered: a size that is kept covers what was written. Harsh: it may cover zeros, or anything."""
        life = "new f fill 0 1000 a sync syncdir . fill 1000 8000 b"
        for tree in self.trees(life, mode="ordered"):
            self.assertIn(tree["f"], (b"a" * 1000, b"a" * 1000 + b"b" * 8000))
        harsh = [t["f"] for t in self.trees(life, mode="harsh")]
        self.assertTrue(all(content.startswith(b"a" * 1000) for content in harsh))
        self.assertTrue(any(b"\0" * 512 in content for content in harsh))
        self.assertTrue(any(set(content) - set(b"ab\0") for content in harsh))

    def test_size(self):
        found = {t["f"] for t in self.trees("new f fill 0 5000 a sync syncdir . size 10 append b")}
        self.assertIn(b"a" * 5000, found)
        self.assertIn(b"a" * 10, found)
        self.assertIn(b"a" * 10 + b"b", found)
        found = {t["f"] for t in self.trees(self.DURABLE + "new f write 0 x", mode="ordered")}  # O_TRUNC
        self.assertEqual(found, {b"old", b"", b"x"})

    def test_new_file(self):
        found = self.trees("new f write 0 abc sync")
        self.assertIn({}, found)
        self.assertIn({"f": b"abc"}, found)
        self.assertEqual(len(found), 2)
        found = self.trees("new f write 0 abc syncdir .")
        self.assertIn({"f": b""}, found)
        self.assertIn({"f": b"abc"}, found)
        self.assertNotIn({}, found)
        self.assertEqual(self.trees("new f write 0 abc sync syncdir ."), [{"f": b"abc"}])

    REPLACE = DURABLE + "new f.tmp write 0 new sync close rename f.tmp f "

    def test_rename(self):
        found = self.trees(self.REPLACE)
        for tree in ({"f": b"new"}, {"f": b"old"}, {"f": b"old", "f.tmp": b"new"}):
            self.assertIn(tree, found)
        self.assertEqual(len(found), 3)
        self.assertEqual(self.trees(self.REPLACE + "syncdir ."), [{"f": b"new"}])

    EXCHANGE = "mkdir d new d/f write 0 d sync close syncdir d mkdir e new e/g write 0 e sync close syncdir e syncdir . "

    def test_exchange(self):
        before = {"d": None, "d/f": b"d", "e": None, "e/g": b"e"}
        after = {"d": None, "d/g": b"e", "e": None, "e/f": b"d"}
        found = self.trees(self.EXCHANGE + "exchange d e")
        self.assertEqual(len(found), 2)
        self.assertIn(before, found)
        self.assertIn(after, found)
        self.assertEqual(self.trees(self.EXCHANGE + "exchange d e syncdir . kill"), [after])
        # what was exchanged out is emptied and goes: any part of that may be lost, what came in may not
        for tree in self.trees(self.EXCHANGE + "exchange d e syncdir . unlink e/f rmdir e"):
            self.assertEqual({k: v for k, v in tree.items() if k.startswith("d")}, {"d": None, "d/g": b"e"})
        # emptied before that was durable: what was in use may come back without its content
        self.assertIn(dict(before, **{"d/f": b"d"}), self.trees(self.EXCHANGE + "exchange d e unlink e/f rmdir e"))
        self.assertTrue(any("d/f" not in t and "d/g" not in t
                            for t in self.trees(self.EXCHANGE + "exchange d e unlink e/f rmdir e")))

    def test_renamed_before_its_data_was_synced(self):
        found = self.trees(self.DURABLE + "new f.tmp write 0 new close rename f.tmp f syncdir .")
        self.assertIn({"f": b""}, found)
        self.assertIn({"f": b"new"}, found)

    def test_unlink_and_link(self):
        found = self.trees(self.DURABLE + "unlink f")
        self.assertEqual(sorted(map(str, found)), ["{'f': b'old'}", "{}"])
        self.assertEqual(self.trees(self.DURABLE + "unlink f syncdir ."), [{}])
        found = self.trees(self.DURABLE + "link f g unlink f")
        self.assertIn({"f": b"old", "g": b"old"}, found)
        self.assertIn({"g": b"old"}, found)
        self.assertIn({"f": b"old"}, found)
        self.assertTrue(any("f" in t for t in self.trees(self.DURABLE + "unlink f new f write 0 x")))

    def test_directories(self):
        found = self.trees("mkdir d new d/f write 0 x sync syncdir d")
        self.assertEqual(sorted(map(str, found)), ["{'d': None, 'd/f': b'x'}", "{}"])
        self.assertEqual(self.trees("mkdir d new d/f write 0 x sync syncdir d syncdir ."), [{"d": None, "d/f": b"x"}])
        found = self.trees("mkdir d new d/f write 0 x sync syncdir d syncdir . unlink d/f rmdir d")
        for tree in ({}, {"d": None}, {"d": None, "d/f": b"x"}):
            self.assertIn(tree, found)
        self.assertEqual(self.trees("mkdir d new d/f unlink d/f rmdir d mkdir d", mode="worst", seeds=1), [{}])

    def test_directories_come_back_as_others(self):
        """A checkpoint that came and went: made, filled, renamed, emptied, removed, and again, perhaps with the same inode."""
        round_ = "mkdir d.tmp link f d.tmp/f syncdir d.tmp rename d.tmp d syncdir d unlink d/f rmdir d "
        for mode in ("worst", "ordered", "harsh"):
            for tree in self.trees(self.DURABLE + 2 * round_, mode=mode):
                self.assertEqual(tree.pop("f"), b"old")
                self.assertLessEqual(set(tree), {"d", "d/f", "d.tmp", "d.tmp/f"})
                self.assertTrue(mode == "harsh" or "d" not in tree or "d.tmp" not in tree, tree)

    def test_the_number_of_a_removed_directory_is_another_one_s(self):
        """A sync of the one that has it now makes nothing of the first durable. tmpfs gives numbers to one only, ext4 again."""
        self.use(BUILD)
        for tree in self.trees(self.DURABLE + "mkdir a link f a/f syncdir a syncdir . unlink a/f rmdir a mkdir b syncdir b",
                               mode="worst"):
            self.assertEqual(tree, {"f": b"old", "a": None, "a/f": b"old"})

    def test_names_in_order_or_not(self):
        life = "new a close new b close new c close"
        for tree in self.trees(life, mode="ordered"):
            self.assertIn(sorted(tree), [[], ["a"], ["a", "b"], ["a", "b", "c"]])
        self.assertIn(["c"], [sorted(t) for t in self.trees(life, mode="harsh")])

    def test_worst(self):
        self.assertEqual(self.trees(self.REPLACE + "open f write 0 xxx", mode="worst", seeds=5), [{"f": b"old"}])

    def test_random_programs(self):
        """Whatever was done: the undoing is consistent; names are as synced, or else some of those that were there."""
        for seed in range(60):
            rng = random.Random(seed)
            line, there, files = "new keep fill 0 3000 k sync close syncdir .", {}, 0  # name: which file
            for _ in range(40):
                name, other = rng.sample("abcd", 2)
                kind = rng.choice(["make", "make", "unlink", "rename", "link", "syncdir"])
                if kind == "make":
                    line += f" {'open' if name in there else 'new'} {name} fill {rng.randrange(9000)} {rng.randrange(1, 9000)} x"
                    line += rng.choice([" close", " sync close", f" size {rng.randrange(9000)} close"])
                    files += 1
                    there.setdefault(name, files)
                elif kind == "unlink" and name in there:
                    line += f" unlink {name}"
                    del there[name]
                elif kind == "rename" and name in there and there[name] != there.get(other):
                    line += f" rename {name} {other}"
                    there[other] = there.pop(name)
                elif kind == "link" and name in there and other not in there:
                    line += f" link {name} {other}"
                    there[other] = there[name]
                elif kind == "syncdir":
                    line += " syncdir ."
            self.fresh()
            self.ops(line + (" syncdir ." if seed % 2 else "") + " open keep write 100 zzz")
            powercut.power_cut(self.root, self.folder, seed)
            tree = self.tree()
            if seed % 2:
                self.assertEqual(set(tree) - {"keep"}, set(there), f"seed {seed}")
            self.assertIn(tree["keep"], (b"k" * 3000, b"k" * 100 + b"zzz" + b"k" * 2897), f"seed {seed}")


if __name__ == "__main__":
    unittest.main(verbosity=2)
