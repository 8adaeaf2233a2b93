"""The programs that back up and restore, without a server: retention, the wait for a save, manifests, copies."""

from __future__ import annotations

import errno
import json
from argparse import Namespace
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import redis_backup
import redis_dump
import redis_restore
from hypothesis import given
from hypothesis import strategies as st
from redis_dump import DumpError, Manifest

NOW = datetime(2026, 11, 21, 12, tzinfo=UTC)
MANIFEST = Manifest("broker", "broker1", "redis", "7.0.15", 10, "2026-11-21T12:00:00Z", 9, 1, "a" * 64)
times = st.datetimes(datetime(2020, 1, 1), datetime(2030, 1, 1), timezones=st.just(UTC))


@given(st.lists(times, max_size=12), times, st.integers(1, 5), st.integers(1, 400))
def test_what_stays_is_within_count_and_days_or_the_newest(
    when: list[datetime], now: datetime, count: int, days: int
) -> None:
    backups = redis_backup.made({redis_backup.name("broker", each) for each in when}, "broker")
    gone = redis_backup.superfluous(backups, now, count, days)
    stay = [entry for entry in backups if entry not in gone]
    assert stay == list(backups)[: len(stay)]  # the newest ones
    assert bool(stay) is bool(backups)
    assert len(stay) <= count
    assert all(now - backups[entry] <= timedelta(days=days) for entry in stay[1:])
    for entry in gone:
        assert list(backups).index(entry) >= count or now - backups[entry] > timedelta(days=days)


@pytest.mark.parametrize(
    "name",
    [
        "broker.rdb",
        "broker-20261121T120000Z.rdb.json",
        ".broker-20261121T120000Z.rdb.part",
        "broker-20261121T120000Z.rdb.gpg",
        "broker2-20261121T120000Z.rdb",
        "my-broker-20261121T120000Z.rdb",
        "broker-x-20261121T120000Z.rdb",
    ],
)
def test_what_is_no_backup_of_the_instance_is_left_alone(name: str) -> None:
    assert redis_backup.made([name], "broker") == {}


def test_pruning_takes_the_manifest_too(tmp_path: Path) -> None:
    names = [redis_backup.name("broker", datetime.now(UTC) - timedelta(days=days)) for days in (1, 2, 3)]
    for name in names:
        (tmp_path / name).touch()
        (tmp_path / f"{name}.json").touch()
    redis_backup.prune(tmp_path, "broker", 2, 30)
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted([*names[:2], *(f"{n}.json" for n in names[:2])])


class Server:
    """A server that goes through ``states``, one for each INFO, and answers BGSAVE with ``answers``."""

    flavor, instance = "redis", "broker"

    def __init__(self, states: list[dict[str, Any]], answers: list[tuple[bool, str]]) -> None:
        self.states, self.answers = iter(states), iter(answers)

    def info(self, *_sections: str) -> dict[str, str]:
        state = {"run_id": "1", "saves": 0, "running": 0, "status": "ok", "saved": datetime.now(UTC).timestamp() + 1}
        state |= next(self.states)
        return {
            "run_id": state["run_id"],
            "rdb_saves": str(state["saves"]),
            "rdb_bgsave_in_progress": str(state["running"]),
            "rdb_last_bgsave_status": state["status"],
            "rdb_last_save_time": str(int(state["saved"])),
        }

    def ask(self, *command: str) -> tuple[bool, str]:
        assert command == ("BGSAVE", "SCHEDULE")
        return next(self.answers)


STARTED, SCHEDULED = (True, "Background saving started"), (True, "Background saving scheduled")
BUSY = (False, "ERR Background save already in progress")


