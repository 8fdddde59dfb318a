#!/usr/bin/env python3
# tidy.py: checks of the tree that a program can make: layers, sizes, first lines, READMEs, marks, format, purity, scripts.
#
# tidy.py [--root DIR] CHECK [ARGUMENT…] prints one line a complaint ("file:line: what") and exits 1 when there is one.
# tests/tidy/selftest.py plants a violation of every check and must see it found.
import os
import re
import subprocess
import sys

FUNCTION_LINES_MAX = 70
FILE_LINES_MAX = 600
RATCHET = "tests/tidy/ratchet.txt"
SKIPPED_FOLDERS = {"build", ".git", ".cache", "__pycache__"}
CODE = (".c", ".h", ".py", ".sh", ".proto", ".cmake")

# Folder (longest match wins) → prefixes of root-relative includes it may use beside its own folder.
LAYERS = {
    "common/base": [],
    "common/sys": ["common/base/"],
    "proto": ["common/base/"],
    "shard/store": ["common/"],
    "shard/log": ["common/", "proto/", "shard/store/"],
    "shard/fsm": ["common/", "proto/", "shard/store/", "shard/log/log.h"],  # log.h for struct log_id
    "shard/snapshot": ["common/", "proto/", "shard/store/", "shard/log/", "shard/fsm/fsm.h"],
    "shard/engine": ["common/", "proto/", "shard/log/"],
    "shard/engine/base": ["common/", "proto/", "shard/log/", "shard/engine/engine.h"],
    "shard/engine/native": ["common/", "proto/", "shard/log/", "shard/engine/base/", "shard/engine/engine.h"],
    "shard/engine/libraft": ["common/", "proto/", "shard/log/", "shard/engine/base/", "shard/engine/engine.h"],
    "shard/replica": ["common/", "proto/", "shard/"],
    "shard/server": ["common/", "proto/", "shard/"],
    "shard/migrate": ["common/", "proto/", "shard/log/", "shard/fsm/fsm.h", "shard/engine/engine.h", "shard/replica/"],
    "coordinator": ["common/", "proto/", "client/include/"],
    "client": ["common/", "proto/"],
    "client/cli": ["common/", "proto/", "client/"],
    "client/bench": ["common/", "proto/", "client/"],
    "tests": [""],
}
# A library's headers → the only folders that may include them.
HOMES = [
    (r"rocksdb/", ["shard/store", "tests"]),
    (r"(zmq|czmq|zmq_.*)\.h$", ["common/sys", "tests"]),
    (r"sodium(\.h$|/)", ["common/sys", "tests"]),
    (r"microhttpd\.h$", ["common/sys", "tests"]),
    (r"raft(\.h$|/)", ["shard/engine/libraft", "tests"]),
    (r"protobuf-c/", ["proto", "tests"]),
    (r"CUnit/", ["tests"]),
]
# What pure code may include of libc: nothing that opens, waits, locks or tells the time.
PURE_LIBC = {"assert.h", "ctype.h", "inttypes.h", "limits.h", "stdalign.h", "stdarg.h", "stdatomic.h", "stdbool.h",
             "stddef.h", "stdint.h", "string.h", "nmmintrin.h", "immintrin.h", "cpuid.h", "arm_acle.h"}
BASE_LIBC = PURE_LIBC | {"stdio.h", "stdlib.h"}
LIBC_EXCEPTIONS = {("common/base/crc32c.c", "pthread.h")}  # pthread_once around the choice of instruction
# What the archive of the native core may leave to others: moving bytes, the tripwire of the stack, sanitizers' hooks.
CORE_SYMBOLS = re.compile(r"^(mem(cpy|move|set|cmp)|strlen|bcmp|qsort|__stack_chk_fail|_GLOBAL_OFFSET_TABLE_"
                          r"|__asan_.*|__ubsan_.*|__tsan_.*|__sanitizer_.*|__gcov_.*|__llvm_.*|__mem(cpy|move|set)_chk"
                          r"|planted_bug)$")


