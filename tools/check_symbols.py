#!/usr/bin/env python3
"""The exported symbols of libkeep are exactly the committed list.

    tools/check_symbols.py LIBRARY [LIST]            compare; exit 1 and name what differs
    tools/check_symbols.py --write LIBRARY [LIST]    write the list (after a wanted change)

LIST is docs/exported_symbols.txt. A symbol that appears by accident becomes somebody's interface, and
one that disappears breaks somebody's program: both are decisions, so they are seen in a diff.
"""
import pathlib
import subprocess
import sys

ROOT = pathlib.Path(__file__).resolve().parent.parent


def list_symbols(library):
    run = subprocess.run(["nm", "-D", "--defined-only", "--format=posix", library], check=True,
                         capture_output=True, text=True)
    symbols = {line.split()[0].split("@")[0] for line in run.stdout.splitlines() if line}
    # What gcc adds for coverage and sanitizers is not ours.
    return {name for name in symbols if not name.startswith(("__gcov", "__asan", "__tsan", "_init", "_fini"))}


def main():
    arguments = [word for word in sys.argv[1:] if word != "--write"]
    if not 1 <= len(arguments) <= 2:
        sys.exit(__doc__)
    path = pathlib.Path(arguments[1]) if len(arguments) == 2 else ROOT / "docs/exported_symbols.txt"
    found = list_symbols(arguments[0])
    if "--write" in sys.argv:
        path.write_text("".join(f"{name}\n" for name in sorted(found)), encoding="utf-8")
        return
    wanted = set(path.read_text(encoding="utf-8").split()) if path.exists() else set()
    for name in sorted(found - wanted):
        print(f"exported, but not in {path.name}: {name}")
    for name in sorted(wanted - found):
        print(f"in {path.name}, but not exported: {name}")
    for name in sorted(found):
        if not name.startswith("keep_"):
            print(f"exported without the prefix keep_: {name}")
    sys.exit(1 if found != wanted or any(not name.startswith("keep_") for name in found) else 0)


if __name__ == "__main__":
    main()
