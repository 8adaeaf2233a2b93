"""The pure parts of tools/build_image.py: what of this machine's configuration reaches a test host."""

from __future__ import annotations

import dataclasses
import io
import tarfile

import build_image
import pytest
from build_image import DEBIAN_KEYRING, Plan, Source

DEBIAN = "http://mirror.example/debian"
SECURITY = "http://mirror.example/debian-security"


def plan(**changes: object) -> Plan:
    base = Plan(
        release="12",
        sources=(Source(DEBIAN, "bookworm", ("main",), DEBIAN_KEYRING),),
        apt_settings=('Acquire::http::Proxy "http://proxy.example:3128";',),
        certificates={"corp.crt": b"certificate"},
        pip_conf="[global]\ntimeout = 60\n",
        recipe="recipe",
        day="2026-01-31",
    )
    return dataclasses.replace(base, **changes)  # type: ignore[arg-type] # of its fields


# -- sources: one line each


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (f"deb {DEBIAN} bookworm main", [Source(DEBIAN, "bookworm", ("main",))]),
        (f"  deb\t{DEBIAN}  bookworm   main contrib", [Source(DEBIAN, "bookworm", ("main", "contrib"))]),
        (f"deb {DEBIAN} bookworm main # the archive", [Source(DEBIAN, "bookworm", ("main",))]),
        (
            f"deb [arch=amd64 signed-by=/keys/a.gpg] {DEBIAN} bookworm main",
            [Source(DEBIAN, "bookworm", ("main",), "/keys/a.gpg")],
        ),
        (f"deb [ trusted=yes ] {DEBIAN} bookworm main", [Source(DEBIAN, "bookworm", ("main",))]),
        (f"deb-src {DEBIAN} bookworm main", []),
        (f"# deb {DEBIAN} bookworm main", []),
        ("deb http://flat.example/repository ./", []),
        ("\n\n", []),
    ],
    ids=["plain", "spacing", "comment", "options", "padded-options", "deb-src", "disabled", "flat", "empty"],
)
def test_one_line_sources(text: str, expected: list[Source]) -> None:
    assert build_image.parse_list(text) == expected


# -- sources: deb822


def test_deb822_gives_one_source_per_uri_and_suite() -> None:
    text = f"""\
Types: deb deb-src
# a comment inside a stanza
URIs: {DEBIAN} http://second.example/debian
Suites: bookworm bookworm-updates
Components: main contrib
Signed-By: /keys/a.gpg
"""
    assert build_image.parse_deb822(text) == [
        Source(uri, suite, ("main", "contrib"), "/keys/a.gpg")
        for uri in (DEBIAN, "http://second.example/debian")
        for suite in ("bookworm", "bookworm-updates")
    ]


def test_deb822_reads_every_stanza_and_folded_fields() -> None:
    text = f"""\
types: deb
uris: {DEBIAN}
suites:
 bookworm
 bookworm-updates
components: main

Types: deb
URIs: {SECURITY}
Suites: bookworm-security
Components: main
"""
    assert [(source.uri, source.suite) for source in build_image.parse_deb822(text)] == [
        (DEBIAN, "bookworm"),
        (DEBIAN, "bookworm-updates"),
        (SECURITY, "bookworm-security"),
    ]


@pytest.mark.parametrize("field", ["Enabled: no", "Enabled: false", "Types: deb-src"])
def test_deb822_leaves_out_what_is_not_in_use(field: str) -> None:
    types = "" if field.startswith("Types") else "Types: deb\n"
    assert build_image.parse_deb822(f"{types}{field}\nURIs: {DEBIAN}\nSuites: bookworm\nComponents: main\n") == []


def test_deb822_keeps_an_embedded_key_out_of_the_other_fields() -> None:
    text = f"""\
Types: deb
URIs: {DEBIAN}
Suites: bookworm
Components: main
Signed-By:
 -----BEGIN PGP PUBLIC KEY BLOCK-----
 .
 mDMEY865UxYJKwYBBAHaRw8BAQdAd7Z0srwuhlB6JKFkcf4HU4SSS
 -----END PGP PUBLIC KEY BLOCK-----
"""
    (source,) = build_image.parse_deb822(text)
    assert source.components == ("main",)
    assert source.signed_by is not None
    assert source.signed_by.startswith("-----BEGIN")


