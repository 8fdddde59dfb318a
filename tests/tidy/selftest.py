#!/usr/bin/env python3
# selftest.py: proves that each check of tidy.py passes on a clean little tree and fails on each planted violation.
import os
import subprocess
import sys
import tempfile
import unittest

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
import tidy  # noqa: E402

COMPILER = "cc"
CLEAN = {
    "common/base/CMakeLists.txt": "# common/base: plain C helpers\n",
    "common/base/README.md": "You are here: below.\n\n| file | what |\n|---|---|\n| a.h, a.c | x |\n| CMakeLists.txt | x |\n",
    "common/base/a.h": "/* a.h: a number. */\n#pragma once\n\n#include <stdint.h>\n\nint a(void);\n",
    "common/base/a.c": '/* a.c: the number. */\n#include "common/base/a.h"\n\nint a(void)\n{\n    return 1;\n}\n',
    "shard/engine/native/CMakeLists.txt": "# native: the engine\nhf_layer(hf_native_core SOURCES core.c LINKS hf_base)\n",
    "shard/engine/native/README.md": "You are here: deciding.\n\n| core.h, core.c | x |\n| CMakeLists.txt | x |\n",
    "shard/engine/native/core.h": "/* core.h: decides. */\n#pragma once\n\nint core(void);\n",
    "shard/engine/native/core.c": '/* core.c: decides. */\n#include "shard/engine/native/core.h"\n\n'
                                  '#include "common/base/a.h"\n\nint core(void)\n{\n    return a();\n}\n',
    "tools.sh": "#!/usr/bin/env bash\n# tools.sh: says hello.\necho hello\n",
}


def long_function(lines):
    return "/* a.c: long. */\nint a(void)\n{\n" + "    f();\n" * (lines - 2) + "}\n"


