"""What was measured, as a page of tables and a chart."""

from __future__ import annotations

import math
import os
import platform
import statistics
import subprocess
from collections.abc import Iterable, Mapping, Sequence
from html import escape
from pathlib import Path

from dataops_dagster import __version__

_BAR, _GAP, _LEFT, _WIDTH, _TOP = 14, 16, 150, 560, 56
_COLOURS = ("#b0b7c3", "#e0a458", "#2f6f9f")


def machine() -> str:
    """Say what is measured on, and how busy it is, without naming anybody's machine."""
    git = subprocess.run(["git", "--version"], capture_output=True, check=True, text=True).stdout
    return (
        f"{os.cpu_count()} cores, {platform.system()} {platform.machine()}, {git.strip()},"
        f" Python {platform.python_version()}, dataops_dagster {__version__};"
        f" load average before: {os.getloadavg()[0]:.1f}"
    )


def table(header: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """Return a Markdown table."""
    lines = [header, ["---"] * len(header), *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines) + "\n"


def seconds(values: Sequence[float]) -> str:
    """Write a median and, smaller than it, the span that it stands for."""
    low, middle, high = min(values), statistics.median(values), max(values)
    return f"{figure(middle)} ({figure(low)} to {figure(high)})"


def ratio(one: Sequence[float], other: Sequence[float]) -> str:
    """Write how many times the one's median is the other's."""
    return figure(statistics.median(one) / statistics.median(other))


def figure(value: float) -> str:
    """Write three digits, which is more than a shared machine gives."""
    if value >= 100:  # noqa: PLR2004  # from here on there is no fraction
        return f"{value:.0f}"
    return f"{value:.3g}" if value >= 0.1 else f"{value:.3f}"  # noqa: PLR2004  # as above


def size(count: float) -> str:
    """Write a number of bytes."""
    for unit in ("B", "kB", "MB", "GB"):
        if count < 1000:  # noqa: PLR2004  # where the next unit begins
            return f"{count:.3g} {unit}"
        count /= 1000
    return f"{count:.3g} TB"


def write(folder: Path, name: str, *parts: str) -> Path:
    """Write a page from its parts."""
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"{name}.md"
    path.write_text("\n".join(parts))
    return path


def chart(path: Path, title: str, unit: str, groups: Mapping[str, Mapping[str, float]]) -> None:
    """Draw a group of bars each, on a scale where each step is ten times the last."""
    values = [value for bars in groups.values() for value in bars.values()]
    low, high = math.floor(math.log10(min(values))), math.ceil(math.log10(max(values)))
    names = list(next(iter(groups.values())))

    def x(value: float) -> float:
        return _LEFT + _WIDTH * (math.log10(value) - low) / max(1, high - low)

    drawn, y = [_text(_LEFT, 22, title, "font-weight='bold'")], float(_TOP)
    for i, name in enumerate(names):
        drawn.append(_bar(_LEFT + 130 * i, 34, 10, _COLOURS[i]))
        drawn.append(_text(_LEFT + 130 * i + 15, 43, name))
    for group, bars in groups.items():
        drawn.append(_text(_LEFT - 8, y + _BAR * len(bars) / 2 + 4, group, "text-anchor='end'"))
        for i, value in enumerate(bars.values()):
            drawn.append(_bar(_LEFT, y, x(value) - _LEFT, _COLOURS[i]))
            drawn.append(_text(x(value) + 4, y + _BAR - 3, f"{figure(value)} {unit}"))
            y += _BAR
        y += _GAP
    for power in range(low, high + 1):
        place = x(10**power)
        drawn.insert(0, f"<path d='M{place} {_TOP - 4}V{y}' stroke='#e4e7ec'/>")
        drawn.append(_text(place, y + 14, f"{10**power:g} {unit}", "text-anchor='middle'"))
    frame = f"width='{_LEFT + _WIDTH + 90}' height='{y + 26:g}'"
    style = "font-family='sans-serif' font-size='12' fill='#1d2939'"
    lines = "\n".join(drawn)
    path.write_text(
        f"<svg xmlns='http://www.w3.org/2000/svg' {frame} {style}>\n"
        f"<rect width='100%' height='100%' fill='white'/>\n{lines}\n</svg>\n"
    )


def _bar(x: float, y: float, width: float, colour: str) -> str:
    return f"<rect x='{x:g}' y='{y:g}' width='{width:.1f}' height='{_BAR - 2}' fill='{colour}'/>"


def _text(x: float, y: float, text: str, style: str = "") -> str:
    return f"<text x='{x:g}' y='{y:g}' {style}>{escape(text)}</text>"
