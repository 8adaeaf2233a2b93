"""Backups of a Redis host, and what a restore brings back on this host, a new one, another distribution or server."""

from __future__ import annotations

import json
import re
import shlex
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from hashlib import sha256
from pathlib import Path
from typing import Any

import pytest
import redis
from celery import Celery
from testinfra.host import Host

from tests.support.files import carry
from tests.support.servers import Server
from tests.support.site import Run, Site
from tests.support.soak import Soak
from tests.support.systemd import exposure
from tests.support.waiting import PATIENCE

# one of each kind; new12 is as old12
testinfra_hosts = ["ansible://old12", "ansible://new13", "ansible://valkey13"]

STAMP = "%Y%m%dT%H%M%SZ"
# Passes every checksum, and no server loads it: the same key twice.
NO_SERVER_LOADS = b"REDIS0010\xfe\x00" + b"\x00\x03one\x011" * 2 + b"\xff" + bytes(8)


class BackupHost:
    """A host of the scenario, by its name."""

    def __init__(self, site: Site, name: str) -> None:
        self.name, self.host, self.variables = name, site.host(name), site[name]
        self.flavor = str(self.variables["redis_flavor"])
        self.container = str(self.variables["ansible_host"])
        self.data = f"/var/lib/{self.flavor}"

    @property
    def directory(self) -> str:
        """Where the broker's backups are."""
        return f"{self.variables['redis_backup_directory']}/broker"

    def server(self, instance: str = "broker") -> Server:
        """One of its instances."""
        entry = next(each for each in self.variables["redis_instances"] if each["name"] == instance)
        return Server(self.host, self.variables, entry)

    def unit(self, instance: str = "broker") -> str:
        """The systemd unit of an instance."""
        return self.server(instance).unit

    def client(self, instance: str = "broker") -> redis.Redis:
        """A client on this machine that may do everything."""
        return self.server(instance).connect(socket_timeout=10)

    def celery(self) -> Celery:
        """The application, as it is set up against this host."""
        broker, results, name = self.server("broker"), self.server("results"), self.variables["app_name"]
        app = Celery("shop", set_as_current=False)
        login = f"redis://{name}:{broker.password(name)}@{broker.address}"
        prefix = {"global_keyprefix": f"{name}:"}
        app.conf.update(
            broker_url=f"{login}:{broker.port}/0",
            result_backend=f"{login}:{results.port}/0",
            broker_transport_options=prefix,
            result_backend_transport_options=prefix,
        )
        return app

    def run(self, *command: str, **options: Any) -> subprocess.CompletedProcess[bytes]:
        """Run a command in the container, with standard input and output of any size."""
        call = ["docker", "exec", "-i", self.container, *command]
        return subprocess.run(call, check=True, stdout=subprocess.PIPE, **options)

    def backup(self, instance: str = "broker") -> str:
        """Back up now; the path of the backup."""
        return str(self.host.check_output("redis-backup %s", instance).split()[0])

    def backups(self, directory: str = "") -> list[str]:
        """The files among the backups of the broker."""
        return sorted(self.host.check_output("ls %s", directory or self.directory).split())

    def state(self) -> str:
        """What a refused restore leaves as it was."""
        pids = f"systemctl show --value --property=MainPID {self.unit('broker')} {self.unit('results')}"
        return str(self.host.check_output(f"{pids}; ls -A {self.data} /var/tmp"))


@dataclass(frozen=True)
class Work:
    """Tasks that are queued, and results of others."""

    tasks: int
    results: int

    def put(self, server: BackupHost) -> None:
        """Do what the application would."""
        app = server.celery()
        with app.producer_or_acquire() as producer:
            for number in range(self.tasks):
                args, task_id = (number,), f"task-{number}"
                app.send_task(
                    "shop.ship", args, task_id=task_id, queue="parcels", producer=producer, ignore_result=True
                )
        for number in range(self.results):
            app.backend.store_result(f"done-{number}", {"number": number}, "SUCCESS")

    def is_on(self, server: BackupHost) -> None:
        """Each task is there in its order, each result, as the application gets at them."""
        queued = server.client().lrange("shop:parcels", 0, -1)
        ids = [json.loads(task)["headers"]["id"] for task in reversed(queued)]
        assert ids == [f"task-{number}" for number in range(self.tasks)]
        app = server.celery()
        found = [app.backend.get_task_meta(f"done-{number}")["result"] for number in range(self.results)]
        assert found == [{"number": number} for number in range(self.results)]


