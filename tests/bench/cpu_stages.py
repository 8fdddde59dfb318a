#!/usr/bin/env python3
# cpu_stages.py: what cpu.sh collected as tables: processor time an operation by process and thread, and by stage.
#
# cpu_stages.py FOLDER TICKS-PER-SECOND WITH-STAGES SYMBOLS ROOT
#
# A stage is what a sample was taken for, not where the instruction stands: a system call belongs to what it does (sync,
# socket, wake-up), a function of ours to the folder of its source, anything in libc or common/ to the nearest caller that
# can be told, and all of RocksDB's own threads to RocksDB.
import collections
import re
import sys

SYNC = re.compile(r"^__(x64|arm64|ia32)_sys_(fdatasync|fsync|pwrite|writev|fallocate|ftruncate|openat|rename|unlink)")
SOCKETS = re.compile(r"^__(x64|arm64|ia32)_sys_(send|recv|epoll|accept|connect|read|write)")
WAITING = re.compile(r"^__(x64|arm64|ia32)_sys_(poll|ppoll|futex|nanosleep|clock_nanosleep|sched_yield)|^eventfd_")
FOLDERS = [  # of a function's source: the first that fits
    ("proto/", "protobuf"),
    ("shard/engine/", "engine"),
    ("shard/log/", "log: frames"),
    ("shard/fsm/", "apply: state machine"),
    ("shard/store/", "apply: RocksDB"),
    ("shard/replica/", "turn, transport"),
    ("shard/server/", "request, reply"),
    ("coordinator/", "coordinator"),
    ("client/bench/", "driver"),
    ("client/", "client library"),
    ("common/sys/net", "network: ZeroMQ"),
]
ORDER = ["network: kernel", "network: ZeroMQ", "wake-ups, waiting", "protobuf", "request, reply", "turn, transport", "engine",
         "log: frames", "log: write, sync", "apply: state machine", "apply: digest", "apply: RocksDB",
         "RocksDB in background", "coordinator", "client library", "driver", "memory, copies", "not told"]


def read_processes(folder):
    processes = {}
    for line in open(f"{folder}/processes", encoding="utf-8"):
        pid, name = line.rstrip("\n").split(" ", 1)
        processes[int(pid)] = name
    return processes


def read_snapshot(path):
    with open(path, encoding="utf-8") as f:
        operations = float(f.readline())
        threads = {}
        for line in f:
            pid, tid, user, system, sleeps, comm = line.rstrip("\n").split(" ", 5)
            threads[int(pid), int(tid)] = (int(user), int(system), int(sleeps), comm)
    return operations, threads


def read_where(folder):
    """(program, function) → the folder of its source."""
    where = {}
    for line in open(f"{folder}/where", encoding="utf-8"):
        program, function, source = line.split(" ", 2)
        where.setdefault((program, function), source)
    return where


def read_samples(folder):
    """Yields (pid, comm, frames), the innermost frame first, each (function, object)."""
    pid, comm, frames = None, None, []
    for line in open(f"{folder}/samples", encoding="utf-8", errors="replace"):
        if not line.strip():
            if pid is not None:
                yield pid, comm, frames
            pid, frames = None, []
        elif line[0] not in "\t ":
            found = re.match(r"(.*?)\s+(\d+)/\d+", line)
            pid, comm = int(found.group(2)), found.group(1)
        else:
            found = re.match(r"\s+[0-9a-f]+ (.*) \((.*)\)$", line)
            if found:
                frames.append((re.sub(r"\.(part|constprop|isra|cold)\b.*", "", found.group(1)), found.group(2)))
    if pid is not None:
        yield pid, comm, frames


def in_kernel(frame):
    return frame[1].startswith("[") and frame[1] != "[vdso]"


def kernel_stage(frames):
    names = [name for name, _ in frames]
    if any(WAITING.match(n) for n in names):
        return "wake-ups, waiting"
    if any(SYNC.match(n) for n in names) or any(n.startswith(("ext4_", "xfs_", "btrfs_")) for n in names):
        return "log: write, sync"
    if any(SOCKETS.match(n) for n in names):
        return "network: kernel"
    return None  # an interrupt or a page fault: whatever it came upon


