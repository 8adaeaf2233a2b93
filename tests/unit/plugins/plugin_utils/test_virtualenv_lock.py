"""plugins/plugin_utils/virtualenv_lock.py: what is a lock and what isn't."""

from __future__ import annotations

from pathlib import Path

import pytest
from ansible_collections.celeriac.fleet.plugins.plugin_utils import virtualenv_lock as lock

from tests.support.harness import ROOT

HASH = f"--hash=sha256:{'a' * 64}"
LOCKS = [lock.UV_LOCK, *ROOT.glob("examples/*/requirements.txt"), *ROOT.glob("tests/apps/*/requirements.txt")]


@pytest.mark.parametrize("path", LOCKS, ids=lambda path: str(path.relative_to(ROOT)))
def test_what_make_lock_writes_is_one(path: Path) -> None:
    assert list(lock.lock_problems(path.read_text())) == []


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "The lock is empty"),
        ("# nothing\n", "The lock is empty"),
        ("a==1\n", "'a==1' without a hash"),
        (f"a==1 {HASH}\nb==2\n", "'b==2' without a hash"),
        (f"a==1 # {HASH}\n", "'a==1' without a hash"),
        ("a==1 --hash=md5:0\n", "'a==1' without a hash"),
        (f"a>=1 {HASH}\n", "'a>=1', which is no requirement of one version"),
        (f"a @ https://x.example/a.whl {HASH}\n", "'a', which is no requirement of one version"),
        (f"--no-index\na==1 {HASH}\n", "'--no-index', which is no requirement"),
        (f"-r other.txt\na==1 {HASH}\n", "'-r', which is no requirement"),
        (f"https://me:hush@x.example/a.whl {HASH}\n", "'https://***@x.example/a.whl', which is no requirement"),
        (f"-e .\na==1 {HASH}\n", "'-e', which is no requirement"),
    ],
)
def test_what_is_none_is_a_sentence(text: str, said: str) -> None:
    (problem,) = lock.lock_problems(text)
    assert said in problem
    assert problem.endswith(".")


def test_the_id_is_of_what_is_installed_and_how() -> None:
    text = f"a[x]==1 ; python_version >= '3.11' \\\n    {HASH}\nb==2 {HASH}\n"
    assert list(lock.lock_problems(text)) == []
    one = lock.lock_id(text, {"installer": "uv"})
    assert one == lock.lock_id(f"# by hand\n{text}\n", {"installer": "uv"})
    assert one != lock.lock_id(text.replace("==2", "==3"), {"installer": "uv"})
    assert one != lock.lock_id(text, {"installer": "pip"})
