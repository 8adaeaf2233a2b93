#!/usr/bin/env python3
"""Build the test hosts' images: a bare Debian server with systemd as PID 1.

    tools/build_image.py 12 13        builds celeriac-host:debian12 and celeriac-host:debian13, side by side
    tools/build_image.py --print-tag 12

The base comes from the official image where a registry answers, else from ``mmdebstrap`` and this machine's own apt
sources. This machine's apt sources and proxies, extra CA certificates and pip configuration go into the image, never
into the repository.

An image carries the hash of everything it was made from, the day included (its package lists must not go stale);
nothing is built while that hash stays the same. Only Python's standard library is used, so this runs beside
tools/bootstrap.
"""

from __future__ import annotations

import argparse
import concurrent.futures
import configparser
import contextlib
import dataclasses
import datetime
import fcntl
import hashlib
import io
import json
import os
import re
import selectors
import shutil
import subprocess
import sys
import tarfile
import time
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import IO

REPOSITORY = "celeriac-host"
CODENAMES = {"12": "bookworm", "13": "trixie"}
# What a minimal server has and a role may rely on; Ansible's apt module would install python3-apt first of all.
PACKAGES = ("ca-certificates", "dbus", "iproute2", "procps", "python3", "python3-apt", "systemd", "systemd-sysv")
DEBIAN_KEYRING = "/usr/share/keyrings/debian-archive-keyring.gpg"
CA_BUNDLE = "/etc/ssl/certs/ca-certificates.crt"
REGISTRY_PATIENCE = 15.0  # seconds until a registry has to say something
STATE = Path(os.environ.get("XDG_STATE_HOME") or Path.home() / ".local/state") / "celeriac"
TOOLS = Path(__file__).resolve().parent

# Faster installs, in the image and on every host made from it.
DPKG_OPTIONS = (
    "force-unsafe-io",
    "path-exclude=/usr/share/doc/*",
    "path-include=/usr/share/doc/*/copyright",
    "path-exclude=/usr/share/info/*",
    "path-exclude=/usr/share/locale/*",
    "path-exclude=/usr/share/man/*",
)
APT_OPTIONS = ('Acquire::Languages "none";',)
# Passed on from this machine: how to reach the archive, and what to make of its dates.
APT_SETTING = re.compile(
    r"Acquire::(?:(?:\S+::)?Proxy|\S+::Proxy::\S+|Check-Valid-Until|Check-Date|Retries|ForceIPv[46])"
)

# Units that have no work in a container, or that would hold dpkg's lock while a role needs it.
MASKED_UNITS = (
    "apt-daily-upgrade.timer",
    "apt-daily.timer",
    "console-getty.service",
    "dpkg-db-backup.timer",
    "e2scrub_all.timer",
    "e2scrub_reap.service",
    "fstrim.timer",
    "getty.target",
    "systemd-pstore.service",
    "systemd-udev-trigger.service",
    "systemd-udevd.service",
)

# Runs inside the new root file system once the packages are there.
FINISH = f"""\
set -eu
update-ca-certificates >/dev/null 2>&1
cd /etc/systemd/system
for unit in {" ".join(MASKED_UNITS)}; do ln -sf /dev/null "$unit"; done
ln -sf /lib/systemd/system/multi-user.target default.target
: >/etc/machine-id
rm -f /var/lib/dbus/machine-id /etc/hostname /etc/resolv.conf
rm -f /var/cache/apt/archives/*.deb /var/lib/systemd/random-seed /etc/apt/apt.conf.d/99mmdebstrap
find /usr/share/doc -type f ! -name copyright -delete
rm -rf /usr/share/info/* /usr/share/locale/* /usr/share/man/*
rm -rf /tmp/* /var/tmp/* /var/log/apt /var/log/*.log
"""


class BuildError(Exception):
    """A reason in one sentence, fit to be printed."""


@dataclasses.dataclass(frozen=True, order=True)
class Source:
    """One apt source: a ``deb`` line with a single suite."""

    uri: str
    suite: str
    components: tuple[str, ...]
    signed_by: str | None = None

    def line(self) -> str:
        option = f"[signed-by={self.signed_by}] " if self.signed_by else ""
        return f"deb {option}{self.uri} {self.suite} {' '.join(self.components)}"