def user_stage(frames, where, root):
    for function, where_from in frames:
        library = where_from.rsplit("/", 1)[-1]
        if library.startswith("libzmq"):
            return "network: ZeroMQ"
        if library.startswith("libprotobuf-c"):
            return "protobuf"
        if library.startswith("librocksdb") or re.search(r"\brocksdb(::|_)", function):
            return "apply: RocksDB"
        if library.startswith("libsodium"):
            return "apply: digest"
        source = where.get((library, function), "")
        source = source[len(root) + 1:] if source.startswith(root + "/") else source
        for folder, stage in FOLDERS:
            if source.startswith(folder) or f"/{folder}" in source and "generated" not in source and source[0] == "/":
                return stage
        if source.endswith((".pb-c.c", ".pb-c.h")) or re.search(r"\.pb-c\.[ch]:", source):
            return "protobuf"
    if frames and re.search(r"alloc|free|mem(cpy|move|set|cmp)", frames[0][0]):
        return "memory, copies"
    if frames and re.search(r"poll|futex|eventfd", frames[0][0]):
        return "wake-ups, waiting"
    return None


def stage_of(comm, frames, where, root):
    if comm.startswith("rocksdb:"):
        return "RocksDB in background"
    split = next((i for i, f in enumerate(frames) if not in_kernel(f)), len(frames))
    stage = kernel_stage(frames[:split]) or user_stage(frames[split:], where, root)
    if stage is None and comm.startswith("ZMQ"):
        stage = "network: ZeroMQ"
    return stage or "not told"


def print_threads(processes, before, after, us, operations):
    print(f"\n{'process':<14} {'thread':<16} {'user us':>9} {'system us':>10} {'all us':>9} {'sleeps':>9}   (an operation)")
    total = collections.Counter()
    for pid, name in processes.items():
        rows = collections.Counter()
        for (p, tid), (user, system, sleeps, comm) in after.items():
            if p == pid:
                user0, system0, sleeps0, _ = before.get((p, tid), (0, 0, 0, ""))
                label = "main" if tid == pid else comm
                rows[label, "user"] += (user - user0) * us
                rows[label, "system"] += (system - system0) * us
                rows[label, "sleeps"] += (sleeps - sleeps0) / operations
        for label in sorted({k[0] for k in rows}, key=lambda k: -rows[k, "user"] - rows[k, "system"]):
            user, system = rows[label, "user"], rows[label, "system"]
            if user + system > 0:
                print(f"{name:<14} {label:<16} {user:9.2f} {system:10.2f} {user + system:9.2f} {rows[label, 'sleeps']:9.3f}")
            total[name] += user + system
    servers = sum(v for k, v in total.items() if k != "driver")
    print("all: " + ", ".join(f"{k} {v:.2f}" for k, v in total.items()) + f"; servers {servers:.2f} us an operation")
    return total


def print_stages(processes, total, folder, root, symbols):
    where = read_where(folder)
    stages, functions, samples = collections.Counter(), collections.Counter(), collections.Counter()
    for pid, comm, frames in read_samples(folder):
        name = processes.get(pid)
        if name is None:
            continue
        column = name.split(" ")[0]
        column = "followers" if column == "follower" else column
        stage = stage_of(comm, frames, where, root)
        samples[name] += 1
        stages[stage, column, name] += 1
        leaf = frames[0] if frames else ("?", "?")
        functions[name, stage, leaf[0], leaf[1].rsplit("/", 1)[-1]] += 1
    columns = ["leader", "followers", "coordinator", "driver"]

    def cost(stage, column):
        return sum(n * total[name] / samples[name] for (s, c, name), n in stages.items() if (s, c) == (stage, column))
    print(f"\n{'stage, us an operation':<24}" + "".join(f"{c:>13}" for c in columns) + f"{'servers':>10}")
    for stage in ORDER + ["sum"]:
        row = [sum(cost(s, c) for s in ORDER) if stage == "sum" else cost(stage, c) for c in columns]
        if any(row):
            print(f"{stage:<24}" + "".join(f"{v:13.2f}" for v in row) + f"{sum(row[:3]):10.2f}")
    for name in total if symbols else []:
        print(f"\n{name}: {samples[name]} samples, us an operation by function")
        mine = [(n, k) for k, n in functions.items() if k[0] == name]
        for n, (_, stage, function, library) in sorted(mine, key=lambda row: -row[0])[:symbols]:
            print(f"{n * total[name] / samples[name]:8.2f}  {stage:<24} {function} ({library})")


def main(folder, ticks, with_stages, symbols, root):
    processes = read_processes(folder)
    operations0, before = read_snapshot(f"{folder}/before")
    operations1, after = read_snapshot(f"{folder}/after")
    operations = operations1 - operations0
    if operations <= 0:
        print("cpu_stages.py: no operations in the window", file=sys.stderr)
        return 1
    print(f"{operations:.0f} operations in the window")
    total = print_threads(processes, before, after, 1e6 / int(ticks) / operations, operations)
    if int(with_stages):
        print_stages(processes, total, folder, root, int(symbols))
    return 0


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
