# histories.py: judges what hammer.c recorded against what the store holds at the end: nothing lost, nothing from nowhere.
import os
import time

import cluster


def rows(path):
    """(client, op, key, value, expected, invoked, returned, outcome, read, code) of each line."""
    with open(path, encoding="utf-8") as f:
        for line in f:
            yield line.rstrip("\n").split("\t")


def value_id(value):
    """What stands in the history for a stored value: the text before the padding; anything else is told apart."""
    head, colon, padding = value.partition(b":")
    return head.decode("utf-8", "replace") if colon and padding.strip(b"p") == b"" else f"?{len(value)}"


def judge_unique(paths, dump):
    """Faults of keys that are put once: an acknowledged one is missing or different, one surely not done is there."""
    faults, seen = [], set()
    for path in paths:
        for row in rows(path):
            key, outcome = row[2], row[7]
            if "-hot-" in key:
                continue
            seen.add(key.encode())
            there = dump.get(key.encode())
            if outcome == "ok" and there is None:
                faults.append(f"lost: {key} was acknowledged")
            elif outcome not in ("ok", "unknown") and there is not None:
                faults.append(f"from nowhere: {key} is there, its put was surely not done ({row[9]})")
            elif there is not None and value_id(there) != row[3]:
                faults.append(f"wrong value: {key} holds {value_id(there)}, not {row[3]}")
    faults += [f"from nowhere: {k!r} was never put" for k in dump if b"-u-" in k and k not in seen]
    return faults


def final_reads(paths, dump, out):
    """Writes the end state of the hot keys as gets that came after everything."""
    now = time.monotonic_ns()
    keys = {row[2] for path in paths for row in rows(path) if "-hot-" in row[2]}
    with open(out, "w", encoding="utf-8") as f:
        for key in sorted(keys):
            there = dump.get(key.encode())
            outcome, read = ("notfound", "-") if there is None else ("ok", value_id(there))
            f.write(f"final\tget\t{key}\t-\t-\t{now}\t{now + 1}\t{outcome}\t{read}\tFINAL\n")
    return out


def judge(c, hammers, dump):
    """All faults of the histories of `hammers` (stopped) against `dump`, the store's content afterwards."""
    paths = [h.path for h in hammers]
    faults = judge_unique(paths, dump)[:20]
    last = final_reads(paths, dump, os.path.join(c.dir, "history-final.tsv"))
    good, said = cluster.lincheck(*paths, last)
    if not good:
        faults.append(said[-3000:])
    return faults