@dataclasses.dataclass(frozen=True)
class Plan:
    """Everything an image is made from."""

    release: str
    sources: tuple[Source, ...]
    apt_settings: tuple[str, ...]
    certificates: Mapping[str, bytes]
    pip_conf: str
    recipe: str
    day: str

    @property
    def codename(self) -> str:
        return CODENAMES[self.release]

    @property
    def tag(self) -> str:
        return f"{REPOSITORY}:debian{self.release}"

    def digest(self, *, dated: bool = True) -> str:
        """Hash of all inputs; without the day it tells whether an older image was made from the same recipe."""
        inputs = {
            "release": self.release,
            "sources": [source.line() for source in self.sources],
            "apt_settings": self.apt_settings,
            "certificates": {name: hashlib.sha256(data).hexdigest() for name, data in self.certificates.items()},
            "pip_conf": self.pip_conf,
            "recipe": self.recipe,
            "day": self.day if dated else "",
        }
        return hashlib.sha256(json.dumps(inputs, sort_keys=True).encode()).hexdigest()


# -- apt sources: pure ------------------------------------------------------------------------------------------------


def parse_list(text: str) -> list[Source]:
    """Sources of a one-line-style ``.list`` file: ``deb [option=value ...] uri suite component ...``."""
    sources = []
    for raw in text.splitlines():
        line = raw.partition("#")[0].strip()
        match = re.match(r"deb\s+(?:\[(?P<options>[^]]*)\]\s*)?(?P<rest>\S.*)", line)
        if not match:
            continue
        options = dict(re.findall(r"([\w-]+)[+-]?=(\S+)", match["options"] or ""))
        uri, *words = match["rest"].split()
        if words and not words[0].endswith("/"):
            sources.append(Source(uri, words[0], tuple(words[1:]), options.get("signed-by")))
    return sources


def parse_deb822(text: str) -> list[Source]:
    """Sources of a deb822-style ``.sources`` file, one per URI and suite."""
    sources = []
    lines = [line for line in text.splitlines() if not line.startswith("#")]
    for stanza in re.split(r"\n\s*\n", "\n".join(lines)):
        fields: dict[str, str] = {}
        name = ""
        for line in stanza.splitlines():
            if line[:1].isspace():
                fields[name] = f"{fields.get(name, '')}\n{line.strip()}"
            else:
                name, _, value = line.partition(":")
                name = name.strip().lower()
                fields[name] = value.strip()
        if "deb" not in fields.get("types", "").split() or fields.get("enabled", "yes").lower() in ("no", "false", "0"):
            continue
        signed_by = fields.get("signed-by", "").strip() or None
        components = tuple(fields.get("components", "").split())
        for uri in fields.get("uris", "").split():
            sources += [
                Source(uri, suite, components, signed_by)
                for suite in fields.get("suites", "").split()
                if not suite.endswith("/")
            ]
    return sources


def debian_sources(sources: Iterable[Source], machine: str, wanted: str) -> tuple[Source, ...]:
    """The sources that serve Debian itself for the machine's codename, rewritten for the wanted one.

    Third parties use Debian's codenames and ``main`` as well. A source counts as Debian's when Debian's keyring signs
    it or, where it names no keyring, when a part of its path is ``debian`` or begins with ``debian-``.
    """
    suites = {f"{machine}{suffix}": f"{wanted}{suffix}" for suffix in ("", "-updates", "-security")}
    found = []
    for source in sources:
        path = source.uri.partition("://")[2].split("/")[1:]
        if source.signed_by:
            is_debian = "debian-archive" in source.signed_by.rpartition("/")[2]
        else:
            is_debian = any(re.fullmatch(r"debian(-.*)?", part) for part in path)
        reachable = re.match(r"(https?|ftp)://(?!(localhost|127\.)[:/.\d])", source.uri)
        if is_debian and reachable and source.suite in suites and "main" in source.components:
            found.append(Source(source.uri, suites[source.suite], ("main",), DEBIAN_KEYRING))
    return tuple(dict.fromkeys(found))


# -- pip configuration: pure ------------------------------------------------------------------------------------------


