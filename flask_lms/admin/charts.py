"""Deliveries by day as inline SVG, drawn by the server. Widths are in per cent and heights in
pixels, so that bars, patterns and letters stay sharp at any width.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date
from types import MappingProxyType

from ..i18n import N_, gettext, ngettext
from ..services.overview import Day

_HEIGHT = 160
_TOP = 12
#: Series from the ground up: attribute of a day, CSS class, label.
SERIES = (
    ("sent", "flms-bar-sent", N_("Sent")),
    ("waiting", "flms-bar-waiting", N_("Waiting")),
    ("rejected", "flms-bar-rejected", N_("Rejected")),
    ("not_sent", "flms-bar-not-sent", N_("Not sent")),
)
#: Drawn over the colour in a square of 14, so that the series differ without it.
PATTERNS = MappingProxyType(
    {
        "sent": "",
        "waiting": '<path class="flms-bar-lines" d="M0 3.5h14M0 10.5h14"/>',
        "rejected": '<path class="flms-bar-lines" d="M-2 5 5-2M-2 12 12-2M2 16 16 2M9 16l7-7"/>',
        "not_sent": '<path class="flms-bar-dots" d="M3.5 3.5h.01M10.5 10.5h.01"/>',
    }
)


@dataclass(frozen=True, kw_only=True)
class Bar:
    """One piece of a bar: per cent across, pixels down."""

    series: str
    x: str
    width: str
    y: str
    height: str


@dataclass(frozen=True, kw_only=True)
class Line:
    y: int
    label: str


@dataclass(frozen=True, kw_only=True)
class Tick:
    x: str
    anchor: str
    date: date


@dataclass(frozen=True, kw_only=True)
class Chart:
    """What the template draws.

    :param days: all of them, the oldest first, each with whether something was.
    :param table: the days on which something was, the newest first.
    :param summary: the chart in words.
    """

    days: Sequence[tuple[Day, bool]]
    table: Sequence[Day]
    bars: Sequence[Bar]
    lines: Sequence[Line]
    ticks: Sequence[Tick]
    summary: str
    height: int = _HEIGHT


def _top_of(most: int) -> int:
    """The end of the scale: 2, 4, 6, 8, 10, 20, 40, … at or above ``most``, so it has a half."""
    step = 1
    while True:
        for factor in (2, 4, 6, 8, 10):
            if factor * step >= most:
                return factor * step
        step *= 10


def draw(days: Sequence[Day]) -> Chart:
    """A stacked bar for each day, the oldest first; one at least."""
    totals = [sum(getattr(day, name) for name, _, _ in SERIES) for day in days]
    top = _top_of(max(totals))
    room = _HEIGHT - _TOP
    slot = 100 / len(days)
    bars: list[Bar] = []
    for index, day in enumerate(days):
        ground = float(_HEIGHT)
        for name, _, _ in SERIES:
            height = getattr(day, name) / top * room
            if height:
                height = max(height, 2.0)
                ground -= height
                bars.append(
                    Bar(
                        series=name,
                        x=f"{(index + 0.14) * slot:.3f}%",
                        width=f"{0.72 * slot:.3f}%",
                        y=f"{ground:.1f}",
                        height=f"{height:.1f}",
                    )
                )

    lines = []
    for value in (top // 2, top) if any(totals) else ():
        size, sign = (10**6, "M") if value >= 10**6 else (1000, "k") if value >= 1000 else (1, "")
        y = round(_HEIGHT - value / top * room)
        lines.append(Line(y=y, label=f"{value / size:g}{sign}"))

    last = len(days) - 1
    middle = f"{(last // 2 + 0.5) * slot:.2f}%"
    ticks = [
        Tick(x="0%", anchor="start", date=days[0].date),
        Tick(x=middle, anchor="middle", date=days[last // 2].date),
        Tick(x="100%", anchor="end", date=days[last].date),
    ]
    summary = gettext(
        "In %(days)s: %(sent)s sent, %(waiting)s waiting, %(rejected)s rejected, "
        "%(not_sent)s not sent.",
        days=ngettext("%(n)s day", "%(n)s days", len(days)),
        **{name: sum(getattr(day, name) for day in days) for name, _, _ in SERIES},
    )
    table = [day for day, total in zip(days, totals, strict=True) if total][::-1]
    days_with = [(day, bool(total)) for day, total in zip(days, totals, strict=True)]
    return Chart(days=days_with, table=table, bars=bars, lines=lines, ticks=ticks, summary=summary)
