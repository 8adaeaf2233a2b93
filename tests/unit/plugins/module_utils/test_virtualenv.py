"""plugins/module_utils/virtualenv.py: pip's settings as uv's, secrets out of what programs say."""

from __future__ import annotations

import os
import stat
from pathlib import Path
from typing import Any

import pytest
from ansible_collections.celeriac.fleet.plugins.module_utils import virtualenv

LISTED = """\
:env:.timeout='30'
global.cert='/etc/ssl/corp.pem'
global.extra-index-url='https://a.example/packages https://b.example/packages'
global.index-url='https://global.example/packages'
global.timeout='180'
install.index-url='https://install.example/packages'
install.trusted-host='a.example'
freeze.timeout='9'
"""
SECRET = {
    "index_url": "https://me:p%40ss-word@index.example/packages",
    "extra_index_urls": ["https://t0ken-0@extra.example/packages"],
    "proxy": "http://gate-user:pr0xy-pass@gate.example:3128",
    "environment": {"AWS_KEY": "k3y-of-the-build", "ON": "1"},
}


def test_pips_order_is_kept() -> None:
    found = virtualenv.pip_settings(LISTED)
    assert found["index-url"] == ["https://install.example/packages"]
    assert found["timeout"] == ["30"]
    assert found["cert"] == ["/etc/ssl/corp.pem"]


def test_uv_gets_what_pip_has() -> None:
    assert virtualenv.uv_environment(virtualenv.pip_settings(LISTED), True) == {
        "UV_DEFAULT_INDEX": "https://install.example/packages",
        "UV_INDEX": "https://a.example/packages https://b.example/packages",
        "UV_INSECURE_HOST": "a.example",
        "UV_HTTP_TIMEOUT": "30",
        "SSL_CERT_FILE": "/etc/ssl/corp.pem",
        "UV_INDEX_STRATEGY": "unsafe-best-match",
    }


def test_without_configuration_uv_trusts_whom_the_host_trusts() -> None:
    assert virtualenv.uv_environment({}, False) == {"UV_SYSTEM_CERTS": "1"}


@pytest.mark.parametrize(
    ("line", "name", "value"),
    [
        ("global.find-links='/opt/a /opt/b'", "UV_FIND_LINKS", "/opt/a,/opt/b"),
        ("global.no-index='true'", "UV_NO_INDEX", "1"),
        ("global.no-index='false'", "UV_NO_INDEX", None),
        ("global.proxy='http://gate.example'", "HTTPS_PROXY", "http://gate.example"),
        ("global.default_timeout='7'", "UV_HTTP_TIMEOUT", "7"),
    ],
)
def test_other_settings_of_pip(line: str, name: str, value: str | None) -> None:
    assert virtualenv.uv_environment(virtualenv.pip_settings(line), False).get(name) == value


def test_a_name_is_taken_from_the_first_index_unless_hashes_decide() -> None:
    assert "UV_INDEX_STRATEGY" not in virtualenv.uv_environment(virtualenv.pip_settings(LISTED), False)


def test_settings_of_an_environment_are_pips_variables() -> None:
    assert virtualenv.index_environment(SECRET, "/tmp/ca.pem") == {
        "PIP_INDEX_URL": SECRET["index_url"],
        "PIP_EXTRA_INDEX_URL": "https://t0ken-0@extra.example/packages",
        "PIP_CERT": "/tmp/ca.pem",
        "PIP_PROXY": SECRET["proxy"],
        "HTTPS_PROXY": SECRET["proxy"],
        "HTTP_PROXY": SECRET["proxy"],
        "AWS_KEY": "k3y-of-the-build",
        "ON": "1",
    }
    assert virtualenv.index_environment({"index_url": "", "environment": {}}, "") == {}


@pytest.mark.parametrize(
    ("said", "shown"),
    [
        ("Looked in https://me:p%40ss-word@index.example/packages/x", "Looked in https://***@index.example/packages/x"),
        ("password p@ss-word refused", "password *** refused"),
        ("p%40ss-word", "***"),
        ("https://other:secret@somewhere.example", "https://***@somewhere.example"),
        ("user gate-user:pr0xy-pass", "user ***"),
        ("token t0ken-0", "token ***"),
        ("key k3y-of-the-build", "key ***"),
        ("exit status 1 at https://pypi.example/@scope/x", "exit status 1 at https://pypi.example/@scope/x"),
    ],
)
def test_secrets_are_masked_and_the_rest_stays(said: str, shown: str) -> None:
    assert virtualenv.masked(said, SECRET) == shown


class Module:
    """An AnsibleModule that keeps what it was to run."""

    def __init__(self, tmpdir: Path, rc: int = 0, err: str = "") -> None:
        self.tmpdir, self.answer, self.calls = str(tmpdir), (rc, "", err), []

    def run_command(self, command: list[str], **options: Any) -> tuple[int, str, str]:
        self.calls.append((command, options))
        if "venv" in command:
            os.makedirs(command[-1])
        return self.answer


@pytest.mark.parametrize("installer", ["uv", "pip"])
def test_secrets_go_by_the_environment_never_by_arguments(tmp_path: Path, installer: str) -> None:
    module = Module(tmp_path)
    made = virtualenv.Virtualenvs(module, {}, {**SECRET, "ca": "PEM"}, str(tmp_path / "cache"), 7)
    arguments = (str(tmp_path / "venv"), "/usr/bin/python3", ["--requirement", "r.txt"], "/", "")
    made.with_uv("/uv", *arguments) if installer == "uv" else made.with_pip(*arguments)
    for command, options in module.calls:
        assert not any("p%40ss" in each or "pr0xy" in each or "k3y" in each for each in command)
        assert options["environ_update"]["PIP_INDEX_URL"] == SECRET["index_url"]
        assert Path(options["environ_update"]["PIP_CERT"]).read_text() == "PEM"
        assert options["pass_fds"] == [7]
    cache = tmp_path / "cache" / installer
    assert stat.S_IMODE(cache.stat().st_mode) == 0o700


def test_a_step_that_fails_says_what_its_program_said(tmp_path: Path) -> None:
    made = virtualenv.Virtualenvs(Module(tmp_path, 1, "no k3y-of-the-build"), {}, SECRET, str(tmp_path), 7)
    with pytest.raises(virtualenv.BuildError, match=r"\AInstalling failed:\nno \*\*\*\Z"):
        made.run("Installing", ["false"], "/")


def test_the_interpreter_is_the_one_behind_the_links(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    (tmp_path / "python3.99").touch(0o755)
    (tmp_path / "python9").symlink_to("python3.99")
    assert virtualenv.interpreter("python9") == str(tmp_path / "python3.99")
    assert virtualenv.interpreter("python3.100") == ""


def test_a_virtualenv_is_made_with_an_interpreter_once_it_is_complete(tmp_path: Path) -> None:
    assert virtualenv.made_with(str(tmp_path)) == ""
    (tmp_path / ".lock").touch()
    virtualenv.finish(str(tmp_path), "/usr/bin/python3.13", {})
    assert virtualenv.made_with(str(tmp_path)) == "/usr/bin/python3.13"
    assert not (tmp_path / ".lock").exists()


@pytest.mark.parametrize("line", ["version = 3.13.5", "version_info = 3.13.5"])
def test_the_version_is_read_off_the_virtualenv(tmp_path: Path, line: str) -> None:
    (tmp_path / "pyvenv.cfg").write_text(f"home = /usr/bin\nuv = 0.13.9\n{line}\n")
    assert virtualenv.version_of(str(tmp_path)) == "3.13.5"