class Tree:
    """The files of a checkout, read once."""

    def __init__(self, root):
        self.root = root
        self.paths = []
        self.texts = {}
        for folder, folders, files in os.walk(root):
            folders[:] = sorted(f for f in folders if f not in SKIPPED_FOLDERS)
            for name in sorted(files):
                self.paths.append(os.path.relpath(os.path.join(folder, name), root))

    def text(self, path):
        if path not in self.texts:
            with open(os.path.join(self.root, path), encoding="utf-8", errors="replace") as f:
                self.texts[path] = f.read()
        return self.texts[path]

    def lines(self, path):
        return self.text(path).splitlines()

    def ending(self, *ends):
        return [p for p in self.paths if p.endswith(ends)]


def folder_rule(path, table):
    best = None
    for folder in table:
        if path.startswith(folder + "/") and (best is None or len(folder) > len(best)):
            best = folder
    return best


def core_files(tree):
    """Sources of hf_native_core and the headers of its folder that they reach."""
    folder = "shard/engine/native"
    cmake = folder + "/CMakeLists.txt"
    if cmake not in tree.paths:
        return set()
    found = re.search(r"hf_layer\(hf_native_core\s([^)]*)\)", tree.text(cmake))
    names = re.findall(r"\S+\.c\b", found.group(1)) if found else []
    reached, todo = set(), [folder + "/" + n for n in names]
    while todo:
        path = todo.pop()
        if path in reached or path not in tree.paths:
            continue
        reached.add(path)
        todo += re.findall(r'^\s*#\s*include\s+"(' + folder + r'/[^"]+)"', tree.text(path), re.M)
    return reached


def check_layers(tree):
    core = core_files(tree)
    for path in tree.ending(".c", ".h"):
        rule = folder_rule(path, LAYERS)
        if rule is None:
            yield f"{path}:1: in no layer of tests/tidy/tidy.py"
            continue
        for number, line in enumerate(tree.lines(path), 1):
            found = re.match(r'\s*#\s*include\s+(["<])([^">]+)[">]', line)
            if found:
                yield from include_complaints(tree, path, number, rule, found.group(1), found.group(2), path in core)


def include_complaints(tree, path, number, rule, quote, target, in_core):
    where = f"{path}:{number}: "
    if quote == "<":
        for pattern, homes in HOMES:
            if re.match(pattern, target) and not any(path.startswith(h + "/") for h in homes):
                yield where + f"<{target}> belongs to {homes[0]} only"
        libc = PURE_LIBC if in_core else BASE_LIBC
        if (in_core or rule == "common/base") and target not in libc and (path, target) not in LIBC_EXCEPTIONS:
            yield where + f"<{target}> is not for pure code"
        if path.endswith("include/holdfast/holdfast.h") and "/" in target:
            yield where + "the public header includes libc only"
        return
    allowed = [p for p in LAYERS[rule]] + [rule + "/"]
    if in_core:
        allowed = ["common/base/", rule + "/"]
    if path.startswith("client/include/"):
        allowed = ["client/include/"]
    if not any(target.startswith(p) for p in allowed):
        yield where + f'"{target}" is not for {rule}{" (core)" if in_core else ""}'
    elif not target.endswith(".pb-c.h") and target not in tree.paths:
        yield where + f'"{target}" is no path from the root'


def check_sizes(tree):
    limits = read_ratchet(tree)
    used = set()
    for path in tree.ending(*CODE):
        lines = tree.lines(path)
        allowed = limits.get(("file", path), FILE_LINES_MAX)
        used |= {("file", path)} if len(lines) > FILE_LINES_MAX else set()
        if len(lines) > allowed:
            yield f"{path}:1: {len(lines)} lines, the limit is {allowed}"
        if path.endswith((".c", ".h")):
            for name, start, length in functions(lines):
                key = ("function", f"{path}:{name}")
                used |= {key} if length > FUNCTION_LINES_MAX else set()
                if length > limits.get(key, FUNCTION_LINES_MAX):
                    yield f"{path}:{start}: {name} has {length} lines, the limit is {limits.get(key, FUNCTION_LINES_MAX)}"
    for kind, what in sorted(k for k in limits if k[0] != "format"):
        if (kind, what) not in used:
            yield f"{RATCHET}:1: {kind} {what} needs no exception any more: remove the line"