@pytest.fixture(autouse=True)
def fast(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(redis_backup, "POLL", 0)


def exhausted(server: Server) -> bool:
    return next(server.states, None) is None and next(server.answers, None) is None


@pytest.mark.parametrize(
    ("states", "answers"),
    [
        pytest.param([{}, {"saves": 1, "running": 1}, {"saves": 1}], [STARTED], id="at once"),
        pytest.param([{}, {}, {}, {"saves": 1, "running": 1}, {"saves": 1}], [SCHEDULED], id="after a rewrite"),
        pytest.param(
            [{"running": 1}, {"running": 1}, {}, {}, {"saves": 1}], [BUSY, STARTED], id="one that runs is not enough"
        ),
        pytest.param(
            [{}, {"saves": 1, "saved": 0}, {"saves": 1}, {"saves": 2}], [STARTED, STARTED], id="one that was killed"
        ),
        pytest.param(
            [{"status": "err"}, {"status": "err"}, {"saves": 1}], [SCHEDULED], id="an earlier failure isn't this one's"
        ),
    ],
)
def test_waits_for_a_save_that_began_after_it_was_asked_for(
    states: list[dict[str, Any]], answers: list[tuple[bool, str]]
) -> None:
    server = Server(states, answers)
    before = datetime.now(UTC)
    assert before <= redis_backup.save(server, float("inf")) <= datetime.now(UTC)
    assert exhausted(server)


@pytest.mark.parametrize(
    ("states", "answers", "said"),
    [
        ([{}, {"saves": 1, "status": "err"}], [STARTED], "is the disk of its data full"),
        ([{}, {"run_id": "2"}], [STARTED], "was restarted"),
        ([{}], [(False, "NOPERM")], "refused to save: NOPERM"),
    ],
)
def test_a_save_that_fails_says_why(states: list[dict[str, Any]], answers: list[tuple[bool, str]], said: str) -> None:
    with pytest.raises(DumpError, match=said):
        redis_backup.save(Server(states, answers), float("inf"))


def test_a_save_that_does_not_end_is_given_up() -> None:
    def busy() -> Iterator[dict[str, Any]]:
        while True:
            yield {"saves": 1, "running": 1}

    server = Server([], [STARTED])
    server.states = busy()
    with pytest.raises(DumpError, match="didn't end its save in time"):
        redis_backup.save(server, 0)


def test_a_manifest_reads_as_it_was_written(tmp_path: Path) -> None:
    file = tmp_path / "x.rdb"
    Manifest.path(file).write_text(MANIFEST.text())
    assert Manifest.read(file) == MANIFEST


def test_a_manifest_of_a_later_release_may_say_more(tmp_path: Path) -> None:
    file = tmp_path / "x.rdb"
    Manifest.path(file).write_text(json.dumps({**json.loads(MANIFEST.text()), "more": 1}))
    assert Manifest.read(file) == MANIFEST


@pytest.mark.parametrize(
    "text", ["", "[]", "{}", "null", '{"sha256": "x"}', MANIFEST.text().replace("a" * 64, "A" * 64)]
)
def test_what_is_no_manifest_is_refused(tmp_path: Path, text: str) -> None:
    file = tmp_path / "x.rdb"
    Manifest.path(file).write_text(text)
    with pytest.raises(DumpError, match=r"x\.rdb\.json is no manifest"):
        Manifest.read(file)


def test_a_file_is_there_completely_or_not_at_all(tmp_path: Path) -> None:
    path = tmp_path / "x.rdb"

    def run_out_of_space() -> None:
        with redis_dump.complete(path) as half:
            half.write(b"half")
            raise OSError(errno.ENOSPC, "No space left on device")

    with pytest.raises(DumpError, match=r"x\.rdb couldn't be written: No space left on device"):
        run_out_of_space()
    assert list(tmp_path.iterdir()) == []
    with redis_dump.complete(path) as file:
        file.write(b"whole")
        assert not path.exists()
    assert [entry.name for entry in tmp_path.iterdir()] == ["x.rdb"]


@pytest.mark.parametrize(
    ("header", "version"),
    [(b"REDIS0010", 10), (b"REDIS0012....", 12), (b"VALKEY080", 80), (b"REDIS", None), (b"", None)],
)
def test_the_header_names_the_format(tmp_path: Path, header: bytes, version: int | None) -> None:
    (tmp_path / "x.rdb").write_bytes(header)
    if version:
        assert redis_dump.rdb_version(tmp_path / "x.rdb") == version
    else:
        with pytest.raises(DumpError, match="is no dump of Redis or Valkey"):
            redis_dump.rdb_version(tmp_path / "x.rdb")


@pytest.mark.parametrize(
    ("returncode", "said", "problem"),
    [
        (1, "[offset 9] Can't handle RDB format version 12\n[additional info] x\n", "is in RDB format 10, which"),
        (1, "[offset 9] RDB CRC error\n[additional info] x\n", "is damaged, redis-check-rdb says 'RDB CRC error'"),
        (-11, "", "is damaged, redis-check-rdb says 'exit status -11'"),
        (0, "nothing that we know", "is damaged, redis-check-rdb says 'nothing that we know'"),
    ],
)
def test_what_the_checker_finds_is_said(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, returncode: int, said: str, problem: str
) -> None:
    (tmp_path / "x.rdb").write_bytes(b"REDIS0010")
    done = SimpleNamespace(returncode=returncode, stdout=said, stderr="")
    monkeypatch.setattr(redis_dump.subprocess, "run", lambda *_, **__: done)
    monkeypatch.setattr(redis_dump, "installed", lambda _: "7.0.15")
    with pytest.raises(DumpError) as error:
        redis_dump.check(tmp_path / "x.rdb", "redis")
    assert problem in str(error.value)


def test_the_checker_counts_the_keys(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "x.rdb").write_bytes(b"REDIS0010")
    done = SimpleNamespace(returncode=0, stdout="[offset 1] ok\n[info] 42 keys read\n[info] 1 expires\n", stderr="")
    monkeypatch.setattr(redis_dump.subprocess, "run", lambda *_, **__: done)
    assert redis_dump.check(tmp_path / "x.rdb", "redis") == 42


@pytest.fixture
def sftp(monkeypatch: pytest.MonkeyPatch) -> Callable[..., dict[str, Any]]:
    """What sftp is called with, and what it answers."""

    def answer(returncode: int = 0, stderr: str = "") -> dict[str, Any]:
        called: dict[str, Any] = {}

        def run(command: list[str], **options: Any) -> SimpleNamespace:
            called.update(command=command, **options)
            return SimpleNamespace(returncode=returncode, stderr=stderr)

        monkeypatch.setattr(redis_backup.subprocess, "run", run)
        return called

    return answer


def test_a_copy_over_ssh_checks_the_host_and_asks_nothing(sftp: Callable[..., dict[str, Any]]) -> None:
    called = sftp()
    redis_backup.copy_over_ssh(Path("/b/x.rdb"), "keeper@host", "/srv/b/h/broker", "/k", "/kh")
    assert {"-oStrictHostKeyChecking=yes", "-oBatchMode=yes", "-oIdentityFile=/k", "-oUserKnownHostsFile=/kh"} <= set(
        called["command"]
    )
    assert called["command"][-1] == "keeper@host"
    assert called["input"].splitlines() == [
        *(f"-mkdir {path}" for path in ("/srv", "/srv/b", "/srv/b/h", "/srv/b/h/broker")),
        "put -f /b/x.rdb /srv/b/h/broker/.x.rdb.part",
        "rename /srv/b/h/broker/.x.rdb.part /srv/b/h/broker/x.rdb",
        "put -f /b/x.rdb.json /srv/b/h/broker/.x.rdb.json.part",
        "rename /srv/b/h/broker/.x.rdb.json.part /srv/b/h/broker/x.rdb.json",
    ]


@pytest.mark.parametrize(
    ("stderr", "said"),
    [
        (
            'remote mkdir "/srv": Failure\nremote open "/srv/x": Permission denied\n',
            'remote open "/srv/x": Permission denied',
        ),
        ("", "sftp ended with exit status 255"),
    ],
)
def test_what_ssh_says_is_passed_on(sftp: Callable[..., dict[str, Any]], stderr: str, said: str) -> None:
    sftp(255, stderr)
    arguments = Namespace(copy_to="k@h:/srv", ssh_key="/k", known_hosts="/kh", instance="broker")
    with pytest.raises(DumpError) as error:
        redis_backup.copy_elsewhere(Path("/b/x.rdb"), arguments)
    assert f"/b/x.rdb is complete, but wasn't copied to k@h:/srv: {said}." in str(error.value)


@pytest.mark.parametrize("program", [redis_backup, redis_restore])
def test_help_names_what_a_user_gives_and_nothing_else(program: Any, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        program.parse(["--help"])
    said = capsys.readouterr().out
    assert "instance" in said
    assert "--flavor" not in said
