#!/usr/bin/env python3
"""The collection celeriac.fleet as others get it: a tree without links, of what git tracks.

    tools/collection.py build         makes .cache/dist/celeriac-fleet-VERSION.tar.gz, which ansible-galaxy installs
    tools/collection.py sanity        checks it with ansible-test's own scripts

ansible-galaxy leaves out what a link outside the collection leads to, and in place all of it are links. ansible-test
itself makes a virtualenv for each of its tests from a package index; run by hand, its scripts need none, and take a
few seconds.
"""

from __future__ import annotations

import argparse
import os
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
COLLECTION = Path("collections/ansible_collections/celeriac/fleet")
PLACE = Path("ansible_collections/celeriac/fleet")
DIST = ROOT / ".cache/dist"

# Script of ansible-test -> which files it looks at.
SCRIPTS = {
    "action-plugin-docs": ["plugins/action/*.py", "plugins/modules/*.py"],
    "no-illegal-filenames": ["**/*"],
    "runtime-metadata": ["meta/runtime.yml"],
    "symlinks": ["**/*"],
    "use-argspec-type-path": ["plugins/modules/*.py", "plugins/module_utils/*.py"],
}
# Type of plugin -> its files with documentation, which validate-modules compares with the code.
DOCUMENTED = {
    "module": ["plugins/modules/*.py"],
    "filter": ["plugins/filter/*.yml"],
    "callback": ["plugins/callback/*.py"],
}
# What validate-modules finds and we mean so: the licence is MIT, the author has no account, its schema doesn't know a
# filter's positional, and a module isn't told all that its action takes (tests/unit/plugins/test_documentation.py).
MEANT = re.compile(
    r"Emissing-gplv3-license |DOCUMENTATION\.author: Invalid author "
    r"|^plugins/filter/.*DOCUMENTATION\.positional: extra keys "
    r"|^plugins/modules/(app_release|managed_files)\.py.*Enonexistent-parameter-documented "
    r"|^plugins/modules/managed_files\.py.*Edoc-required-mismatch Argument 'content' "
)


def tracked() -> list[Path]:
    """The files and links of the working tree that git tracks, relative to the root."""
    names = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, text=True, check=True).stdout
    return [path for path in map(Path, names.split("\0")) if path.name and os.path.lexists(ROOT / path)]


def content() -> Iterator[tuple[Path, Path]]:
    """Each file of the collection: where it stands, and its path in the collection."""
    files = tracked()
    for entry in files:
        if not entry.is_relative_to(COLLECTION):
            continue
        target = (ROOT / entry).resolve().relative_to(ROOT)
        for file in files:
            if file.is_relative_to(target):
                yield ROOT / file, entry.relative_to(COLLECTION) / file.relative_to(target)


def make_tree(scratch: Path) -> Path:
    """The collection as a directory below ``scratch``, where Ansible finds it by that path."""
    tree = scratch / PLACE
    for source, path in content():
        (tree / path).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(source, tree / path)
    return tree


def run(command: Sequence[str | Path], tree: Path) -> subprocess.CompletedProcess[str]:
    """Run a command in the tree with the tree's plugins; Python reads nothing that this repository has in place."""
    environ = {
        **os.environ,
        "ANSIBLE_COLLECTIONS_PATH": str(tree.parents[2]),
        "PYTHONPATH": str(tree.parents[2]),
        "PYTHONDONTWRITEBYTECODE": "1",
    }
    environ.pop("ANSIBLE_CONFIG", None)
    return subprocess.run(list(map(str, command)), cwd=tree, env=environ, capture_output=True, text=True)


def build(output: Path) -> Path:
    """Build the artefact in the directory ``output``, in the place of one of the same version.

    :raises SystemExit: with what ansible-galaxy says, if it can't
    """
    with tempfile.TemporaryDirectory(prefix="celeriac-collection-") as scratch:
        tree = make_tree(Path(scratch))
        galaxy = Path(sys.executable).with_name("ansible-galaxy")
        done = run([galaxy, "collection", "build", "--force", "--output-path", output], tree)
    built = re.search(r"\S+\.tar\.gz", done.stdout)
    if done.returncode or not built:
        raise SystemExit(f"celeriac: error: ansible-galaxy can't build the collection: {done.stderr.strip()}")
    return Path(built[0])


def sanity(tree: Path, only: Sequence[str] = ()) -> list[str]:
    """What ansible-test's scripts find in the collection, a line each; ``only`` in some of its files, if given."""
    scripts = Path(sys.executable).parents[1].glob("lib/python3*/site-packages/ansible_test/_util/controller/sanity")
    base = next(scripts)
    validate: list[str | Path] = [base / "validate-modules/validate.py", "--arg-spec", "--collection", PLACE]
    commands: list[tuple[list[str | Path], list[str]]] = []
    commands += [([base / f"code-smell/{name}.py"], patterns) for name, patterns in SCRIPTS.items()]
    commands += [([*validate, "--plugin-type", kind], patterns) for kind, patterns in DOCUMENTED.items()]
    with ThreadPoolExecutor() as pool:
        running = [pool.submit(_found, tree, command, patterns, only) for command, patterns in commands]
        return [line for future in running for line in future.result()]


def _found(tree: Path, command: Sequence[str | Path], patterns: Sequence[str], only: Sequence[str]) -> list[str]:
    """What a script finds in the files that match ``patterns``."""
    files = {path.relative_to(tree) for pattern in patterns for path in tree.glob(pattern) if path.is_file()}
    paths = sorted(files & set(map(Path, only)) if only else files)
    if not paths:
        return []
    done = run([sys.executable, *command, *paths], tree)
    lines = [line for line in [*done.stdout.splitlines(), *done.stderr.splitlines()] if not MEANT.search(line)]
    # with findings, which may all be meant, validate-modules exits 3 and the other scripts 0
    return lines or ([] if done.returncode in (0, 3) else [f"{command[0]} exited {done.returncode}"])


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("command", choices=["build", "sanity"])
    if parser.parse_args().command == "build":
        print(build(DIST))
        return 0
    with tempfile.TemporaryDirectory(prefix="celeriac-sanity-") as scratch:
        found = sanity(make_tree(Path(scratch)))
    print("\n".join(found) or "No finding.")
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