def parse_pip_conf(text: str) -> dict[str, str]:
    """Settings of a pip.conf; those for ``pip install`` win over ``[global]``, as they do in pip."""
    parser = configparser.RawConfigParser()
    try:
        parser.read_string(text)
    except configparser.Error as error:
        raise BuildError(f"a pip configuration file cannot be parsed: {str(error).splitlines()[0]}") from None
    return {
        key.replace("_", "-"): value
        for section in ("global", "install")
        if parser.has_section(section)
        for key, value in parser.items(section)
    }


def pip_environment(environ: Mapping[str, str]) -> dict[str, str]:
    """Settings that pip takes from ``PIP_*`` variables."""
    return {
        name[4:].lower().replace("_", "-"): value
        for name, value in environ.items()
        if name.startswith("PIP_") and value
    }


def guest_pip_conf(settings: Mapping[str, str], *, extra_certificates: bool) -> str:
    """The guest's /etc/pip.conf: how to reach an index, and nothing that exists only on this machine's disk."""

    def remote(key: str) -> str:
        return "\n    ".join(word for word in settings.get(key, "").split() if re.match(r"https?://", word))

    timeout = settings.get("timeout") or settings.get("default-timeout", "")
    kept = {
        "index-url": remote("index-url"),
        "extra-index-url": remote("extra-index-url"),
        "find-links": remote("find-links"),
        "trusted-host": "\n    ".join(settings.get("trusted-host", "").split()),
        "proxy": settings.get("proxy", ""),
        "retries": settings.get("retries", ""),
        "timeout": timeout,
        # pip in Debian 12 brings its own bundle, which lacks the machine's certificates.
        "cert": CA_BUNDLE if settings.get("cert") or extra_certificates else "",
    }
    lines = [f"{key} = {value}" for key, value in kept.items() if value]
    return "\n".join(["[global]", *lines, ""]) if lines else ""


def image_files(plan: Plan) -> dict[str, bytes]:
    """Files to put into the root file system, by path."""
    apt = "".join(f"{line}\n" for line in (*APT_OPTIONS, *plan.apt_settings))
    files = {
        "etc/apt/apt.conf.d/90celeriac": apt.encode(),
        "etc/dpkg/dpkg.cfg.d/90celeriac": "".join(f"{option}\n" for option in DPKG_OPTIONS).encode(),
        **{f"usr/local/share/ca-certificates/{name}": data for name, data in plan.certificates.items()},
    }
    if plan.sources:
        files["etc/apt/sources.list"] = "".join(f"{source.line()}\n" for source in plan.sources).encode()
    if plan.pip_conf:
        files["etc/pip.conf"] = plan.pip_conf.encode()
    return files