# -- which of them serve Debian, and for another release


def test_codename_is_replaced_in_every_suite() -> None:
    sources = [
        Source(DEBIAN, "bookworm", ("main", "contrib", "non-free-firmware"), DEBIAN_KEYRING),
        Source(DEBIAN, "bookworm-updates", ("main",), DEBIAN_KEYRING),
        Source(SECURITY, "bookworm-security", ("main",), DEBIAN_KEYRING),
    ]
    assert build_image.debian_sources(sources, "bookworm", "trixie") == (
        Source(DEBIAN, "trixie", ("main",), DEBIAN_KEYRING),
        Source(DEBIAN, "trixie-updates", ("main",), DEBIAN_KEYRING),
        Source(SECURITY, "trixie-security", ("main",), DEBIAN_KEYRING),
    )


@pytest.mark.parametrize(
    "source",
    [
        Source("http://mirror.example/remote/debian", "bookworm", ("main",)),
        Source("http://mirror.example/debian-snapshot/20260101T000000Z", "bookworm", ("main",)),
        Source("https://mirror.example/anything", "bookworm", ("main",), DEBIAN_KEYRING),
        Source(
            "https://mirror.example/anything", "bookworm", ("main",), "/usr/share/keyrings/debian-archive-keyring.pgp"
        ),
    ],
    ids=["path", "snapshot", "keyring", "renamed-keyring"],
)
def test_debian_sources_are_recognised(source: Source) -> None:
    assert build_image.debian_sources([source], "bookworm", "bookworm") == (
        Source(source.uri, "bookworm", ("main",), DEBIAN_KEYRING),
    )


@pytest.mark.parametrize(
    "source",
    [
        Source("http://vendor.example/apt", "bookworm", ("main",)),
        Source("http://vendor.example/linux/debian", "bookworm", ("stable",)),
        Source("http://vendor.example/debian", "bookworm", ("main",), "/usr/share/keyrings/vendor.gpg"),
        Source(DEBIAN, "bookworm-backports", ("main",)),
        Source(DEBIAN, "sid", ("main",)),
        Source("file:///srv/debian", "bookworm", ("main",)),
        Source("cdrom:[Debian]/debian", "bookworm", ("main",)),
        Source("http://localhost:3142/debian", "bookworm", ("main",)),
        Source("http://127.0.0.1/debian", "bookworm", ("main",)),
    ],
    ids=["vendor", "component", "vendor-key", "backports", "other-suite", "file", "cdrom", "localhost", "loopback"],
)
def test_other_sources_are_left_out(source: Source) -> None:
    assert build_image.debian_sources([source], "bookworm", "trixie") == ()


def test_a_source_named_twice_is_used_once() -> None:
    sources = [Source(DEBIAN, "bookworm", ("main",)), Source(DEBIAN, "bookworm", ("main", "contrib"), DEBIAN_KEYRING)]
    assert len(build_image.debian_sources(sources, "bookworm", "trixie")) == 1


def test_source_line_names_its_keyring() -> None:
    assert Source(DEBIAN, "trixie", ("main",), "/k.gpg").line() == f"deb [signed-by=/k.gpg] {DEBIAN} trixie main"


@pytest.mark.parametrize(
    ("name", "passed_on"),
    [
        ("Acquire::http::Proxy", True),
        ("Acquire::Proxy", True),
        ("Acquire::https::Proxy::mirror.example", True),
        ("Acquire::Check-Valid-Until", True),
        ("Acquire::http::Proxy-Auto-Detect", False),
        ("Acquire::GzipIndexes", False),
        ("DPkg::Post-Invoke::", False),
    ],
)
def test_only_settings_that_reach_the_archive_are_passed_on(name: str, passed_on: bool) -> None:
    assert bool(build_image.APT_SETTING.fullmatch(name)) is passed_on


# -- pip


def test_install_section_wins_over_global() -> None:
    text = "[global]\nindex_url = http://a.example/\ntimeout = 5\n[install]\nindex-url = http://b.example/\n"
    assert build_image.parse_pip_conf(text) == {"index-url": "http://b.example/", "timeout": "5"}


