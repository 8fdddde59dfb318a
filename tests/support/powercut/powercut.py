#!/usr/bin/env python3
# powercut.py: after a process under libpowercut.so was killed, takes back a random part of what it had not synced.
import argparse
import collections
import ctypes
import os
import random
import re
import shutil
import struct
import subprocess
import sys

RECORD = struct.Struct("<IIQIIQQQQ")
MAGIC = 0x74756350
PRE, WRITE, SIZE, SYNC, SYNC_ALL, CLOSE, DONE = range(1, 8)
CREATE, UNLINK, RENAME, EXCHANGE, LINK, MKDIR, RMDIR = range(8, 15)
KINDS = "- pre write size sync sync-all close done create unlink rename exchange link mkdir rmdir".split()
INODES = {WRITE: [0], SIZE: [0], SYNC: [0], DONE: [2], **dict.fromkeys(range(CREATE, RMDIR + 1), [0, 1, 2, 3])}  # of values
LIFE = 1 << 40  # sequence numbers of one life of the process are below this
MODES = ["worst", "ordered", "harsh"]
RENAME_EXCHANGE = 2
NUMBER = 1 << 64  # inode numbers are below; what has the number of a directory that went before is told from it above


class Data:
    """A write, or a change of size: of one inode, not synced."""

    def __init__(self, order, kind, inode, start, end, old_size, before):
        self.order, self.kind, self.inode, self.start, self.end = order, kind, inode, start, end
        self.old_size, self.before, self.closed = old_size, before, False


class Name:
    """A change of a directory that is not synced. done None: the process was killed in it."""

    def __init__(self, order, kind, values, names):
        self.order, self.kind, self.inode, self.victim, self.names = order, kind, values[2], values[3], names
        self.dirs = [values[0], values[1]] if kind in (RENAME, EXCHANGE) else [values[0]]
        self.done, self.closed = None, False
        self.keys = set(zip(self.dirs, names))

    def __str__(self):
        return f"{KINDS[self.kind]} {' '.join(self.names)}"


def records(folder):
    """(order, kind, values, payload) of every record of every life; a life's last may be torn: its change was not begun."""
    for life, name in enumerate(sorted(n for n in os.listdir(folder) if n.startswith("journal-"))):
        with open(os.path.join(folder, name), "rb") as f:
            data = f.read()
        at, expected = 0, 1
        while at + RECORD.size <= len(data):
            magic, size, sequence, kind, _, *values = RECORD.unpack_from(data, at)
            assert magic == MAGIC and sequence == expected, f"{name}: bad record at {at}"
            at += RECORD.size + size
            if at > len(data):
                break
            expected += 1
            yield life * LIFE + sequence, kind, values, data[at - size:at]


class Journal:
    """What is open: changes that no sync has covered."""

    def __init__(self, folder):
        self.data = collections.defaultdict(list)   # inode: [Data], oldest first
        self.names = collections.defaultdict(list)  # directory: [Name]
        self.made = set()                           # files created and never synced
        self.counts = collections.Counter()
        self.reused = {}                            # inode number of a removed directory: who has it after that
        by_order, before = {}, {}
        for order, kind, v, payload in records(folder):
            life = order // LIFE * LIFE
            v = [self.reused.get(n, n) if at in INODES.get(kind, ()) else n for at, n in enumerate(v)]
            self.counts[KINDS[kind]] += 1
            if kind == PRE:
                before[v[1]] = payload
                continue
            if kind == WRITE:
                by_order[order] = Data(order, kind, v[0], v[1], v[1] + v[2], v[3], before)
                self.data[v[0]].append(by_order[order])
            elif kind == SIZE:
                self.data[v[0]].append(Data(order, kind, v[0], min(v[1], v[2]), v[2], v[2], before))
            elif kind == SYNC:
                self.close(v[0], life + v[1])
            elif kind == SYNC_ALL:
                for inode in [*self.data, *self.names]:
                    self.close(inode, life + v[0])
            elif kind == CLOSE:
                by_order[life + v[0]].closed = True
            elif kind == DONE:
                op = by_order[life + v[0]]
                op.done, op.inode = bool(v[1]), v[2] or op.inode
                if op.kind == CREATE and op.done:
                    self.made.add(op.inode)
                elif op.kind == RMDIR and op.done:
                    self.reused[op.inode % NUMBER] = op.inode + NUMBER
            else:
                op = by_order[order] = Name(order, kind, v, [n.decode() for n in payload.split(b"\0")[:-1]])
                for directory in set(op.dirs):
                    self.names[directory].append(op)
            before = {}

    def close(self, inode, upto):
        """What was recorded below `upto` of a file or directory is durable; a rename between two with either of them."""
        self.made.discard(inode)
        if inode in self.data:
            self.data[inode] = [d for d in self.data[inode] if d.order >= upto]
        for op in self.names.get(inode, ()):
            op.closed |= op.order < upto
        if inode in self.names:
            self.names[inode] = [op for op in self.names[inode] if not op.closed]