def tar_of(files: Mapping[str, bytes]) -> bytes:
    """A tar archive of the files, owned by root."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as archive:
        for name, data in files.items():
            member = tarfile.TarInfo(name)
            member.size, member.mode = len(data), 0o644
            archive.addfile(member, io.BytesIO(data))
    return buffer.getvalue()


# -- this machine -----------------------------------------------------------------------------------------------------


def machine_codename() -> str | None:
    """``bookworm`` and the like, or None where this is not Debian."""
    with contextlib.suppress(OSError):
        release = dict(re.findall(r'^(\w+)="?([^"\n]*)"?$', Path("/etc/os-release").read_text(), re.MULTILINE))
        if release.get("ID") == "debian":
            return release.get("VERSION_CODENAME")
    return None


def machine_sources(apt: Path = Path("/etc/apt")) -> list[Source]:
    """Every enabled apt source of this machine, mirror lists resolved."""
    sources: list[Source] = []
    for path in [apt / "sources.list", *sorted((apt / "sources.list.d").glob("*"))]:
        if path.suffix in (".list", ".sources") and path.is_file():
            text = path.read_text(errors="replace")
            sources += parse_deb822(text) if path.suffix == ".sources" else parse_list(text)
    resolved = []
    for source in sources:
        # Debian's cloud images name a local file of mirrors.
        if source.uri.startswith("mirror+file:"):
            mirrors = Path("/" + source.uri.removeprefix("mirror+file:").lstrip("/"))
            with contextlib.suppress(OSError):
                words = [
                    line.split()[0] for line in mirrors.read_text().splitlines() if line.strip() and line[0] != "#"
                ]
                resolved += [dataclasses.replace(source, uri=uri) for uri in words[:1]]
        else:
            resolved.append(source)
    return resolved


def machine_apt_settings() -> tuple[str, ...]:
    """Proxies and date checks from apt's configuration, as lines for the guest's."""
    try:
        dump = subprocess.run(["apt-config", "dump"], capture_output=True, text=True, check=True).stdout
    except (OSError, subprocess.CalledProcessError):
        return ()
    settings = (line.partition(" ") for line in dump.splitlines())
    return tuple(f"{name} {value}" for name, _, value in settings if APT_SETTING.fullmatch(name) and value != '"";')


def machine_pip_settings(environ: Mapping[str, str]) -> dict[str, str]:
    """What pip would be configured with here: files in pip's order, then the environment."""
    home = Path.home()
    directories = [Path(d) for d in reversed((environ.get("XDG_CONFIG_DIRS") or "/etc/xdg").split(":"))]
    files = [d / "pip/pip.conf" for d in directories]
    files += [Path("/etc/pip.conf"), home / ".pip/pip.conf"]
    files += [Path(environ.get("XDG_CONFIG_HOME") or home / ".config") / "pip/pip.conf"]
    override = environ.get("PIP_CONFIG_FILE")
    files = [] if override == os.devnull else [*files, *([Path(override)] if override else [])]
    settings: dict[str, str] = {}
    for path in files:
        if path.is_file():
            settings |= parse_pip_conf(path.read_text())
    return settings | pip_environment(environ)


def machine_certificates(directory: Path = Path("/usr/local/share/ca-certificates")) -> dict[str, bytes]:
    """The CA certificates that were added to this machine, by file name."""
    return {str(path.relative_to(directory)): path.read_bytes() for path in sorted(directory.rglob("*.crt"))}


def make_plan(release: str) -> Plan:
    """Collect this machine's part of the inputs."""
    machine = machine_codename()
    certificates = machine_certificates()
    return Plan(
        release=release,
        sources=debian_sources(machine_sources(), machine, CODENAMES[release]) if machine else (),
        apt_settings=machine_apt_settings(),
        certificates=certificates,
        pip_conf=guest_pip_conf(machine_pip_settings(os.environ), extra_certificates=bool(certificates)),
        recipe=hashlib.sha256(Path(__file__).read_bytes()).hexdigest(),
        day=datetime.datetime.now(datetime.UTC).date().isoformat(),
    )


# -- building ---------------------------------------------------------------------------------------------------------


def last_words(text: str) -> str:
    """The lines of a program's output that explain its failure."""
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    errors = [line for line in lines if re.match(r"E:|W: Failed|Err:", line)]
    return " | ".join((errors or lines)[-3:])[:600] or "it printed nothing"


def run(*command: str, stdin: bytes | None = None) -> str:
    """Run a command and return its standard output; a failure becomes one sentence."""
    try:
        done = subprocess.run(command, input=stdin, capture_output=True, check=False)
    except FileNotFoundError:
        raise BuildError(f"{command[0]} is not installed") from None
    if done.returncode:
        shown = " ".join(command[:2])
        raise BuildError(f"{shown} failed: {last_words((done.stderr + done.stdout).decode(errors='replace'))}")
    return done.stdout.decode(errors="replace").strip()


def image_labels(tag: str) -> dict[str, str]:
    """Labels of an image, empty where there is none."""
    try:
        return json.loads(run("docker", "image", "inspect", "--format", "{{json .Config.Labels}}", tag)) or {}
    except BuildError as error:
        if "no such image" in str(error).lower():
            return {}
        raise BuildError(f"no Docker Engine answers ({error}); run tools/docker_engine ensure") from None


@contextlib.contextmanager
def locked(name: str) -> Iterator[None]:
    """One process at a time."""
    STATE.mkdir(parents=True, exist_ok=True)
    with (STATE / name).open("w") as handle:
        fcntl.flock(handle, fcntl.LOCK_EX)
        yield


