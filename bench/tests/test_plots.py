"""bench/plots.py; make bench runs this before it measures, since only make bench installs what it draws with."""

from __future__ import annotations

import xml.etree.ElementTree as ElementTree

import pytest

from bench.figure import Figure
from bench.figures import FIGURES
from bench.growth import REAL, SIMULATED
from bench.plots import plot
from bench.record import Record, Trial

SVG = "{http://www.w3.org/2000/svg}"


def record(figure: Figure) -> Record:
    """One as the figure makes it, with numbers that grow."""
    sizes = {(panel.growth, series) for panel in figure.panels for series in panel.series}
    trials = [
        Trial(
            series=series,
            round=number,
            hosts=hosts,
            values={panel.value: 1.25 * number * hosts for panel in figure.panels},
            split={"Preflight": 1.0},
        )
        for growth, series in sorted(sizes)
        for hosts in (({REAL: (1, 5, 10, 20), SIMULATED: (20, 200, 1000)}[series]) if growth else (1,))
        for number in (1, 2, 3)
    ]
    return Record(
        figure.name, figure.title, "2026-11-27T22:00:00+00:00", "0123456789ab", {"load": 0.25}, {}, trials, []
    )


@pytest.mark.parametrize("figure", FIGURES.values(), ids=FIGURES)
def test_the_plot_of_a_figure_is_an_svg_that_names_its_series(figure: Figure) -> None:
    root = ElementTree.fromstring(plot(record(figure), figure.panels))  # noqa: S314 - our own
    assert root.tag == f"{SVG}svg"
    words = {" ".join("".join(text.itertext()).split()) for text in root.iter(f"{SVG}text")}
    assert figure.title in words
    assert {series for panel in figure.panels for series in panel.series} <= words
    assert {panel.label for panel in figure.panels} <= words
    assert "2026-11-27, commit 0123456789ab, load 0.25" in words


@pytest.mark.parametrize("figure", FIGURES.values(), ids=FIGURES)
def test_every_measurement_is_a_dot(figure: Figure) -> None:
    made = record(figure)
    dots = sum(trial.series in panel.series for panel in figure.panels for trial in made.trials)
    root = ElementTree.fromstring(plot(made, figure.panels))  # noqa: S314 - our own
    lines = [group for group in root.iter(f"{SVG}g") if group.get("id", "").startswith("line2d")]
    drawn = sum(len(list(group.iter(f"{SVG}use"))) for group in lines if "opacity: 0.55" in svg_text(group))
    assert drawn == dots


def svg_text(group: ElementTree.Element) -> str:
    return ElementTree.tostring(group, encoding="unicode")


@pytest.mark.parametrize("figure", FIGURES.values(), ids=FIGURES)
def test_the_same_record_gives_the_same_file(figure: Figure) -> None:
    made = record(figure)
    assert plot(made, figure.panels) == plot(made, figure.panels)