def functions(lines):
    """(name, first line, lines from brace to brace) of each function: its braces stand in column 0."""
    opened = None
    for number, line in enumerate(lines, 1):
        if line == "{":
            opened = number
        elif line.startswith("}") and opened is not None:
            head = " ".join(lines[max(0, opened - 8):opened - 1])
            names = re.findall(r"([A-Za-z_]\w*)\s*\((?!\s*\*)", head)
            back = opened - 1
            while back > 0 and not re.match(r"[A-Za-z_].*\b([A-Za-z_]\w*)\(", lines[back - 1]):
                back -= 1
            named = re.match(r"[A-Za-z_].*?\b([A-Za-z_]\w*)\(", lines[back - 1]) if back > 0 else None
            yield (named.group(1) if named else (names[-1] if names else "?")), opened, number - opened + 1
            opened = None


def read_ratchet(tree):
    """Exceptions: 'file PATH LINES reason', 'function PATH:NAME LINES reason', 'format PATH 0 reason'."""
    limits = {}
    if RATCHET in tree.paths:
        for line in tree.lines(RATCHET):
            if line.strip() and not line.startswith("#"):
                kind, what, limit, reason = line.split(None, 3)
                assert kind in ("file", "function", "format") and reason, line
                limits[(kind, what)] = int(limit)
    return limits


def check_firstline(tree):
    """The first line says what a file is for; C, scripts and .proto by name."""
    for path in tree.ending(*CODE, "CMakeLists.txt", "README.md"):
        lines = tree.lines(path) or [""]
        name = os.path.basename(path)
        first = lines[1] if lines[0].startswith("#!") and len(lines) > 1 else lines[0]
        if name == "README.md":
            if "/" in path and not first.startswith("You are here:"):
                yield f'{path}:1: begins with "You are here:"'
        elif name.endswith((".c", ".h")):
            if not first.startswith(f"/* {name}: "):
                yield f'{path}:1: begins with "/* {name}: what it is for"'
        elif name.endswith(".proto"):
            if not first.startswith(f"// {name}: "):
                yield f'{path}:1: begins with "// {name}: what it is for"'
        elif name.endswith((".py", ".sh")):
            if not first.startswith(f"# {name}: "):
                yield f'{path}:1: begins with "# {name}: what it is for" (after a #! line)'
        elif not re.match(r"# \S.{10}", first):
            yield f"{path}:1: begins with a comment that says what it is for"
        guarded = path.startswith("client/include/") and re.search(r"^#ifndef \w+\n#define ", tree.text(path), re.M)
        if name.endswith(".h") and "#pragma once" not in lines and not guarded:
            yield f"{path}:1: has no #pragma once"


def check_readmes(tree):
    """Every folder with code has a README of its own or is described by the one above; every file is listed in it.
    tests/unit mirrors the tree, tests/golden and tests/fuzz/corpus hold data: their own READMEs speak for the folders below."""
    have = set(tree.paths)
    for path in tree.paths:
        folder, name = os.path.split(path)
        if not folder or folder.startswith(".") or name == "README.md" or folder.startswith(("cmake", "docs")):
            continue
        if folder.startswith(("tests/unit/", "tests/golden/", "tests/fuzz/corpus")):
            continue
        if name == "CMakeLists.txt" and folder + "/README.md" not in have:
            yield f"{folder}:1: has no README.md"
            continue
        home = folder
        while home and home + "/README.md" not in have:
            home = os.path.dirname(home)
        if not home:
            yield f"{path}:1: no README.md lists it"
        elif not listed(tree.text(home + "/README.md"), name):
            yield f"{home}/README.md:1: does not list {os.path.relpath(path, home)}"
    for path in tree.ending("/README.md"):
        yield from listed_but_absent(tree, path)