class Tidy(unittest.TestCase):
    def complaints(self, check, **changes):
        """What a check says of the clean tree with some files changed (or removed: None)."""
        files = dict(CLEAN)
        for path, text in changes.get("files", {}).items():
            files[path] = text
        with tempfile.TemporaryDirectory() as root:
            for path, text in files.items():
                if text is not None:
                    os.makedirs(os.path.dirname(os.path.join(root, path)) or root, exist_ok=True)
                    with open(os.path.join(root, path), "w", encoding="utf-8") as f:
                        f.write(text)
            with open(os.path.join(root, ".clang-format"), "w", encoding="utf-8") as f:
                f.write("IndentWidth: 4\nBreakBeforeBraces: Linux\nAllowShortFunctionsOnASingleLine: None\n")
            return list(tidy.CHECKS[check](tidy.Tree(root)))

    def found(self, check, path, text, want):
        said = self.complaints(check, files={path: text})
        self.assertTrue(any(want in line for line in said), f"{check}: {said}")

    def test_clean_tree_has_no_complaint(self):
        for check in ("layers", "sizes", "firstline", "readmes", "metrics", "crashpoints", "marks", "format", "scripts"):
            self.assertEqual(self.complaints(check), [], check)

    def test_layers(self):
        def include(line):
            return f"/* x.c: x. */\n#include {line}\n"
        for path, line, want in [
                ("common/base/a.c", '"common/sys/clock.h"', "not for common/base"),
                ("common/base/a.c", "<unistd.h>", "not for pure code"),
                ("common/sys/x.c", '"proto/pack.h"', "not for common/sys"),
                ("shard/fsm/x.c", "<rocksdb/c.h>", "belongs to shard/store"),
                ("shard/fsm/x.c", '"shard/engine/engine.h"', "not for shard/fsm"),
                ("shard/store/x.c", '"proto/pack.h"', "not for shard/store"),
                ("shard/replica/x.c", "<zmq.h>", "belongs to common/sys"),
                ("client/x.c", "<czmq.h>", "belongs to common/sys"),
                ("client/x.c", "<sodium.h>", "belongs to common/sys"),
                ("coordinator/x.c", "<microhttpd.h>", "belongs to common/sys"),
                ("coordinator/x.c", '"shard/log/log.h"', "not for coordinator"),
                ("client/x.c", '"coordinator/front.h"', "not for client"),
                ("client/cli/x.c", '"shard/log/log.h"', "not for client/cli"),
                ("client/include/holdfast/holdfast.h", '"common/base/a.h"', "not for client"),
                ("shard/engine/native/core.c", '"common/sys/clock.h"', "(core)"),
                ("shard/engine/native/core.h", "<time.h>", "not for pure code"),
                ("shard/replica/x.c", '"replica.h"', "not for shard/replica"),
                ("common/base/a.c", '"common/base/absent.h"', "no path from the root"),
                ("elsewhere/x.c", "<stdint.h>", "in no layer")]:
            self.found("layers", path, include(line), want)

    def test_layers_let_a_driver_beside_the_core_do_more(self):
        self.assertEqual(self.complaints("layers", files={
            "common/sys/clock.h": "/* clock.h: x */\n",
            "shard/engine/native/driver.c": '/* driver.c: x. */\n#include "common/sys/clock.h"\n'}), [])

    def test_sizes(self):
        self.assertEqual(self.complaints("sizes", files={"common/base/a.c": long_function(70)}), [])
        self.found("sizes", "common/base/a.c", long_function(71), "a has 71 lines")
        self.found("sizes", "common/base/a.h", "/* a.h: x. */\n" * 601, "601 lines")

    def test_sizes_ratchet(self):
        line = "function common/base/a.c:a 80 a table\n"
        files = {"common/base/a.c": long_function(80), tidy.RATCHET: line}
        self.assertEqual(self.complaints("sizes", files=files), [])
        files["common/base/a.c"] = long_function(81)
        self.assertEqual(len(self.complaints("sizes", files=files)), 1)
        self.found("sizes", tidy.RATCHET, line, "needs no exception")

    def test_firstline(self):
        self.found("firstline", "common/base/a.c", "int a;\n", 'begins with "/* a.c')
        self.found("firstline", "common/base/a.c", "/* b.c: another. */\n", 'begins with "/* a.c')
        self.found("firstline", "common/base/a.h", "/* a.h: a. */\n", "#pragma once")
        self.found("firstline", "tools.sh", "#!/bin/sh\necho\n", "tools.sh:1")
        self.found("firstline", "proto/x.proto", "syntax;\n", "x.proto:1")
        self.found("firstline", "common/base/README.md", "Helpers\n", "You are here")
        self.found("firstline", "common/base/CMakeLists.txt", "hf_layer(x)\n", "CMakeLists.txt:1")

    def test_readmes(self):
        self.found("readmes", "common/base/b.c", "", "does not list b.c")
        self.found("readmes", "common/base/README.md", None, "has no README.md")
        self.found("readmes", "common/base/README.md", "You are here: a.h, a.c CMakeLists.txt\n\n| old.c | x |\n",
                   "lists old.c, which is not there")
        self.found("readmes", "other/x.c", "", "no README.md lists it")

    def test_metrics(self):
        table = CLEAN["common/base/README.md"] + "\n| metric | kind | what |\n|---|---|---|\n"
        self.found("metrics", "common/base/a.c", '{"holdfast_a_total", NULL}\n', "holdfast_a_total is not in the table")
        self.found("metrics", "common/base/a.c", '#define C(n) "holdfast_a_" n\nC("b_total")\n', "holdfast_a_b_total is not in")
        self.found("metrics", "common/base/README.md", table + "| `holdfast_a_total` | counter | x |\n", "there is no metric")
        for name, kind, want in [("a", "counter", "end with _total"), ("a_total", "gauge", "end with _total"),
                                 ("a", "histogram", "ends with its unit"), ("a_ms", "gauge", "base units")]:
            self.found("metrics", "common/base/README.md", table + f"| `holdfast_{name}` | {kind} | x |\n", want)
        self.assertEqual(self.complaints("metrics", files={
            "common/base/a.c": '{"holdfast_a_seconds"} /* "holdfast_old" */\n',
            "common/base/README.md": table + "| `holdfast_a_seconds{le}` | histogram | x |\n"}), [])

    def test_crashpoints(self):
        passed = {"common/base/a.c": 'crash_point("a.b");\n/* crash_point("a.old") */\n'}
        for test in ("POINTS = [\"a.b\"]\n", "start('a.b:2')\n"):
            self.assertEqual(self.complaints("crashpoints", files={**passed, "tests/x.py": test}), [])
        for test in ("", "# a.b\n", "POINTS = [\"a.bc\", \"xa.b\"]\n"):
            said = self.complaints("crashpoints", files={**passed, "tests/x.py": test})
            self.assertEqual(said, ["common/base/a.c:1: no test names the crash point a.b"])

    def test_marks(self):
        self.found("marks", "common/base/a.c", "/* TO" + "DO later */\n", "a mark")
        self.found("marks", "README.md", "FIX" + "ME\n", "a mark")

    def test_format(self):
        self.found("format", "common/base/a.c", "int a(void) {\n  return 1; }\n", "not as clang-format")
        self.found("format", tidy.RATCHET, "format common/base/a.c 0 old\n", "needs no exception")

    def test_scripts(self):
        self.found("scripts", "tools.sh", "#!/bin/bash\n# tools.sh: x\ncd $1\nrm -r $2\n", "SC2086")

    def test_purity(self):
        def archive(folder, name, text):
            source, obj, lib = (os.path.join(folder, name + end) for end in (".c", ".o", ".a"))
            with open(source, "w", encoding="utf-8") as f:
                f.write(text)
            subprocess.run([COMPILER, "-O0", "-fno-builtin", "-c", source, "-o", obj], check=True)
            subprocess.run(["ar", "rc", lib, obj], check=True)
            return lib
        with tempfile.TemporaryDirectory() as folder:
            base = archive(folder, "base", "int base(void) { return 1; }\n")
            good = archive(folder, "good", "int base(void); int core(void) { return base(); }\n")
            self.assertEqual(list(tidy.check_purity(None, good, base)), [])
            for call in ("void *malloc(unsigned long);", "int clock_gettime(int, void *);", "int write(int, void *, long);"):
                name = call.split("(")[0].split()[-1].lstrip("*")
                text = call + f"void *core(void) {{ return (void *)(long){name}(0{', 0' * call.count(',')}); }}\n"
                said = list(tidy.check_purity(None, archive(folder, "bad", text), base))
                self.assertTrue(any(name in line for line in said), said)


if __name__ == "__main__":
    if len(sys.argv) > 1:
        COMPILER = sys.argv.pop(1)
    unittest.main()
