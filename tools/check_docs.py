#!/usr/bin/env python3
"""What the documents say is so: every named file, status and function exists, every code block works.

    tools/check_docs.py [--root DIR] [--keep COMMAND] [FILE…]

Looks at README.md, ARCHITECTURE.md, STYLE.md, CHANGELOG.md, docs/**/*.md and src/**/README.md:

1. a relative path in a link or in backticks exists, seen from the page or from the root;
2. every KEEP_… and keep_… named anywhere outside of code blocks is in include/;
3. a block tagged `c` compiles (a block without main() is wrapped when it holds statements);
4. blocks tagged `sh` run, all of one page in order, in one empty folder, with `set -eu` and the folder of
   COMMAND first in PATH. A block tagged `text` directly after one is its exact output; a line `…` stands
   for any lines, and `…` inside a line for any characters. Nothing that a block started may outlive the page;
5. a command of Keep's (`keep …`, `make …`) stands in a block that runs, or, where it is named in a sentence, a
   table, or an indented block, has a store, verb or command that there is, and options that it takes;
6. each page of docs/ is named in docs/README.md, and README.md in the root is at most 200 lines.

A block tagged `sh no-check: REASON` does not run; its commands are held by 5. `c no-check: REASON` is left alone.
--list-unchecked prints them all.
"""
import argparse
import concurrent.futures
import os
import pathlib
import re
import shlex
import signal
import subprocess
import sys
import tempfile

PAGES = ("README.md", "ARCHITECTURE.md", "STYLE.md", "CHANGELOG.md")
COMPILE = ["cc", "-std=c17", "-D_GNU_SOURCE", "-fsyntax-only", "-Wall", "-Wextra", "-Werror",
           "-Wno-unused-variable", "-Wno-unused-parameter", "-Wno-unused-function", "-x", "c"]
# In backticks a path is known by a folder of ours or by an ending of ours.
FOLDERS = ("src", "include", "tools", "tests", "docs", "schema", "bench", "fuzz", "bindings", "console")
ENDINGS = (".c", ".h", ".md", ".py", ".sh", ".sql", ".rec", ".build", ".txt")
PATH_IN_TICKS = re.compile(r"[\w.-]+(?:/[\w.*{},-]+)*/?")
SECONDS_MAX = 120
README_LINES_MAX = 200
PAGES_AT_ONCE = 4


class Page:
    def __init__(self, root, path):
        self.root, self.path = root, path
        self.name = str(path.relative_to(root))
        self.blocks, self.prose, self.bad = [], [], []
        self.split(path.read_text(encoding="utf-8"))

    def split(self, text):
        fence, start, tag, lines = None, 0, "", []
        for number, line in enumerate(text.splitlines(), 1):
            opened = re.match(r"\s*(```+|~~~+)\s*(.*)$", line)
            if fence is None and opened:
                fence, start, tag, lines = opened[1], number, opened[2].strip(), []
            elif fence is not None and line.strip().startswith(fence) and not line.strip().strip(fence[0]):
                self.blocks.append((start, tag, "\n".join(lines) + "\n"))
                fence = None
            elif fence is not None:
                lines.append(line)
            else:
                self.prose.append((number, line))
        if fence is not None:
            self.say(start, "a code block is not closed")

    def say(self, line, what):
        self.bad.append(f"{self.name}:{line}: {what}")

    def exists(self, name):
        name = name.split("#")[0]
        if not name:
            return True
        bases = (self.path.parent, self.root)
        expanded = expand_braces(name)
        return all(any(list(base.glob(one.rstrip("/"))) if "*" in one else (base / one).exists()
                       for base in bases) for one in expanded)


def expand_braces(name):
    """tests/{unit,contract} names two folders."""
    match = re.search(r"\{([^{}]*)\}", name)
    if not match:
        return [name]
    return [found for part in match[1].split(",")
            for found in expand_braces(name[:match.start()] + part + name[match.end():])]


def is_path(word):
    if not PATH_IN_TICKS.fullmatch(word) or word.startswith("."):
        return False
    if "/" in word:
        return word.split("/")[0] in FOLDERS
    return word.endswith(ENDINGS) and not word.startswith("*")


def check_paths(page, file_names):
    for number, line in page.prose:
        for target in re.findall(r"\]\(([^)\s]+)\)", line):
            if not re.match(r"[a-z]+:|#", target) and not page.exists(target):
                page.say(number, f"no such file: {target}")
        for word in re.findall(r"`([^`]+)`", line):
            if is_path(word) and not page.exists(word) and not ("/" not in word and word in file_names):
                page.say(number, f"no such file: {word}")


def check_names(page, known):
    for number, line in page.prose:
        for name in re.findall(r"\bKEEP_[A-Z0-9_]+\b|\bkeep_[a-z0-9_]+\b", line):
            if name not in known and not name.endswith("_"):
                page.say(number, f"{name} is not in include/")


