#!/usr/bin/env python3
# metrics.py: /metrics of both programs: well-formed text for Prometheus, each family in its module's table, live numbers.
import glob
import os
import re
import sys
import unittest
import urllib.request

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "support"))
from cluster import PATIENCE, ROOT, SLOW_ELECTIONS, ClusterTest, wait_for  # noqa: E402

NUMBER = r"[0-9]+(?:\.[0-9]+)?(?:e[+-][0-9]+)?"
SAMPLE = re.compile(rf'^([a-z_:][a-z0-9_:]*)(?:\{{([a-z_][a-z0-9_]*="[^"\\\n]*"(?:,[a-z_][a-z0-9_]*="[^"\\\n]*")*)\}})? ({NUMBER})$')
ROW = re.compile(r"^\| `(holdfast_[a-z0-9_]+)(?:\{([a-z_, ]+)\})?` \| (counter|gauge|histogram) \| (\S.*) \|$")


def parse(text):
    """{family: (kind, help, {(sample, labels): value})} of the text format 0.0.4; asserts what it asks."""
    assert text.endswith("\n")
    families, name = {}, None
    for line in text.splitlines():
        if line.startswith("# HELP "):
            name, said = line[7:].split(" ", 1)
            assert name not in families and said.strip(), f"{line}: twice, or empty"
            families[name] = [None, said, {}]
        elif line.startswith("# TYPE "):
            typed, kind = line[7:].split(" ")
            assert typed == name and families[name][0] is None and kind in ("counter", "gauge", "histogram"), line
            families[name][0] = kind
        else:
            found = SAMPLE.match(line)
            assert found, f"no sample: {line!r}"
            sample, labels = found.group(1), found.group(2) or ""
            family = families[name]
            ends = ("_bucket", "_sum", "_count") if family[0] == "histogram" else ("",)
            assert sample in [name + end for end in ends], f"{line} in the family {name}"
            assert (sample, labels) not in family[2], f"{line}: twice"
            assert len(re.findall(r'(\w+)="', labels)) == len(set(re.findall(r'(\w+)="', labels))), line
            family[2][(sample, labels)] = float(found.group(3))
    return families


def check_histogram(name, samples):
    buckets = [(labels, v) for (sample, labels), v in samples.items() if sample == name + "_bucket"]
    bounds = [float(re.search(r'le="([^"]+)"', labels).group(1)) for labels, _ in buckets]
    counts = [v for _, v in buckets]
    assert bounds == sorted(bounds) and bounds[-1] == float("inf") and len(set(bounds)) == len(bounds), name
    assert counts == sorted(counts) and counts[-1] == samples[(name + "_count", "")], name
    assert bounds[0] <= 1e-5 and bounds[-2] >= 1, f"{name}: from microseconds to seconds"


def documented():
    """{name: (labels, kind)} of every README's table; a family of both programs stands in two."""
    tables = {}
    for path in glob.glob(os.path.join(ROOT, "**", "README.md"), recursive=True):
        if os.path.relpath(path, ROOT).startswith(("build", "tests")):
            continue
        with open(path, encoding="utf-8") as f:
            for found in map(ROW.match, f):
                if found:
                    labels = set(re.split(r", ", found.group(2))) if found.group(2) else set()
                    tables.setdefault(found.group(1), (labels, found.group(3)))
                    assert tables[found.group(1)] == (labels, found.group(3)), found.group(0)
    return tables


class Metrics(ClusterTest):
    def families(self, c, name):
        with urllib.request.urlopen(f"http://{c.processes[name]['http']}/metrics", timeout=10 * PATIENCE) as f:
            self.assertEqual(f.headers["Content-Type"].partition(";")[0], "text/plain")
            return parse(f.read().decode())

    def test_every_family_is_documented_and_every_documented_one_is_there(self):
        c = self.cluster(shards=1, sets=["snapshot-keep=1"]).up()  # what is kept has metrics only then
        tables, seen = documented(), {}
        for name in (c.names(1)[0], "coordinator/1"):
            for family, (kind, _, samples) in self.families(c, name).items():
                seen[family] = kind
                labels = {label for (_, text) in samples for label in re.findall(r'(\w+)="', text)} - {"le"}
                self.assertEqual(tables.get(family), (labels, kind), f"{name}: {family} in the READMEs' tables")
                if kind == "histogram":
                    check_histogram(family, samples)
        self.assertEqual(sorted(set(tables) - set(seen)), [], "documented, but not there")

    def test_the_numbers_are_live(self):
        c = self.cluster(shards=1, env=SLOW_ELECTIONS).up()
        for i in range(10):
            c.cli("put", f"key{i}", "value")
        leader = c.leader(1)
        s = c.answer_of(leader)

        def value(name, labels=""):
            base = re.sub(r"_(count|sum|bucket)$", "", name)
            families = self.families(c, leader)
            return families[name if name in families else base][2][(name, labels)]
        for name, least in [("holdfast_fsm_applied_index", s.applied), ("holdfast_raft_commit_index", s.commit),
                            ("holdfast_log_last_index", s.last), ("holdfast_fsm_durable_applied_index", 1),
                            ("holdfast_fsm_apply_seconds_count", 10), ("holdfast_entries_committed_total", 10),
                            ("holdfast_entries_proposed_total", 10), ("holdfast_raft_leader_changes_total", 1),
                            ("holdfast_fsm_replay_pending_bytes", 1), ("holdfast_log_disk_bytes", 1 << 20),  # a flush may cover most
                            ("holdfast_hlc_ceiling_timestamp_seconds", 1.7e9), ("holdfast_disk_free_bytes", 1 << 20)]:
            wait_for(f"{name} to be {least}", 20, lambda: value(name) >= least)  # noqa: B023: as old as the last look
        for name, exact in [("holdfast_raft_is_leader", 1), ("holdfast_raft_has_leader", 1), ("holdfast_raft_term", s.term),
                            ("holdfast_log_first_index", s.log_first), ("holdfast_writes_pending", 0),
                            ("holdfast_fsm_replay_budget_bytes", 16 << 20), ("holdfast_entries_failed_total", 0)]:
            wait_for(f"{name} to be {exact}", 20, lambda: value(name) == exact)  # noqa: B023
        self.assertEqual(value("holdfast_build_info", f'program="holdfast-shard",version="{s.version}"'), 1)
        follower = c.followers(1)[0]
        self.assertEqual(self.families(c, follower)["holdfast_raft_is_leader"][2][("holdfast_raft_is_leader", "")], 0)

    def test_only_real_syncs_are_counted(self):
        """An idle replica's loop turns on; its log is synced by the coordinator's leases only."""
        c = self.cluster(shards=1).up()
        name = c.leader(1)

        def look():
            families = self.families(c, name)
            return [families[f][2][(sample, "")] for f, sample in [
                ("holdfast_turns_total", "holdfast_turns_total"), ("holdfast_log_sync_seconds", "holdfast_log_sync_seconds_count"),
                ("holdfast_log_last_index", "holdfast_log_last_index")]]
        first = look()
        now = wait_for("turns", 60, lambda: (lambda seen: seen if seen[0] >= first[0] + 60 else None)(look()))
        syncs, entries = now[1] - first[1], now[2] - first[2]
        self.assertLessEqual(syncs, 2 * entries + 4)
        self.assertLess(syncs, (now[0] - first[0]) / 2)


if __name__ == "__main__":
    unittest.main(verbosity=2)
