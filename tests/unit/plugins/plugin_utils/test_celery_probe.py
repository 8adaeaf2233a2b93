"""plugins/plugin_utils/celery_probe.py: the files that the modules get. What runs of them: tests/unit/plugins/probe."""

from __future__ import annotations

import os

import pytest
from ansible_collections.celeriac.fleet.plugins.module_utils.celery_app import PROGRAM
from ansible_collections.celeriac.fleet.plugins.plugin_utils import celery_probe as plugin

from tests.support.harness import ROOT


def test_the_program_is_one_file_of_python_and_its_lua() -> None:
    files = plugin.program()
    assert [name for name in files if not name.endswith(".lua")] == [PROGRAM]
    assert files == {path.name: path.read_text() for path in (ROOT / "plugins/probe").glob("*.*")}


def test_a_user_without_a_name_is_told_by_number(monkeypatch: pytest.MonkeyPatch) -> None:
    def nameless() -> str:
        raise KeyError

    monkeypatch.setattr(plugin.getpass, "getuser", nameless)
    assert plugin.author()["by"] == f"uid {os.getuid()}"
