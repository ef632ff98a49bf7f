"""The door to the plotting library: plots as SVG that is part of a page, loads nothing and has no script.

Colours are the page's own, by name, so that a plot is read in the light, in the dark and on paper.
"""

import sys
from collections.abc import Mapping, Sequence
from typing import Any
from xml.etree import ElementTree as ET

import pygal
from pygal.etree import etree
from pygal.style import Style

from pipeline.core.scales import nice_step

etree.to_etree()  # it takes lxml where that is installed, whose elements do not mix with those of ours
# It leaves a finder of modules behind, for plugins that nobody here has, of a kind that Python warns of at each import.
sys.meta_path[:] = [finder for finder in sys.meta_path if hasattr(finder, "find_spec")]

WIDTH, HEIGHT = 440, 230
"""Small, and stretched by the page: so that letters can still be read where a phone shrinks it."""

_LABELS = 6
_HEIGHTS = 4
_MARGIN = 6
_HALF_LETTER = 3.8
"""Half of a letter's width on an axis; digits are that wide in most fonts."""


def bars(name: str, title: str, labels: Sequence[str], series: Mapping[str, Sequence[int]]) -> str:
    """Counts side by side; those of several series on top of each other. A series is named as its colour."""
    return _drawn(pygal.StackedBar, name, title, labels, series, spacing=4)


def areas(name: str, title: str, labels: Sequence[str], series: Mapping[str, Sequence[int]]) -> str:
    """Counts over time."""
    return _drawn(pygal.StackedLine, name, title, labels, series, fill=True, show_dots=False)


def shares(name: str, title: str, parts: Sequence[tuple[str, int, str]]) -> str:
    """One bar that is cut into parts: their names, counts and colours."""
    chart = _chart(
        pygal.HorizontalStackedBar,
        [kind for _, _, kind in parts],
        height=44,
        margin=0,
        show_x_labels=False,
        show_y_labels=False,
        show_x_guides=False,
        show_y_guides=False,
        range=(0, max(1, sum(count for _, count, _ in parts))),
    )
    for label, count, _ in parts:
        chart.add(label, [count])
    return _text(chart, name, title, stretched=True)


def _drawn(
    kind: Any,  # noqa: ANN401 - a class of pygal's
    name: str,
    title: str,
    labels: Sequence[str],
    series: Mapping[str, Sequence[int]],
    **options: Any,  # noqa: ANN401
) -> str:
    several = max(1, -(-len(labels) // _LABELS))
    heights = _heights(max((sum(column) for column in zip(*series.values(), strict=True)), default=0))
    chart = _chart(
        kind,
        list(series),
        height=HEIGHT,
        margin=_MARGIN,
        margin_right=_room(labels, several, between=kind is pygal.StackedBar),
        show_minor_x_labels=False,
        range=(0, heights[-1]),
        **options,
    )
    chart.y_labels = heights
    chart.x_labels = labels
    chart.x_labels_major = list(dict.fromkeys(labels[::several]))
    for label, values in series.items():
        chart.add(label, list(values))
    return _text(chart, name, title)


def _room(labels: Sequence[str], several: int, *, between: bool) -> int:
    """The right margin in which the last label that is shown is not cut; it is centred on its place."""
    last = (len(labels) - 1) // several * several
    places = len(labels) if between else max(1, len(labels) - 1)
    after = (len(labels) - 1 - last + (0.5 if between else 0)) * (WIDTH - 80) / max(1, places)
    return max(_MARGIN, round(_HALF_LETTER * max(map(len, labels), default=0) + _MARGIN - after))


def _heights(most: int) -> list[int]:
    """Whole numbers at even distances, from 0 to above the highest."""
    step = max(1, round(nice_step(most, _HEIGHTS)))
    return [step * place for place in range(max(1, -(-most // step)) + 1)]


def _chart(kind: Any, colours: Sequence[str], **options: Any) -> Any:  # noqa: ANN401
    ink, soft, line = "var(--ink)", "var(--soft)", "var(--line)"
    style = Style(
        background="transparent",
        plot_background="transparent",
        foreground=soft,
        foreground_strong=ink,
        foreground_subtle=line,
        guide_stroke_color=line,
        major_guide_stroke_color=line,
        guide_stroke_dasharray="1,0",
        major_guide_stroke_dasharray="1,0",
        opacity="1",
        opacity_hover=".8",
        transition="0s",
        colors=tuple(f"var(--{colour})" for colour in colours),
        font_family="inherit",
        label_font_size=13,
        major_label_font_size=13,
    )
    return kind(
        style=style,
        js=(),
        width=WIDTH,
        show_legend=False,
        truncate_label=-1,
        value_formatter=lambda value: f"{value or 0:,.0f}",
        **options,
    )


def _text(chart: Any, name: str, title: str, *, stretched: bool = False) -> str:  # noqa: ANN401
    """The drawing, called by `name`, which makes it the same at each drawing; what it shows is its title."""
    chart.uuid = name
    root = chart.render_tree()
    root.set("role", "img")
    root.set("preserveAspectRatio", "none" if stretched else "xMidYMid meet")
    root.insert(0, _title(title))
    for parent in list(root.iter()):
        _keep_readable(parent)
    return ET.tostring(root, encoding="unicode")


def _keep_readable(parent: ET.Element) -> None:
    """Leave out what only scripts and programmers read; a bar's value becomes what is shown where one points at it."""
    told = {str(one.get("class")): one.text or "" for one in parent if one.tag == "desc"}
    for child in list(parent):
        if child.tag in {ET.Comment, "desc", "script"}:
            parent.remove(child)
    if "value" in told:
        label = told.get("x_label")
        parent.insert(0, _title(f"{label}: {told['value']}" if label else told["value"]))


def _title(text: str) -> ET.Element:
    element = ET.Element("title")
    element.text = text
    return element