def pull(reference: str) -> bool:
    """Pull an image; give up where no registry says anything in time."""
    with subprocess.Popen(
        ["docker", "pull", reference], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL
    ) as process:
        assert process.stdout is not None  # noqa: S101 - for the type checker
        with selectors.DefaultSelector() as selector:
            selector.register(process.stdout, selectors.EVENT_READ)
            if not selector.select(REGISTRY_PATIENCE):
                process.kill()
        try:
            process.communicate(timeout=300)
        except subprocess.TimeoutExpired:
            process.kill()
        return process.wait() == 0


def image_changes(plan: Plan) -> list[str]:
    """Options of ``docker import`` and ``docker commit`` that say what the image is."""
    changes = (
        f"LABEL celeriac.inputs={plan.digest()}",
        f"LABEL celeriac.recipe={plan.digest(dated=False)}",
        f"LABEL celeriac.day={plan.day}",
        "ENV container=docker LANG=C.UTF-8",
        'CMD ["/sbin/init"]',
    )
    return [word for change in changes for word in ("--change", change)]


def build_from_registry(plan: Plan, target: str) -> bool:
    """Official image, our files, the packages, commit; False where no registry answers."""
    base = f"debian:{plan.codename}-slim"
    if not pull(base):
        return False
    install = f"""\
set -eu
export DEBIAN_FRONTEND=noninteractive
# What makes the official image a container image rather than a server: no services, no package cache.
rm -f /usr/sbin/policy-rc.d /etc/apt/apt.conf.d/docker-*
[ ! -s /etc/apt/sources.list ] || rm -f /etc/apt/sources.list.d/debian.sources
apt-get update
apt-get install --yes --no-install-recommends {" ".join(PACKAGES)}
{FINISH.replace("rm -f /var/lib/dbus/machine-id /etc/hostname /etc/resolv.conf", "rm -f /var/lib/dbus/machine-id")}"""
    files = image_files(plan)
    # The slim image has no certificates, and apt may need some to fetch ca-certificates.
    with contextlib.suppress(OSError):
        files[CA_BUNDLE.lstrip("/")] = Path(CA_BUNDLE).read_bytes()
    container = run("docker", "create", "--label", "celeriac.build=1", base, "sh", "-c", install)
    try:
        run("docker", "cp", "-", f"{container}:/", stdin=tar_of(files))
        run("docker", "start", "--attach", container)
        run("docker", "commit", *image_changes(plan), container, target)
    finally:
        run("docker", "rm", "--force", container)
    return True


def install_mmdebstrap() -> None:
    """Debian's mmdebstrap, unless it is here already."""
    if shutil.which("mmdebstrap"):
        return
    command = ["bash", "-c", '. "$0/lib.sh" && apt_install mmdebstrap debian-archive-keyring >&2', str(TOOLS)]
    if subprocess.run(command, check=False).returncode:
        raise BuildError("mmdebstrap is missing and could not be installed")