@pytest.fixture(scope="module")
def hosts(site: Site) -> dict[str, BackupHost]:
    """The hosts of the scenario by their names."""
    return {name: BackupHost(site, name) for name in site.group("redis")}


@pytest.fixture(scope="module")
def content(hosts: dict[str, BackupHost]) -> bytes:
    """A backup that was made on new12."""
    return hosts["new12"].run("cat", hosts["new12"].backup()).stdout


@pytest.fixture
def here(host: Host, hosts: dict[str, BackupHost]) -> BackupHost:
    """The host under test."""
    return hosts[host.backend.host]


@pytest.fixture(scope="module")
def work(soak: Soak) -> Work:
    """What is restored elsewhere."""
    return Work(soak.size(2_000, 10_000), soak.size(200, 1_000))


@pytest.fixture(scope="module")
def filled(hosts: dict[str, BackupHost], work: Work) -> BackupHost:
    """old12, with queued tasks and results."""
    old = hosts["old12"]
    old.client().delete("shop:parcels")  # of a run before
    work.put(old)
    return old


@pytest.fixture(scope="module")
def fetched(filled: BackupHost, site: Site, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Instance -> its backup, made on old12 and fetched to this machine by the playbook."""
    directory = tmp_path_factory.mktemp("fetched")
    site.playbook("playbooks/backup-redis.yml", "--limit=old12", backup_fetch_to=str(directory)).succeeded()
    return {name: next((directory / "old12").glob(f"{name}-*.rdb")) for name in ("broker", "results")}


@contextmanager
def untouched(server: BackupHost) -> Iterator[None]:
    """The same processes run after as before, on the same data, and nothing lies about."""
    before = server.state()
    yield
    assert server.state() == before


def replaced(said: str) -> str:
    """Where a restore says that it keeps what it replaced."""
    found = re.search(r"What it replaced is in (\S+):", said)
    assert found, said
    return found[1]


def consume(server: BackupHost, number: int) -> list[str]:
    """The ids of the next tasks of the queue, taken as a worker takes them."""
    with server.celery().connection_for_read() as connection:
        queue = connection.SimpleQueue("parcels")
        taken = [queue.get(timeout=PATIENCE) for _ in range(number)]
        for message in taken:
            message.ack()
        return [message.headers["id"] for message in taken]


def put(server: BackupHost, content: bytes, name: str = "made.rdb", **manifest: Any) -> str:
    """A file on the host, and a manifest that says that it is whole, as far as ``manifest`` doesn't say otherwise."""
    path = f"/root/{name}"
    told = {
        "instance": "broker", "host": "elsewhere", "flavor": "redis", "version": "7.0.15", "rdb_version": 10, "keys": 1,
        "time": "2026-01-01T00:00:00Z", "bytes": len(content), "sha256": sha256(content).hexdigest(), **manifest,
    }  # fmt: skip
    carry(server.container, {path: content, f"{path}.json": json.dumps(told).encode()})
    return path


def flipped(content: bytes) -> bytes:
    """``content`` with one bit changed in the middle of its data."""
    return content[:-20] + bytes([content[-20] ^ 1]) + content[-19:]


def restore(site: Site, host: str, instance: str, file: Path, *arguments: str) -> Run:
    """Run restore-redis.yml with a yes."""
    return site.playbook(
        "playbooks/restore-redis.yml",
        *arguments,
        restore_host=host,
        restore_instance=instance,
        restore_file=str(file),
        restore_yes=True,
    )


# -- what stands on every host


def test_timers_run_for_what_is_worth_a_backup(host: Host, here: BackupHost) -> None:
    for instance in here.variables["redis_instances"]:
        timer = host.service(f"redis-backup@{instance['name']}.timer")
        assert timer.is_enabled is timer.is_running is (instance["profile"] != "cache")
    following = host.check_output("systemctl show --value --property=NextElapseUSecRealtime redis-backup@broker.timer")
    assert datetime.strptime(following, "%a %Y-%m-%d %H:%M:%S %Z") < datetime.now() + timedelta(days=1, minutes=11)


def test_sandbox(host: Host) -> None:
    assert exposure(host, "redis-backup@broker.service") <= 1.3


def test_a_backup_is_whole_and_says_what_it_is(host: Host, here: BackupHost) -> None:
    here.client().set("celeriac:one", "1")
    path = here.backup()
    manifest = json.loads(host.file(f"{path}.json").content)
    assert manifest["sha256"] == host.file(path).sha256sum
    assert manifest["bytes"] == host.file(path).size
    assert manifest["keys"] == here.client().dbsize()
    assert (manifest["instance"], manifest["host"], manifest["flavor"]) == ("broker", here.name, here.flavor)
    header = host.file(path).content[:9]
    assert header == b"REDIS%04d" % manifest["rdb_version"]
    assert manifest["version"] == here.client().info("server")[f"{here.flavor}_version"]
    assert host.run(f"{here.flavor}-check-rdb %s", path).rc == 0


def test_backups_are_for_nobody_else(host: Host, here: BackupHost) -> None:
    path = Path(here.backup())
    for found, mode in (
        (path, 0o600),
        (path.with_name(f"{path.name}.json"), 0o600),
        (path.parent, 0o700),
        (path.parent.parent, 0o750),
    ):
        file = host.file(str(found))
        assert (file.user, file.group, file.mode) == (here.flavor, here.flavor, mode)


def test_the_server_can_not_write_to_its_backups(host: Host, here: BackupHost) -> None:
    pid = host.check_output("systemctl show --value --property=MainPID %s", here.unit())
    options = host.check_output("cat /proc/%s/mountinfo", pid)
    assert re.search(r" / / ro,", options)
    assert "/var/backups" not in options


def test_the_password_is_in_no_unit_and_no_argument(host: Host, here: BackupHost) -> None:
    password = host.check_output("cut -d= -f2 /etc/%s/celeriac.env", here.flavor)
    assert len(password) >= 32
    assert host.run("grep -rlF -- %s /etc/systemd /usr/local /var/backups /var/log", password).rc == 1
    assert password not in host.check_output("systemctl show redis-backup@broker.service redis-backup@broker.timer")


@pytest.mark.destructive
def test_old_backups_go_by_count_and_by_age_and_what_else_lies_there_stays(host: Host, here: BackupHost) -> None:
    here.backup()
    host.check_output("find %s -type f -name 'broker*' -delete", here.directory)
    now = datetime.now(UTC)

    def made(**ago: int) -> str:
        """A backup of then."""
        name = f"broker-{(now - timedelta(**ago)).strftime(STAMP)}.rdb"
        touch(name)
        return name

    def touch(name: str) -> None:
        host.check_output("cd %s && touch %s %s", here.directory, name, f"{name}.json")

    def both(names: list[str]) -> list[str]:
        return sorted(file for name in names for file in (name, f"{name}.json"))

    foreign = ["broker-notes.txt", "results-20200101T000000Z.rdb", "broker-20200101T000000Z.rdb.gpg", "broker.rdb"]
    for name in foreign:
        touch(name)
    recent = [made(hours=hours) for hours in range(1, 5)]
    new = Path(here.backup()).name
    count = here.variables["redis_backup_keep_count"]
    assert here.backups() == both([new, *recent[: count - 1], *foreign])
    for name in recent:
        host.check_output("cd %s && rm -f %s %s", here.directory, name, f"{name}.json")
    made(days=here.variables["redis_backup_keep_days"], hours=1)
    newer = Path(here.backup()).name
    assert here.backups() == both([new, newer, *foreign])
    host.check_output("find %s -type f ! -name %s ! -name '.*' -delete", here.directory, f"{newer}*")


@pytest.mark.destructive
def test_a_damaged_file_with_the_right_sha256_is_refused_before_the_server_is_touched(
    host: Host, here: BackupHost
) -> None:
    path = put(here, flipped(host.file(here.backup()).content))
    with untouched(here):
        done = host.run("redis-restore --yes broker %s", path)
    assert done.rc == 1
    assert f"nothing was changed. {path} is damaged, {here.flavor}-check-rdb says" in done.stderr
    host.check_output("rm %s %s.json", path, path)


@pytest.mark.destructive
def test_a_restore_brings_back_what_was_there_and_keeps_what_it_replaced(host: Host, here: BackupHost) -> None:
    client = here.client()
    client.delete("celeriac:later")
    client.rpush("celeriac:list", *range(100))
    client.set("celeriac:expires", "soon", ex=3600)
    path = here.backup()
    client.delete("celeriac:list")
    client.set("celeriac:later", "1")
    done = host.run("redis-restore --yes broker %s", path)
    assert done.rc == 0, done.stderr
    client = here.client()
    assert client.lrange("celeriac:list", 0, -1) == [str(number) for number in range(100)]
    assert client.ttl("celeriac:expires") > 3000
    assert not client.exists("celeriac:later")
    kept = replaced(done.stdout)
    assert re.fullmatch(rf"{here.data}/broker\.replaced-\w+", kept)
    assert host.file(f"{kept}/appendonlydir").is_directory
    for found, mode in ((f"{here.data}/broker", 0o750), (kept, 0o750)):
        file = host.file(found)
        assert (file.user, file.group, file.mode) == (here.flavor, here.flavor, mode)
    assert host.run("find %s/broker ! -user %s -o -perm /027 ! -type d", here.data, here.flavor).stdout == ""
    client.set("celeriac:later", "2")
    host.check_output("systemctl restart %s", here.unit())
    assert here.client().get("celeriac:later") == "2"
    assert here.client().llen("celeriac:list") == 100
    here.client().delete("celeriac:list", "celeriac:later", "celeriac:expires")
    host.check_output("rm -r %s", kept)


@pytest.mark.destructive
def test_what_no_server_loads_is_taken_back(host: Host, here: BackupHost) -> None:
    """A file that passes every check and still doesn't load."""
    here.client().set("celeriac:kept", "1")
    path, before = put(here, NO_SERVER_LOADS), host.check_output("ls -A %s", here.data)
    done = host.run("redis-restore --yes broker %s", path)
    assert done.rc == 4
    assert "didn't start on the restored data" in done.stderr
    assert "It runs on its old data again." in done.stderr
    assert here.client().getdel("celeriac:kept") == "1"
    assert host.check_output("ls -A %s", here.data) == before
    host.check_output("rm %s %s.json", path, path)


# -- what fails


@pytest.mark.destructive
@pytest.mark.parametrize("problem", ["unknown instance", "the server is stopped", "its data can't be written"])
def test_a_backup_that_fails_says_why_and_leaves_no_file(hosts: dict[str, BackupHost], problem: str) -> None:
    here = hosts["valkey13"]
    host, before, data = here.host, here.backups(), f"{here.data}/broker"
    if problem == "unknown instance":
        done = host.run("redis-backup unknown")
        assert "There is no instance 'unknown' on this host" in done.stderr
    elif problem == "the server is stopped":
        host.check_output("systemctl stop %s", here.unit())
        done = host.run("redis-backup broker")
        host.check_output("systemctl start %s", here.unit())
        assert f"{here.unit()} doesn't answer" in done.stderr
    else:
        host.check_output("chmod 0500 %s", data)
        done = host.run("redis-backup broker")
        host.check_output("chmod 0750 %s", data)
        assert "The server couldn't save" in done.stderr
        assert host.run("systemctl is-failed redis-backup@broker.service").stdout.strip() == "failed"
    assert done.rc == 1
    assert "no backup of" in done.stderr
    assert here.backups() == before
    host.run("systemctl reset-failed 'redis-backup@*'")


@pytest.mark.destructive
@pytest.mark.parametrize(
    ("fault", "reason"),
    [
        ("one byte", "has the SHA-256"),
        ("cut off", "has the SHA-256"),
        ("another sha256", "has the SHA-256"),
        ("no manifest", "/root/made.rdb.json is missing"),
        ("another instance", "is a backup of the instance 'results', not of 'broker'"),
        ("no dump", "is no dump of Redis or Valkey"),
        ("no file", "/root/made.rdb is no file"),
    ],
)
def test_a_file_that_is_not_right_is_refused_before_the_server_is_touched(
    hosts: dict[str, BackupHost], content: bytes, fault: str, reason: str
) -> None:
    here, arguments = hosts["new12"], []
    told = {"sha256": sha256(content).hexdigest()}
    if fault == "one byte":
        content = flipped(content)
    elif fault == "cut off":
        content = content[:-5]
    elif fault == "another instance":
        told["instance"] = "results"
    elif fault == "no dump":
        content, told = b"-----BEGIN CERTIFICATE-----", {}
    path = put(here, content, **told)
    if fault == "another sha256":
        arguments = [f"--sha256={'0' * 64}"]
    elif fault in ("no manifest", "no file"):
        here.host.check_output("rm %s.json", path)
    if fault == "no file":
        here.host.check_output("rm %s", path)
    with untouched(here):
        done = here.host.run(shlex.join(["redis-restore", "--yes", *arguments, "broker", path]))
    assert done.rc == 1
    assert done.stderr.startswith("redis-restore: nothing was changed. ")
    assert reason in done.stderr
    here.host.check_output("rm -f %s %s.json", path, path)


def test_one_restore_at_a_time(hosts: dict[str, BackupHost]) -> None:
    here = hosts["new12"]
    path = here.backup()
    with untouched(here):
        done = here.host.run("flock /run/redis-restore-broker.lock redis-restore --yes broker %s", path)
    assert done.rc == 1
    assert "Another restore of 'broker' is running" in done.stderr


# -- copies elsewhere


@pytest.mark.destructive
def test_a_copy_goes_to_a_second_directory_where_old_ones_go_too(hosts: dict[str, BackupHost]) -> None:
    old = hosts["old12"]
    directory = f"{old.variables['redis_backup_copy_to']}/old12/broker"
    paths = [old.backup() for _ in range(old.variables["redis_backup_keep_count"] + 1)]
    names = sorted(Path(path).name for path in paths)[1:]
    assert old.backups(directory) == sorted(file for name in names for file in (name, f"{name}.json"))
    assert old.host.file(f"{directory}/{names[-1]}").sha256sum == old.host.file(paths[-1]).sha256sum
    assert old.host.file(directory).mode == 0o700


@pytest.mark.destructive
def test_a_copy_goes_to_another_host(hosts: dict[str, BackupHost]) -> None:
    new, keeper = hosts["new13"], hosts["new12"]
    path = Path(new.backup())
    copied = keeper.host.file(f"/srv/backups/new13/broker/{path.name}")
    assert copied.sha256sum == new.host.file(str(path)).sha256sum
    assert (copied.user, copied.mode) == ("keeper", 0o600)
    assert json.loads(keeper.host.file(f"{copied.path}.json").content)["host"] == "new13"


@pytest.mark.destructive
@pytest.mark.parametrize("fault", ["not reachable", "another host key", "no directory"])
def test_a_copy_to_another_host_that_fails_fails_the_unit(hosts: dict[str, BackupHost], fault: str) -> None:
    new, keeper = hosts["new13"], hosts["new12"]
    break_, mend, reason = {
        "not reachable": ("systemctl stop ssh.socket ssh", "systemctl start ssh", "Connection refused"),
        "another host key": (
            "cd /etc/ssh && mv ssh_host_ed25519_key* /root && ssh-keygen -q -t ed25519 -N '' -f ssh_host_ed25519_key"
            " && systemctl restart ssh",
            "mv /root/ssh_host_ed25519_key* /etc/ssh && systemctl restart ssh",
            "Host key verification failed",
        ),
        "no directory": ("chmod 0 /srv/backups", "chmod 0700 /srv/backups", "Permission denied"),
    }[fault]
    keeper.host.check_output(break_)
    done = new.host.run("redis-backup broker")
    keeper.host.check_output(mend)
    assert done.rc == 3
    assert "is complete, but wasn't copied to keeper@new12:/srv/backups" in done.stderr
    assert reason in done.stderr
    assert new.host.check_output("systemctl is-failed redis-backup@broker.service") == "failed"
    assert Path(done.stdout.split()[0]).name in new.backups()
    new.backup()


@pytest.mark.destructive
def test_a_copy_to_a_directory_that_fails_fails_the_unit(hosts: dict[str, BackupHost]) -> None:
    old = hosts["old12"]
    directory = old.variables["redis_backup_copy_to"]
    old.host.check_output("chown root %s && chmod 0700 %s", directory, directory)
    done = old.host.run("redis-backup broker")
    old.host.check_output("chown redis %s && chmod 0750 %s", directory, directory)
    assert done.rc == 3
    assert f"is complete, but wasn't copied to {directory}: [Errno 13] Permission denied" in done.stderr
    assert Path(done.stdout.split()[0]).name in old.backups()


# -- from host to host


@pytest.mark.parametrize(
    ("name", "asked"),
    [
        ("restore", {"restore_host": "new12", "restore_instance": "unknown"}),
        ("backup", {"backup_instance": "unknown"}),
    ],
)
def test_what_can_not_be_right_is_refused_before_a_host_is_touched(
    site: Site, name: str, asked: dict[str, str]
) -> None:
    run = site.playbook(f"playbooks/{name}-redis.yml", **asked)
    assert run.returncode != 0
    assert f"{name}_instance is ''unknown''" in run.output
    assert run.output.count("TASK [") == 1


def test_nothing_is_replaced_without_a_yes(site: Site, hosts: dict[str, BackupHost], fetched: dict[str, Path]) -> None:
    new = hosts["new12"]
    with untouched(new):
        run = site.playbook(
            "playbooks/restore-redis.yml",
            restore_host="new12",
            restore_instance="broker",
            restore_file=str(fetched["broker"]),
        )
    assert run.returncode != 0
    assert "restore_yes isn't true" in run.output
    assert "It would replace /var/lib/redis/broker" in run.output


def test_check_mode_backs_nothing_up(site: Site, hosts: dict[str, BackupHost]) -> None:
    before = hosts["new12"].backups()
    run = site.playbook(
        "playbooks/backup-redis.yml", "--limit=new12", "--check", backup_fetch_to="/nowhere"
    ).succeeded()
    assert run.changed == {"new12": 0}
    assert hosts["new12"].backups() == before


def test_check_mode_verifies_and_changes_nothing(
    site: Site, hosts: dict[str, BackupHost], fetched: dict[str, Path]
) -> None:
    new = hosts["new12"]
    with untouched(new):
        run = restore(site, "new12", "broker", fetched["broker"], "--check")
    assert run.returncode == 0, run.output
    assert set(run.changed.values()) == {0}
    assert re.search(r": \d+ keys, whole, and redis 7\.0\.15 can load it\.", run.output)


@pytest.mark.destructive
@pytest.mark.parametrize("name", ["new13", "valkey13"])
def test_an_older_servers_backup_is_an_upgrade(
    hosts: dict[str, BackupHost], fetched: dict[str, Path], work: Work, name: str
) -> None:
    new = hosts[name]
    for instance, file in fetched.items():
        carry(
            new.container,
            {f"/root/{file.name}{suffix}": Path(f"{file}{suffix}").read_bytes() for suffix in ("", ".json")},
        )
        said = new.host.check_output("redis-restore --yes %s %s", instance, f"/root/{file.name}")
        new.host.check_output("rm -r %s %s %s", replaced(said), f"/root/{file.name}", f"/root/{file.name}.json")
    work.is_on(new)


@pytest.mark.destructive
@pytest.mark.parametrize("name", ["new13", "valkey13"])
def test_an_older_servers_data_directory_is_an_upgrade(
    filled: BackupHost, hosts: dict[str, BackupHost], work: Work, name: str
) -> None:
    new = hosts[name]
    for instance in ("broker", "results"):
        filled.host.check_output("systemctl stop %s", filled.unit(instance))
        archive = filled.run("tar", "-C", f"{filled.data}/{instance}", "-c", ".").stdout
        filled.host.check_output("systemctl start %s", filled.unit(instance))
        new.host.check_output("systemctl stop %s && rm -r %s/%s/*", new.unit(instance), new.data, instance)
        new.run("tar", "-C", f"{new.data}/{instance}", "-x", "--no-same-owner", input=archive)
        new.host.check_output(
            "chown -R %s: %s/%s && systemctl start %s", new.flavor, new.data, instance, new.unit(instance)
        )
    work.is_on(new)


@pytest.mark.destructive
@pytest.mark.parametrize(
    ("source", "target", "said"),
    [
        ("new13", "new12", "written by redis 8.0.2 is in RDB format 12, which redis 7.0.15 of this host can't load"),
        ("new13", "valkey13", "written by redis 8.0.2 is in RDB format 12, which valkey 8.1.1 of this host can't load"),
        (
            "valkey13",
            "new12",
            "written by valkey 8.1.1 is in RDB format 11, which redis 7.0.15 of this host can't load",
        ),
    ],
)
def test_a_newer_or_foreign_servers_backup_is_refused(
    hosts: dict[str, BackupHost], source: str, target: str, said: str
) -> None:
    here, backup = hosts[target], hosts[source].backup()
    carry(
        here.container,
        {f"/root/new.rdb{suffix}": hosts[source].run("cat", backup + suffix).stdout for suffix in ("", ".json")},
    )
    with untouched(here):
        done = here.host.run("redis-restore --yes broker /root/new.rdb")
    assert done.rc == 1
    assert f"/root/new.rdb {said}: restore it on a host with the server that wrote it" in done.stderr
    here.host.check_output("rm /root/new.rdb /root/new.rdb.json")


@pytest.mark.destructive
def test_valkeys_backup_goes_to_redis(hosts: dict[str, BackupHost]) -> None:
    old, new = hosts["valkey13"], hosts["new13"]
    old.client().rpush("celeriac:moved", *range(100))
    path = old.backup()
    carry(new.container, {f"/root/new.rdb{suffix}": old.run("cat", path + suffix).stdout for suffix in ("", ".json")})
    new.host.check_output("redis-restore --yes broker /root/new.rdb && rm /root/new.rdb /root/new.rdb.json")
    assert new.client().lrange("celeriac:moved", 0, -1) == [str(number) for number in range(100)]


@pytest.mark.destructive
def test_a_full_disk_costs_no_backup_and_leaves_no_part_of_one(filled: BackupHost) -> None:
    directory = "/var/backups/redis/broker"
    filled.backup()
    filled.host.check_output("mount -t tmpfs -o size=128k,uid=redis,gid=redis,mode=0700 tmpfs %s", directory)
    try:
        filled.host.check_output("install -o redis -m 0600 /dev/null %s/broker-20260101T000000Z.rdb", directory)
        done = filled.host.run("redis-backup broker")
        assert done.rc == 1
        assert re.search(rf"{directory} has \d+ bytes free, but the dump takes \d+: make room there", done.stderr)
        assert filled.backups() == ["broker-20260101T000000Z.rdb"]
        assert filled.host.check_output("systemctl is-failed redis-backup@broker.service") == "failed"
    finally:
        filled.host.check_output("umount %s", directory)
    assert filled.host.file(filled.backup()).size > 2**17


@pytest.mark.destructive
@pytest.mark.soak
def test_a_destroyed_hosts_tasks_are_all_on_a_new_one(
    site: Site, hosts: dict[str, BackupHost], fetched: dict[str, Path], work: Work
) -> None:
    """The last test: old12 is gone after it."""
    subprocess.run(["docker", "rm", "--force", "--volumes", hosts["old12"].container], check=True, capture_output=True)
    for instance, file in fetched.items():
        run = restore(site, "new12", instance, file)
        assert run.returncode == 0, run.output
    new = hosts["new12"]
    work.is_on(new)
    assert consume(new, 100) == [f"task-{number}" for number in range(100)]