class Cut:
    """One power cut of one directory tree. `mode`: worst (all that is open is lost), ordered (as a journalling file system
    with ordered data does), harsh (names independently, sizes before data, stale blocks); None: drawn."""

    def __init__(self, root, folder, seed, mode=None):
        self.root, self.folder, self.lines = root, folder, []
        self.random = random.Random(seed)
        self.mode = mode or self.random.choices(MODES, [3, 4, 3])[0]
        self.sector = self.random.choice([512, 4096])
        self.journal = Journal(folder)
        self.was = dict(self.journal.reused)  # also: inode of a directory that came back: the one it had
        self.say(f"power cut of {root}: seed {seed}, {self.mode}, sectors of {self.sector}")

    def say(self, line):
        self.lines.append(line)

    def run(self):
        self.scan()
        self.settle_last()
        for inode, ops in self.journal.data.items():
            if ops and inode in self.files:
                self.cut_file(self.files[inode], ops)
        for inode in sorted(self.journal.made):
            if inode in self.files and not self.journal.data.get(inode):
                self.cut_unseen(self.files[inode])
        self.cut_names()
        shutil.rmtree(self.folder)
        return self.lines

    def scan(self):
        """Where each inode is."""
        self.dirs, self.files = {self.inode(self.root): self.root}, {}
        for top in (os.path.join(self.folder, "keep"), self.root):
            for folder, dirs, files in os.walk(top):
                for name in dirs:
                    path = os.path.join(folder, name)
                    self.dirs[self.inode(path)] = path
                for name in files:
                    path = os.path.join(folder, name)
                    self.files[self.inode(path)] = path

    def path(self, directory, name):
        return os.path.join(self.dirs[directory], name) if directory in self.dirs else None

    def inode_at(self, directory, name):
        path = self.path(directory, name)
        return self.inode(path) if path and os.path.lexists(path) else 0

    def inode(self, path):
        """As the journal has it."""
        number = os.lstat(path).st_ino
        return self.was.get(number, number)

    def settle_last(self):
        """Was the change done in which the process was killed?"""
        for op in {op.order: op for ops in self.journal.names.values() for op in ops if op.done is None}.values():
            there = self.inode_at(op.dirs[-1], op.names[-1])
            if op.kind in (CREATE, MKDIR):
                op.done, op.inode = there != 0, there
                if op.done and op.kind == CREATE:
                    self.journal.made.add(there)
            elif op.kind in (UNLINK, RMDIR):
                op.done = there == 0
            else:
                op.done = there == op.inode

    # ---- data

    def versions(self, file, ops):
        """{sector: [(i, its bytes before the i-th change), … the last change first]}; each also as of now (i = len(ops))."""
        now, found, size = {}, {}, self.sector
        for i in range(len(ops) - 1, -1, -1):
            op = ops[i]
            for sector in range(op.start // size, (op.end + size - 1) // size):
                if sector not in now:
                    file.seek(sector * size)
                    now[sector] = bytearray(file.read(size).ljust(size, b"\0"))
                    found[sector] = [(len(ops), bytes(now[sector]))]
                a, b = max(op.start, sector * size) - sector * size, min(op.end, (sector + 1) * size) - sector * size
                now[sector][a:b] = bytes(b - a)
            for offset, old in op.before.items():
                for at in range(offset // size, (offset + len(old) - 1) // size + 1):
                    a, b = max(offset, at * size), min(offset + len(old), (at + 1) * size)
                    now[at][a - at * size:b - at * size] = old[a - offset:b - offset]
            for sector in range(op.start // size, (op.end + size - 1) // size):
                found[sector].append((i, bytes(now[sector])))
        return found

    def cut_file(self, path, ops):
        """Every sector gets one of the contents that it has had since the last sync, the file one of its sizes."""
        n = len(ops)
        with open(path, "r+b") as file:
            sizes = [op.old_size for op in ops] + [os.fstat(file.fileno()).st_size]
            found = self.versions(file, ops)
            how = "lost" if self.mode == "worst" else self.random.choice(["lost", "kept", "until", "sectors", "sectors"])
            until = self.random.randrange(n + 1)
            draw = {"lost": lambda: 0, "kept": lambda: n, "until": lambda: until,
                    "sectors": lambda: self.random.choice([0, n, self.random.randrange(n + 1)])}[how]
            floors = [i + 1 for i, op in enumerate(ops) if op.closed]
            size_time = max([draw(), *floors])
            changed = 0
            for sector, history in sorted(found.items()):
                time = max([draw()] + [i + 1 for i, op in enumerate(ops) if op.closed and self.touches(op, sector)])
                if self.mode != "harsh" and (sector + 1) * self.sector > sizes[0]:
                    time = max(time, size_time)  # data goes before the size that covers it
                if self.mode != "harsh":  # what followed a truncation needs it
                    time = min([time] + [i for i, op in enumerate(ops) if op.kind == SIZE and i >= size_time])
                content = self.at(history, time)
                if time <= history[-1][0]:  # nothing of it was written
                    content = self.stale(content, sector * self.sector, sizes[0])
                if content != history[0][1]:
                    file.seek(sector * self.sector)
                    file.write(content)
                    changed += 1
            file.truncate(sizes[size_time])
        if changed or sizes[size_time] != sizes[n]:
            self.say(f"data {os.path.relpath(path, self.root)}: {n} changes open, {how}: {changed} of {len(found)} sectors"
                     f" changed back, size {sizes[n]} → {sizes[size_time]} (synced {sizes[0]})")

    def touches(self, op, sector):
        return op.start < (sector + 1) * self.sector and op.end > sector * self.sector

    @staticmethod
    def at(history, time):
        return next(content for i, content in reversed(history) if i >= time)

    def stale(self, content, start, synced_size):
        """Blocks that a size covers and nothing was written to: zeros, or in the harsh mode what was on the disk before."""
        if self.mode != "harsh" or start + len(content) <= synced_size or self.random.random() < 0.5:
            return content
        keep = max(0, synced_size - start)
        return content[:keep] + self.random.randbytes(len(content) - keep)

    def cut_unseen(self, path):
        """A file written through stdio, whose writes the library does not see."""
        size = os.path.getsize(path)
        kept = 0 if self.mode == "worst" else self.random.choice([0, size, self.random.randrange(size + 1)])
        if kept != size:
            os.truncate(path, kept)
            self.say(f"data {os.path.relpath(path, self.root)}: written through stdio, size {size} → {kept}")

    # ---- names

    def cut_names(self):
        undone = set()
        for _, ops in sorted(self.journal.names.items(), key=lambda item: item[1][0].order if item[1] else 0):
            ops = [op for op in ops if op.done and not op.closed]
            count = len(ops)
            if self.mode == "harsh":
                share = self.random.choice([0.2, 0.5, 0.8])
                undone |= {op for op in ops if self.random.random() < share}
            else:  # in order, as from a journal
                kept = 0 if self.mode == "worst" else self.random.choice([0, count, self.random.randrange(count + 1)])
                undone |= set(ops[kept:])
        every = {op.order: op for ops in self.journal.names.values() for op in ops if op.done and not op.closed}
        for op in sorted(every.values(), key=lambda op: op.order):  # what stands on something undone goes, too
            if any(other.order < op.order and self.stands_on(op, other) for other in undone):
                undone.add(op)
        for op in sorted(undone, key=lambda op: -op.order):
            self.undo(op)

    def stands_on(self, op, other):
        """Can it not be there without an earlier one?"""
        ordered = self.mode != "harsh" and not set(op.dirs).isdisjoint(other.dirs)
        return ordered or bool(op.keys & other.keys) or op.kind == RMDIR and op.inode in other.dirs

    def undo(self, op):
        paths = [self.path(d, n) for d, n in zip(op.dirs, op.names)]
        if None in paths:  # the directory itself is not there any more
            return
        self.say(f"undone: {op} in {' '.join(sorted({os.path.relpath(os.path.dirname(p), self.root) for p in paths}))}")
        if op.kind not in (UNLINK, RMDIR):
            there = self.inode_at(op.dirs[-1], op.names[-1])
            assert there == op.inode, f"{op}: inode {there} is there, not {op.inode}"
        if op.kind in (CREATE, LINK):
            os.unlink(paths[0])
        elif op.kind == UNLINK:
            self.bring_back(op.inode, paths[0])
        elif op.kind == RENAME:
            assert not os.path.lexists(paths[0]), f"{op}: {paths[0]} is there"
            os.rename(paths[1], paths[0])
            if op.victim:
                self.bring_back(op.victim, paths[1])
        elif op.kind == EXCHANGE:
            self.exchange(*paths)
        elif op.kind == MKDIR:
            os.rename(paths[0], os.path.join(self.folder, f"gone-{op.order}"))
            del self.dirs[op.inode]
        elif op.kind == RMDIR:
            os.mkdir(paths[0], 0o750)
            self.dirs[op.inode] = paths[0]
            self.was[os.stat(paths[0]).st_ino] = op.inode
        if op.kind in (RENAME, EXCHANGE) and op.inode in self.dirs:
            self.scan()

    def bring_back(self, inode, path):
        os.link(os.path.join(self.folder, "keep", str(inode % NUMBER)), path)

    @staticmethod
    def exchange(one, other):
        libc = ctypes.CDLL(None, use_errno=True)
        if libc.renameat2(-100, one.encode(), -100, other.encode(), RENAME_EXCHANGE) != 0:
            raise OSError(ctypes.get_errno(), "renameat2")


def power_cut(root, folder, seed, mode=None):
    """Cuts `root`, whose process is dead; returns lines that say what was lost. Afterwards all that is there is durable."""
    if not os.path.isdir(folder):
        return []
    return Cut(root, folder, seed, mode).run()


def sanitizer(program):
    """The library that a sanitized program needs first, or None."""
    said = subprocess.run(["ldd", program], capture_output=True, text=True, check=True).stdout
    found = re.search(r"lib[at]san\S* => (\S+)", said)
    return found.group(1) if found else None


def environment(library, root, folder, asan=None):
    """What a process under the library is started with. `asan`: the sanitizer's library, which must come first."""
    return {"LD_PRELOAD": " ".join(filter(None, [asan, library])), "POWERCUT_ROOT": root, "POWERCUT_JOURNAL": folder}


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description="undo a random part of what was not synced below ROOT")
    parser.add_argument("root")
    parser.add_argument("journal")
    parser.add_argument("--seed", type=int, default=random.SystemRandom().randrange(1 << 31))
    parser.add_argument("--mode", choices=MODES)
    options = parser.parse_args()
    sys.stdout.write("".join(line + "\n" for line in power_cut(options.root, options.journal, options.seed, options.mode)))