def build_from_sources(plan: Plan, target: str) -> None:
    """mmdebstrap from this machine's apt sources, streamed into ``docker import``."""
    if not plan.sources:
        raise BuildError(
            f"no registry answers, and this machine has no apt source of Debian's to build {plan.codename} from; "
            "build on a Debian machine, or where docker pull works"
        )
    install_mmdebstrap()
    work = STATE / f"build-debian{plan.release}"
    shutil.rmtree(work, ignore_errors=True)
    work.mkdir(parents=True)
    try:
        (work / "files.tar").write_bytes(tar_of(image_files(plan)))
        (work / "finish.sh").write_text(FINISH)
        command = [
            "mmdebstrap",
            "--variant=minbase",
            "--format=tar",
            # Package lists and apt's caches stay: hosts install without an update, and fast.
            "--skip=cleanup/apt",
            f"--include={','.join(PACKAGES)}",
            *(f"--aptopt={option}" for option in (*APT_OPTIONS, *plan.apt_settings)),
            # Before dpkg installs anything. Not as --dpkgopt: that would filter every archive in a slow detour.
            f"--extract-hook=tar-in {work}/files.tar /",
            f'--customize-hook=chroot "$1" sh -s <{work}/finish.sh',
            plan.codename,
            "-",
            "-",
        ]
        stage = f"{target}-new"
        with (work / "log").open("w+b") as log:
            # When its output breaks off, mmdebstrap hangs up its whole process group: give it one of its own.
            bootstrap = subprocess.Popen(
                command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=log, start_new_session=True
            )
            assert bootstrap.stdin is not None  # noqa: S101 - it is a pipe
            feed(bootstrap.stdin, "".join(f"{source.line()}\n" for source in plan.sources))
            imported = subprocess.run(
                ["docker", "import", *image_changes(plan), "-", stage],
                stdin=bootstrap.stdout,
                capture_output=True,
                check=False,
            )
            assert bootstrap.stdout is not None  # noqa: S101 - it is a pipe
            bootstrap.stdout.close()
            failed = bootstrap.wait() != 0
            log.seek(0)
            output = log.read().decode(errors="replace")
        # An archive cut short may well import: only both successes count.
        if failed or imported.returncode:
            subprocess.run(["docker", "image", "rm", stage], capture_output=True, check=False)
            if failed and "Broken pipe" not in output:
                raise BuildError(f"mmdebstrap failed: {last_words(output)}")
            raise BuildError(f"docker import failed: {last_words(imported.stderr.decode(errors='replace'))}")
        run("docker", "tag", stage, target)
        run("docker", "image", "rm", stage)
    finally:
        shutil.rmtree(work, ignore_errors=True)


def feed(pipe: IO[bytes], text: str) -> None:
    """Write and close; a reader that died explains itself elsewhere."""
    with contextlib.suppress(BrokenPipeError), pipe:
        pipe.write(text.encode())


def ensure_image(release: str) -> str:
    """Build one image unless it is up to date; what was done, in one line."""
    plan = make_plan(release)
    digest = plan.digest()
    if image_labels(plan.tag).get("celeriac.inputs") == digest:
        return f"{plan.tag} is up to date"
    started = time.monotonic()
    with locked(f"image-debian{release}.lock"):
        labels = image_labels(plan.tag)
        if labels.get("celeriac.inputs") == digest:
            return f"{plan.tag} is up to date"
        try:
            origin = "the official image"
            if not build_from_registry(plan, plan.tag):
                origin = "this machine's apt sources"
                build_from_sources(plan, plan.tag)
        except BuildError as error:
            # Offline on a new day: yesterday's package lists are better than no host.
            if labels.get("celeriac.recipe") == plan.digest(dated=False):
                return f"{plan.tag} of {labels['celeriac.day']} is kept, it could not be refreshed: {error}"
            raise
    return f"{plan.tag} built from {origin} in {time.monotonic() - started:.0f} s"


def remove_replaced_images() -> None:
    """Images of ours that lost their tag; those that containers still use stay."""
    with contextlib.suppress(BuildError):
        run("docker", "image", "prune", "--force", "--filter", "dangling=true", "--filter", "label=celeriac.inputs")


def main(arguments: list[str] | None = None) -> int:
    """Command line; the exit status is 1 where an image could not be built."""
    parser = argparse.ArgumentParser(description="Build the test hosts' images.")
    parser.add_argument("releases", nargs="*", choices=sorted(CODENAMES), default=sorted(CODENAMES), metavar="RELEASE")
    parser.add_argument("--print-tag", action="store_true", help="only print the tags")
    options = parser.parse_args(arguments)
    releases = list(dict.fromkeys(options.releases))
    if options.print_tag:
        print(*(f"{REPOSITORY}:debian{release}" for release in releases), sep="\n")
        return 0

    status = 0
    built = False
    with concurrent.futures.ThreadPoolExecutor(len(releases)) as pool:
        running = {pool.submit(ensure_image, release): release for release in releases}
        for done in concurrent.futures.as_completed(running):
            try:
                message = done.result()
                built = built or " built " in message
                print(f"celeriac: {message}", flush=True)
            except (BuildError, OSError) as error:
                print(f"celeriac: error: {REPOSITORY}:debian{running[done]}: {error}", file=sys.stderr, flush=True)
                status = 1
    if built:
        remove_replaced_images()
    return status


if __name__ == "__main__":
    sys.exit(main())