def listed(text, name):
    """A file counts as listed by its name, or, for a pair, by "name.h, .c" in its row."""
    if re.search(r"(?<![\w.-])" + re.escape(name) + r"(?![\w-])", text):
        return True
    stem, end = os.path.splitext(name)
    return re.search(r"(?<![\w-])" + re.escape(stem) + r"\.\w+`?,\s*`?" + re.escape(end) + r"(?!\w)", text) is not None


def listed_but_absent(tree, path):
    folder = os.path.dirname(path)
    names = {os.path.relpath(p, folder) for p in tree.paths if p.startswith(folder + "/")}
    names |= {os.path.basename(n) for n in names}
    for number, line in enumerate(tree.lines(path), 1):
        row = re.match(r"\|([^|]+)\|", line)
        if row:
            for name in re.findall(r"(?<![\w./*<{-])[\w-][\w./-]*\.(?:c|h|py|sh|proto|txt|conf)\b", row.group(1)):
                if name not in names and name not in tree.paths:
                    yield f"{path}:{number}: lists {name}, which is not there"


METRIC = re.compile(r'"(holdfast_[a-z0-9_]+)"')
METRIC_ROW = re.compile(r"^\| `(holdfast_[a-z0-9_]+)(?:\{[a-z_, ]+\})?` \| (counter|gauge|histogram) \| ")


def metrics_named(text):
    """The metrics whose names stand in a source; a macro may put a prefix, which ends with _, before them."""
    names = set(METRIC.findall(text))
    for prefix in [n for n in names if n.endswith("_")]:
        names.remove(prefix)
        names |= {prefix + rest for rest in re.findall(r'\b[A-Z]\("([a-z0-9_]+)"', text)}
    return names


def check_metrics(tree):
    """Every metric stands in the table of its folder's README, and everything in a table is there; names as Prometheus asks."""
    here, rows = {}, {}
    for path in tree.ending(".c", ".h"):
        if path.startswith(("client/", "common/", "coordinator/", "shard/")):
            text = re.sub(r"/\*.*?\*/", "", tree.text(path), flags=re.S)
            for name in metrics_named(text):
                here.setdefault(os.path.dirname(path), {})[name] = path
    for path in tree.ending("README.md"):
        for number, line in enumerate(tree.lines(path), 1):
            row = METRIC_ROW.match(line)
            if not row:
                continue
            name, kind, seen = row.group(1), row.group(2), rows.setdefault(os.path.dirname(path), set())
            if name in seen:
                yield f"{path}:{number}: {name} stands here twice"
            seen.add(name)
            if name not in here.get(os.path.dirname(path), {}):
                yield f"{path}:{number}: there is no metric {name}"
            if (kind == "counter") != name.endswith("_total"):
                yield f"{path}:{number}: {name}: counters, and nothing else, end with _total"
            if kind == "histogram" and not name.endswith(("_seconds", "_bytes")):
                yield f"{path}:{number}: {name}: a histogram's name ends with its unit"
            if re.search(r"_(ms|us|ns|milliseconds|kib|mib)(_|$)", name):
                yield f"{path}:{number}: {name}: units are base units"
    for folder, names in sorted(here.items()):
        for name, path in sorted(names.items()):
            if name not in rows.get(folder, ()):
                yield f"{path}:1: {name} is not in the table of {folder}/README.md"


CRASH_POINT = re.compile(r'\bcrash_point\("([^"]*)"\)')


