"""bench/document.py: the figures in docs/benchmarks.md are the ones that were kept."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path

import pytest

from bench import document
from bench.figures import FIGURES
from bench.record import Record, Result, Trial

RECORD = Record(
    figure="no-change",
    title="A run",
    date="2026-11-27T22:00:00+00:00",
    commit="0123456789ab",
    machine={
        "processor": "Some",
        "processors": 2,
        "memory_mib": 4096,
        "kernel": "6.1",
        "load": 0.25,
        "versions": {"celery": "5.7.0", "docker": ""},
    },
    settings={"hosts": "containers"},
    trials=[
        Trial(series=series, round=number, values={"seconds": seconds})
        for series, every in {"ours": (3.0, 5.0), "theirs": (2.0, 6.0)}.items()
        for number, seconds in enumerate(every, 1)
    ],
    results=[Result("ours by theirs", 1.2, 1.0), Result("share", 0.25)],
)
PAGE = "# Figures\n\n<!-- no-change -->\nold\n<!-- end of no-change -->\n\nafter\n"


def test_a_figure_s_place_is_filled_and_the_rest_stays() -> None:
    page = document.written(PAGE, RECORD)
    assert page.startswith("# Figures\n\n<!-- no-change -->\n![A run](benchmarks/no-change.svg)\n")
    assert page.endswith("<!-- end of no-change -->\n\nafter\n")
    assert "old" not in page
    assert document.written(page, RECORD) == page


def test_results_stand_beside_their_aims() -> None:
    lines = document.block(RECORD).splitlines()
    assert "| ours by theirs | 1.20 | ≤ 1 | no |" in lines
    assert "| share | 0.25 |  |  |" in lines
    assert "| ours | 4 |" in lines


def test_series_with_other_values_have_a_table_of_their_own() -> None:
    extra = Trial(series="simulated", round=1, values={"MiB": 80.0}, hosts=20)
    lines = document.block(replace(RECORD, trials=[*RECORD.trials, extra])).splitlines()
    assert "| median of | hosts | seconds |" in lines
    assert "| simulated | 20 | 80 |" in lines


def test_machine_load_date_and_commit_are_stated() -> None:
    said = document.block(RECORD)
    assert "2026-11-27 22:00 UTC at commit `0123456789ab` on 2 processors (Some), 4 GiB" in said
    assert "at a load of 0.25; celery 5.7.0." in said


def test_a_page_without_a_place_for_a_figure_is_not_touched() -> None:
    with pytest.raises(ValueError, match="no line <!-- no-change -->"):
        document.written("# Figures\n", RECORD)


def test_what_was_measured_is_kept_beside_the_page(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    found, page, kept = tmp_path / "found", tmp_path / "benchmarks.md", tmp_path / "kept"
    found.mkdir()
    page.write_text(PAGE)
    monkeypatch.setattr(document, "DOCUMENT", page)
    monkeypatch.setattr(document, "KEPT", kept)
    (found / "no-change.json").write_text(RECORD.as_json())
    (found / "no-change.svg").write_text("<svg/>")
    assert document.publish(found) == ["no-change"]
    assert Record.of_json((kept / "no-change.json").read_text()) == RECORD
    assert (kept / "no-change.svg").read_text() == "<svg/>"
    assert page.read_text() == document.written(PAGE, RECORD)


def test_the_page_says_what_its_records_say() -> None:
    """A figure that was edited by hand, or whose record was replaced alone, is found."""
    page = document.DOCUMENT.read_text(encoding="utf-8")
    records = sorted(document.KEPT.glob("*.json"))
    for path in records:
        assert document.written(page, Record.of_json(path.read_text(encoding="utf-8"))) == page
        assert path.with_suffix(".svg").is_file()
    shown = re.findall(r"\(benchmarks/([\w-]+)\.svg\)", page)
    assert sorted(shown) == [path.stem for path in records]


def test_the_page_has_a_place_for_every_figure() -> None:
    page = document.DOCUMENT.read_text(encoding="utf-8")
    assert set(re.findall(r"^<!-- end of ([\w-]+) -->$", page, re.MULTILINE)) == set(FIGURES)
