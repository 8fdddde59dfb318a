#!/usr/bin/env python3
# hardening.py: the built programs and the library are hardened, as the ELF files themselves say; the library exports hf_ only.
#
# hardening.py COMPILE-COMMANDS FILE… prints one line a complaint and exits 1 when there is one; a file *.so is the library.
# hardening.py --selftest CC: a program and a library built without any of it are complained about in every point.
import json
import os
import re
import subprocess
import sys
import tempfile

# What every object of ours must have been compiled with; what leaves a trace in the file is looked for there.
FLAGS = ("-fstack-protector-strong", "-fstack-clash-protection", "-D_FORTIFY_SOURCE=2", "-O")


def run(*command):
    return subprocess.run(command, capture_output=True, text=True, check=True, env={"LC_ALL": "C", "PATH": "/usr/bin:/bin"}).stdout


def check_file(path):
    kind = run("readelf", "-hW", path)
    dynamic = run("readelf", "-dW", path)
    segments = run("readelf", "-lW", path)
    symbols = run("readelf", "--dyn-syms", "-W", path)
    library = ".so" in path
    if "DYN " not in kind or (not library and not re.search(r"FLAGS_1.*\bPIE\b", dynamic)):
        yield "is not position-independent (PIE)"
    if "GNU_RELRO" not in segments:
        yield "has no read-only relocations (RELRO)"
    if not re.search(r"BIND_NOW|FLAGS_1.*\bNOW\b", dynamic):
        yield "resolves symbols late: its GOT stays writable (-z now)"
    stack = re.search(r"GNU_STACK\s.*", segments)
    if stack is None or "E" in stack.group(0).split()[-2]:
        yield "has an executable stack"
    if re.search(r"^\s*LOAD.*\bRWE\b", segments, re.M):
        yield "has a segment that is writable and executable"
    if "__stack_chk_fail" not in symbols:
        yield "has no stack protector"
    if not re.search(r"__\w+_chk\b", symbols.replace("__stack_chk_fail", "")):
        yield "has no checked string functions (_FORTIFY_SOURCE)"
    if "TEXTREL" in dynamic:
        yield "relocates its code (TEXTREL)"
    entry = ("hf_open" if "hf_open" in symbols else "helper") if library else "main"
    if "X86-64" in kind and "endbr64" not in run("objdump", "-d", "--no-show-raw-insn", f"--disassemble={entry}", path):
        yield "has no marks where an indirect call may land (-fcf-protection)"
    if library:
        yield from check_exports(path)


def check_exports(path):
    names = [line.split()[-1].partition("@")[0] for line in run("nm", "-D", "--defined-only", path).splitlines()]
    yield from (f"exports {name}" for name in names if not name.startswith("hf_") or name.startswith("hf__"))
    if len(names) < 40:
        yield f"exports {len(names)} names only"
    if not re.search(r"SONAME.*\[libholdfast\.so\.\d+\]", run("readelf", "-dW", path)):
        yield "has no soname with a version"


def check_commands(path):
    with open(path, encoding="utf-8") as f:
        commands = json.load(f)
    ours = [c for c in commands if c["file"].endswith(".c") and not re.search(r"/gen/|/tests/|/examples/|_verify_|-c\.c$", c["file"])]
    if len(ours) < 50:
        yield f"{path}: {len(ours)} sources only"
    for c in ours:
        missing = [flag for flag in FLAGS if flag not in c["command"]]
        if missing:
            yield f"{c['file']}: compiled without {' '.join(missing)}"


def selftest(cc):
    source = "int helper(void) {return 1;}\nint other(void) {return 2;}\nint main(void) {return helper();}\n"
    weak = ["-O0", "-U_FORTIFY_SOURCE", "-fno-stack-protector", "-fcf-protection=none", "-Wl,-z,norelro,-z,lazy,-z,execstack"]
    with tempfile.TemporaryDirectory() as folder:
        with open(os.path.join(folder, "weak.c"), "w", encoding="utf-8") as f:
            f.write(source)
        program, library = os.path.join(folder, "weak"), os.path.join(folder, "weak.so")
        run(cc, *weak, "-fno-pie", "-no-pie", "-o", program, f.name)
        run(cc, *weak, "-fPIC", "-shared", "-o", library, f.name)
        commands = os.path.join(folder, "commands.json")
        with open(commands, "w", encoding="utf-8") as f:
            json.dump([{"file": "weak.c", "command": "cc -O2 -c weak.c"}], f)
        said = list(check_commands(commands)) + list(check_file(program)) + list(check_file(library))
    wanted = ["PIE", "RELRO", "-z now", "executable stack", "no stack protector", "_FORTIFY_SOURCE)", "-fcf-protection",
              "exports helper", "soname", "compiled without -fstack-protector-strong"]
    missing = [w for w in wanted if not any(w in line for line in said)]
    print("\n".join(f"a weak build passes: {w}" for w in missing))
    return 1 if missing else 0


def main():
    if sys.argv[1] == "--selftest":
        return selftest(sys.argv[2])
    complaints = list(check_commands(sys.argv[1]))
    for path in sys.argv[2:]:
        complaints += [f"{path}: {what}" for what in check_file(path)]
    print("\n".join(complaints))
    return 1 if complaints or len(sys.argv) < 4 else 0


if __name__ == "__main__":
    sys.exit(main())