def check_crashpoints(tree):
    """Every place at which a process can be made to die is named by a test, in quotes or with the pass behind it."""
    tests = "".join(tree.text(path) for path in tree.ending(".c", ".h", ".py", ".sh")
                    if path.startswith("tests/") and not path.startswith("tests/tidy/"))
    named = set(re.findall(r"[\"']([\w.]+)(?=[\"':])", tests))
    for path in tree.ending(".c", ".h"):
        if path.startswith(("client/", "common/", "coordinator/", "shard/")):
            for number, line in enumerate(tree.lines(path), 1):
                for name in () if line.lstrip().startswith(("*", "/*")) else CRASH_POINT.findall(line):
                    if name not in named:
                        yield f"{path}:{number}: no test names the crash point {name}"


def check_marks(tree):
    pattern = re.compile(r"\b(" + "|".join(["TO" + "DO", "FIX" + "ME", "XX" + "X", "HA" + "CK"]) + r")\b")
    for path in tree.paths:
        if path.endswith((*CODE, ".txt", ".md", ".json", ".in")) or path.startswith((".ci/", ".clang")):
            for number, line in enumerate(tree.lines(path), 1):
                if pattern.search(line):
                    yield f"{path}:{number}: a mark for later work"


def check_format(tree):
    """clang-format leaves every C file as it is."""
    exempt = {what for kind, what in read_ratchet(tree) if kind == "format"}
    paths = tree.ending(".c", ".h")
    bad = set()
    for start in range(0, len(paths), 40):
        done = subprocess.run(["clang-format", "--dry-run", "-ferror-limit=1", *paths[start:start + 40]],
                              cwd=tree.root, capture_output=True, text=True)
        if done.returncode:
            yield f"clang-format:1: {done.stderr.strip() or done.returncode}"
        bad |= set(re.findall(r"^([^:\n]+):\d+:\d+: (?:warning|error)", done.stderr, re.M))
    for path in sorted(bad - exempt):
        yield f"{path}:1: not as clang-format writes it (clang-format -i {path})"
    for path in sorted(exempt - bad):
        yield f"{RATCHET}:1: format {path} needs no exception any more: remove the line"


def check_purity(tree, archive, *known):
    """What the core's archive asks of others is on the list above or comes from common/base (archives `known`)."""
    def symbols(option, name):
        done = subprocess.run(["nm", option, name], capture_output=True, text=True, check=True)
        return {line.split()[-1] for line in done.stdout.splitlines() if line.strip() and not line.endswith(":")}
    defined = set()
    for name in (archive, *known):
        defined |= symbols("--defined-only", name)
    wanted = symbols("-u", archive)
    if not symbols("--defined-only", archive):
        yield f"{archive}:1: defines nothing"
    for symbol in sorted(wanted - defined):
        if not CORE_SYMBOLS.match(symbol):
            yield f"{archive}:1: uses {symbol}, which is not for the pure core"


def check_scripts(tree):
    """shellcheck finds nothing in the shell scripts."""
    scripts = tree.ending(".sh") + [p for p in tree.paths if p == ".ci/run"]
    if not scripts:
        yield "scripts:1: none found"
        return
    done = subprocess.run(["shellcheck", "-x", "-f", "gcc", *scripts], cwd=tree.root, capture_output=True, text=True)
    yield from done.stdout.splitlines()
    if done.returncode and not done.stdout:
        yield f"shellcheck:1: {done.stderr.strip()}"


CHECKS = {name[6:]: function for name, function in list(globals().items()) if name.startswith("check_")}


def main(arguments):
    root = os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "..")
    if arguments[:1] == ["--root"]:
        root, arguments = arguments[1], arguments[2:]
    if not arguments or arguments[0] not in CHECKS:
        print("usage: tidy.py [--root DIR] " + "|".join(CHECKS), file=sys.stderr)
        return 2
    complaints = list(CHECKS[arguments[0]](Tree(os.path.normpath(root)), *arguments[1:]))
    for complaint in complaints:
        print(complaint)
    print(f"{arguments[0]}: {len(complaints)} complaints")
    return 1 if complaints else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