def check_c(page, start, text):
    if not re.search(r"^\S.*\)\s*\n?\{", text, re.M) and not re.search(r"^#include", text, re.M):
        text = ("#include <keep/keep.h>\n#include <stdio.h>\nvoid example(void);\n"
                "void example(void)\n{\n" + text + "}\n")
    run = subprocess.run(COMPILE + [f"-I{page.root / 'include'}", "-"], input=text, text=True,
                         capture_output=True)
    if run.returncode:
        page.say(start, "this C does not compile:\n" + run.stderr)


def output_fits(expected, found):
    """`…` alone stands for any lines, inside a line for any characters."""
    parts = []
    for line in expected.splitlines():
        if line.strip() in ("…", "..."):
            parts.append(r"(?:.*\n)*?")
        else:
            parts.append("[^\n]*".join(re.escape(piece) for piece in line.split("…")) + r"\n")
    return re.fullmatch("".join(parts), found if found.endswith("\n") or not found else found + "\n")


def left_behind(folder):
    """Processes that still work in the folder: their numbers, each ended."""
    found = []
    for entry in pathlib.Path("/proc").glob("[0-9]*"):
        try:
            if pathlib.Path(os.readlink(entry / "cwd")).is_relative_to(folder):
                os.kill(int(entry.name), signal.SIGKILL)
                found.append(entry.name)
        except OSError:
            continue
    return found


def run_shell(page, command):
    """All `sh` blocks of a page in one folder; each in a shell of its own, so that each is seen alone."""
    if not any(tag == "sh" for _, tag, _ in page.blocks):
        return
    with tempfile.TemporaryDirectory(prefix="keep-docs-", ignore_cleanup_errors=True) as folder:
        folder = os.path.realpath(folder)
        environment = {name: value for name, value in os.environ.items() if not name.startswith("KEEP_")}
        environment.update(HOME=folder, LC_ALL="C.UTF-8")
        if command:
            environment["PATH"] = f"{pathlib.Path(command).resolve().parent}:{environment['PATH']}"
        for index, (start, tag, text) in enumerate(page.blocks):
            if tag != "sh":
                continue
            try:
                run = subprocess.run(["sh", "-c", "set -eu\n" + text], cwd=folder, env=environment,
                                     capture_output=True, text=True, timeout=SECONDS_MAX,
                                     stdin=subprocess.DEVNULL)
            except subprocess.TimeoutExpired:
                page.say(start, f"not done after {SECONDS_MAX} seconds")
                continue
            after = page.blocks[index + 1] if index + 1 < len(page.blocks) else (0, "", "")
            if run.returncode:
                page.say(start, f"exit status {run.returncode}:\n{run.stdout}{run.stderr}")
            elif after[1] == "text" and not output_fits(after[2], run.stdout):
                page.say(after[0], f"the output is another one:\n{run.stdout}")
        if left_behind(folder):
            page.say(1, "a process that a block started is still there after the last one")


class Help:
    """What `keep help …` says of a command, asked once for each."""

    def __init__(self, command, root):
        self.command, self.texts = pathlib.Path(command).resolve(), {}
        makefile = root / "Makefile"
        self.targets = set(re.findall(r"^([a-z0-9_-]+):", makefile.read_text(encoding="utf-8"), re.M)
                           if makefile.exists() else ())

    def of(self, *words):
        """The help's text; None: there is no such command."""
        if words not in self.texts:
            run = subprocess.run([self.command, "help", *words], capture_output=True, text=True,
                                 timeout=SECONDS_MAX, stdin=subprocess.DEVNULL)
            self.texts[words] = None if run.returncode else run.stdout
        return self.texts[words]

    def fault(self, words):
        """What is wrong with a command's words, the first of which is `keep`; None: nothing."""
        name = words[1] if len(words) > 1 else ""
        if not re.fullmatch(r"[a-z]+", name):
            return None  # keep …, keep STORE VERB, keep --help
        text = self.of(name)
        if text is None:
            return f"there is no keep {name}"
        if "\nVerbs:\n" in text and len(words) > 2 and re.fullmatch(r"[a-z][a-z_-]*", words[2]):
            text = self.of(name, words[2])
            if text is None:
                return f"there is no keep {name} {words[2]}"
        for word in words[2:]:
            if word == "--":
                break
            option = re.match(r"\[?--([a-z][a-z0-9_-]*)", word)
            if not option:
                continue
            # What has a place may be named, too.
            names = rf"--{option[1].replace('_', '-')}(?![\w-])|^  {option[1].replace('-', '_').upper()} "
            if not re.search(names, text + " --help", re.M):
                return f"keep {name} has no option --{option[1]}"
        return None


def words_of(text):
    try:
        return shlex.split(text)
    except ValueError:  # an apostrophe of a sentence
        return text.split()


