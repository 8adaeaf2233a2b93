"""tests/support/leaks.py: what the searches for secrets find, and that they don't find themselves."""

from __future__ import annotations

from pathlib import Path

import pytest
import testinfra
from testinfra.host import Host

from tests.support import leaks

SECRETS = leaks.with_urls({"plain": "hunter2", "awkward": r"""^a.b*[c]$\d/"e'#%@+{1}|(f)?"""})


@pytest.fixture
def host() -> Host:
    """This machine."""
    return testinfra.get_host("local://")


@pytest.mark.parametrize(("name", "secret"), SECRETS.items(), ids=SECRETS)
def test_a_secret_is_found_wherever_it_stands(host: Host, tmp_path: Path, name: str, secret: str) -> None:
    (tmp_path / "log").write_bytes(b"\xff\0" + f"before{secret}after\n".encode())
    found = leaks._grepped(f"{leaks.GREP} -r {tmp_path}")(host, SECRETS)
    assert name in found
    assert {SECRETS[each] for each in found} == {secret}


def test_secrets_on_one_line_are_all_found(host: Host, tmp_path: Path) -> None:
    (tmp_path / "log").write_text(" ".join(SECRETS.values()))
    assert leaks._grepped(f"{leaks.GREP} -r {tmp_path}")(host, SECRETS) == list(SECRETS)


def test_no_search_finds_its_own_command_line(host: Host) -> None:
    assert leaks._grepped(f"cat /proc/$$/cmdline /proc/self/cmdline | {leaks.GREP}")(host, SECRETS) == []