def test_broken_pip_conf_is_one_sentence() -> None:
    with pytest.raises(build_image.BuildError, match="cannot be parsed") as error:
        build_image.parse_pip_conf("index-url = nowhere\n")
    assert "\n" not in str(error.value)


def test_pip_variables_become_settings() -> None:
    environment = {"PIP_INDEX_URL": "http://a.example/", "PIP_CERT": "", "PATH": "/bin"}
    assert build_image.pip_environment(environment) == {"index-url": "http://a.example/"}


def test_guest_gets_indexes_but_nothing_of_this_disk() -> None:
    settings = {
        "index-url": "https://index.example/packages",
        "extra-index-url": "file:///srv/simple https://extra.example/packages\n/srv/more",
        "find-links": "/srv/wheels",
        "trusted-host": "index.example extra.example",
        "default-timeout": "180",
        "cert": "/home/me/ca.pem",
        "cache-dir": "/home/me/cache",
        "user": "yes",
    }
    assert build_image.parse_pip_conf(build_image.guest_pip_conf(settings, extra_certificates=False)) == {
        "index-url": "https://index.example/packages",
        "extra-index-url": "https://extra.example/packages",
        "trusted-host": "index.example\nextra.example",
        "timeout": "180",
        "cert": build_image.CA_BUNDLE,
    }


def test_guest_trusts_extra_certificates_even_if_pip_is_not_configured() -> None:
    assert f"cert = {build_image.CA_BUNDLE}" in build_image.guest_pip_conf({}, extra_certificates=True)


def test_nothing_to_configure_makes_no_file() -> None:
    assert build_image.guest_pip_conf({"find-links": "/srv/wheels"}, extra_certificates=False) == ""


# -- the image's inputs


def test_hash_is_stable() -> None:
    assert plan().digest() == plan().digest()
    reordered = plan(certificates={"b.crt": b"2", "a.crt": b"1"})
    assert reordered.digest() == plan(certificates={"a.crt": b"1", "b.crt": b"2"}).digest()


@pytest.mark.parametrize(
    "change",
    [
        {"release": "13"},
        {"sources": ()},
        {"apt_settings": ()},
        {"certificates": {"corp.crt": b"renewed"}},
        {"pip_conf": ""},
        {"recipe": "changed"},
        {"day": "2026-02-01"},
    ],
    ids=lambda change: next(iter(change)),
)
def test_hash_changes_with_every_input(change: dict[str, object]) -> None:
    assert plan(**change).digest() != plan().digest()


def test_undated_hash_tells_yesterdays_image_from_another_recipe() -> None:
    assert plan(day="2026-02-01").digest(dated=False) == plan().digest(dated=False)
    assert plan(recipe="changed").digest(dated=False) != plan().digest(dated=False)


def test_image_files_carry_what_the_plan_names() -> None:
    files = build_image.image_files(plan())
    assert files["etc/apt/sources.list"] == f"deb [signed-by={DEBIAN_KEYRING}] {DEBIAN} bookworm main\n".encode()
    assert b"proxy.example:3128" in files["etc/apt/apt.conf.d/90celeriac"]
    assert files["usr/local/share/ca-certificates/corp.crt"] == b"certificate"
    assert files["etc/pip.conf"] == b"[global]\ntimeout = 60\n"


def test_without_sources_the_base_images_own_stay() -> None:
    assert "etc/apt/sources.list" not in build_image.image_files(plan(sources=()))


def test_tar_members_belong_to_root_and_are_readable() -> None:
    with tarfile.open(fileobj=io.BytesIO(build_image.tar_of({"etc/pip.conf": b"x"}))) as archive:
        (member,) = archive.getmembers()
    assert (member.name, member.mode, member.uid, member.gid) == ("etc/pip.conf", 0o644, 0, 0)


def test_failures_are_told_by_their_error_lines() -> None:
    output = "Get:1 something\nE: Unable to locate package\nI: cleaning up\n"
    assert build_image.last_words(output) == "E: Unable to locate package"


def test_command_line_prints_tags(capsys: pytest.CaptureFixture[str]) -> None:
    assert build_image.main(["--print-tag", "13", "12"]) == 0
    assert capsys.readouterr().out.splitlines() == ["celeriac-host:debian13", "celeriac-host:debian12"]