def named_commands(page):
    """(line, words) of every command of ours that no block of the page runs."""
    for number, line in page.prose:
        indented = re.match(r" {4,}((?:keep|make) .*)", line)
        if indented:
            yield number, words_of(re.split(r" {3,}| # ", indented[1])[0])
        for text in re.findall(r"`((?:keep|make) [^`]+)`", line):
            yield number, words_of(text)
    for start, tag, text in page.blocks:
        if tag.startswith("sh no-check"):
            for line in text.splitlines():
                for match in re.finditer(r"(?:^|[|(;] *)((?:keep|make) [^|;)]*)", line):
                    yield start, words_of(match[1])


def check_commands(page, says):
    for number, words in named_commands(page):
        if words[0] == "make":
            if says.targets and re.fullmatch(r"[a-z]+", words[1]) and words[1] not in says.targets:
                page.say(number, f"the Makefile has no target {words[1]}")
        elif says.fault(words):
            page.say(number, says.fault(words))


def check_tags(page):
    for start, tag, _ in page.blocks:
        if "no-check" in tag and not re.fullmatch(r"(sh|c) no-check: \S.*", tag):
            page.say(start, "why is it not checked? the tag is `sh no-check: REASON`")
        if re.search(r"^\$? ?keep ", _, re.M) and tag.split(" ")[0] not in ("sh", "c", "text"):
            page.say(start, "commands of Keep's stand in a block tagged sh")


def check_index(root):
    """docs/README.md names every page of docs/."""
    index = root / "docs" / "README.md"
    if not index.exists():
        return
    text = index.read_text(encoding="utf-8")
    for path in sorted((root / "docs").rglob("*.md")):
        name = str(path.relative_to(root / "docs"))
        if path != index and not name.startswith("decisions/0") and f"]({name})" not in text:
            yield f"docs/README.md: does not name {name}"
        if name.startswith("decisions/0") and path.name not in (path.parent / "README.md").read_text(encoding="utf-8"):
            yield f"docs/decisions/README.md: does not name {path.name}"


def known_names(root):
    text = "".join(path.read_text(encoding="utf-8") for path in sorted((root / "include").rglob("*.h")))
    names = set(re.findall(r"\b(?:KEEP|keep)_\w+", text))
    # The one list of statuses makes its names with ##.
    names |= {f"KEEP_{name}" for name in re.findall(r"\bX\(([A-Z_]+), *\d+", text)}
    # What tests and builds read from the environment, and the build's own definitions.
    for path in [root / "meson.build", root / "dist" / "keep.service", *sorted((root / "tests").rglob("*.sh")),
                 *sorted((root / "tests").rglob("*.[ch]")), *sorted((root / "src").rglob("*.[ch]"))]:
        if path.exists():
            names |= set(re.findall(r"\bKEEP_[A-Z0-9_]+", path.read_text(encoding="utf-8")))
    # The service's numbers have names of Prometheus' form.
    metrics = root / "src" / "service" / "metrics.c"
    if metrics.exists():
        names |= set(re.findall(r'"(keep_\w+)"', metrics.read_text(encoding="utf-8")))
    return names


def main():
    parser = argparse.ArgumentParser(description="Check that the documents are true.")
    parser.add_argument("--root", type=pathlib.Path,
                        default=pathlib.Path(__file__).resolve().parent.parent)
    parser.add_argument("--keep", help="the command `keep`; without it no `sh` block runs")
    parser.add_argument("--list-unchecked", action="store_true", help="print the blocks that do not run, and why")
    parser.add_argument("files", nargs="*", type=pathlib.Path)
    options = parser.parse_args()
    root = options.root.resolve()
    paths = [path.resolve() for path in options.files] or [
        path for path in [*(root / name for name in PAGES), *sorted((root / "docs").rglob("*.md")),
                          *sorted((root / "src").rglob("README.md"))] if path.exists()]
    known = known_names(root)
    file_names = {path.name for folder in FOLDERS for path in (root / folder).rglob("*")}
    pages = [Page(root, path) for path in paths]
    if options.list_unchecked:
        for page in pages:
            for start, tag, _ in page.blocks:
                if "no-check" in tag:
                    print(f"{page.name}:{start}: {tag}")
        return
    says = Help(options.keep, root) if options.keep else None

    def check(page):
        check_paths(page, file_names)
        check_names(page, known)
        check_tags(page)
        lines = len(page.path.read_text(encoding="utf-8").splitlines())
        if page.path == root / "README.md" and lines > README_LINES_MAX:
            page.say(lines, f"longer than {README_LINES_MAX} lines")
        if says:
            check_commands(page, says)
        for start, tag, text in page.blocks:
            if tag == "c":
                check_c(page, start, text)
        if options.keep:
            run_shell(page, options.keep)

    # Pages know nothing of each other, and mostly wait for what they start.
    with concurrent.futures.ThreadPoolExecutor(PAGES_AT_ONCE) as pool:
        list(pool.map(check, pages))
    bad = list(check_index(root)) + [line for page in pages for line in page.bad]
    for line in bad:
        print(line)
    sys.exit(1 if bad else 0)


if __name__ == "__main__":
    main()
