"""The plots of figures, as SVG beside their records: ``python -m bench.plots RECORD…``.

matplotlib comes from requirements-bench.lock, which only ``make bench`` installs.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from io import StringIO
from pathlib import Path

from bench.figure import Panel
from bench.figures import FIGURES
from bench.machine import ROOT
from bench.record import Record, Trial, medians

PACKAGES = ROOT / ".cache/bench/python"
sys.path.append(str(PACKAGES))

import matplotlib  # noqa: E402 - from the path that was added
from matplotlib.axes import Axes  # noqa: E402 - likewise
from matplotlib.figure import Figure as Canvas  # noqa: E402 - likewise

STYLE = {
    "svg.hashsalt": "celeriac",  # the same record gives the same file
    "svg.fonttype": "none",  # text stays text
    "font.size": 9,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "axes.axisbelow": True,
    "grid.color": "#dddddd",
}
COLOURS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7")  # told apart by colour-blind people too
WIDTH = 7.0  # inches
ROW, LINES, TITLE = 0.42, 2.6, 0.9  # inches of a row of measurements, of a panel of lines, and around them


def plot(record: Record, panels: Sequence[Panel]) -> str:
    """The plot of a record: every measurement a dot, and the medians."""
    heights = [LINES if panel.growth else ROW * len(panel.series) for panel in panels]
    with matplotlib.rc_context(STYLE):
        canvas = Canvas(figsize=(WIDTH, sum(heights) + TITLE * len(panels) + 0.3), layout="constrained")
        every = canvas.subplots(len(panels), 1, squeeze=False, height_ratios=[height + 0.3 for height in heights])
        for panel, axes in zip(panels, every[:, 0], strict=True):
            (_growth if panel.growth else _rows)(axes, panel, record.trials)
        canvas.suptitle(record.title, fontsize=11)
        footer = f"{record.date[:10]}, commit {record.commit or 'unknown'}, load {record.machine['load']}"
        canvas.supxlabel(footer, fontsize=7, color="#555555")
        drawn = StringIO()
        canvas.savefig(drawn, format="svg", metadata={"Date": None, "Title": record.title})
    return drawn.getvalue()


def _rows(axes: Axes, panel: Panel, trials: Sequence[Trial]) -> None:
    """A row for each series."""
    of_series = medians(trials)
    for row, (series, colour) in enumerate(zip(panel.series, COLOURS, strict=False)):
        values = [trial.values[panel.value] for trial in trials if trial.series == series]
        middle = of_series[series, 1][panel.value]
        axes.plot(values, [row] * len(values), "o", color=colour, alpha=0.55, markersize=6, markeredgewidth=0)
        axes.plot([middle, middle], [row - 0.32, row + 0.32], color=colour, linewidth=2)
        axes.annotate(f"{middle:.3g}", (middle, row - 0.36), ha="center", va="bottom", fontsize=8, color=colour)
    axes.set_yticks(range(len(panel.series)), panel.series)
    axes.set_ylim(len(panel.series) - 0.4, -0.75)
    axes.set_xlim(left=0)
    axes.grid(visible=False, axis="y")
    axes.set_xlabel(panel.label)


def _growth(axes: Axes, panel: Panel, trials: Sequence[Trial]) -> None:
    """A line for each series, over the number of hosts."""
    of_series = medians(trials)
    for series, colour in zip(panel.series, COLOURS, strict=False):
        dots = [(trial.hosts, trial.values[panel.value]) for trial in trials if trial.series == series]
        line = sorted((hosts, values[panel.value]) for (name, hosts), values in of_series.items() if name == series)
        axes.plot(*zip(*dots, strict=True), "o", color=colour, alpha=0.55, markersize=5, markeredgewidth=0)
        axes.plot(*zip(*line, strict=True), color=colour, linewidth=1.5, label=series)
    axes.set_xlim(left=0)
    axes.set_ylim(bottom=0)
    axes.set_xlabel("hosts")
    axes.set_ylabel(panel.label)
    axes.legend(frameon=False, loc="upper left")


def main() -> None:
    for path in map(Path, sys.argv[1:]):
        record = Record.of_json(path.read_text(encoding="utf-8"))
        path.with_suffix(".svg").write_text(plot(record, FIGURES[record.figure].panels), encoding="utf-8")


if __name__ == "__main__":
    main()
