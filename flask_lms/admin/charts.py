"""Deliveries by day as inline SVG, drawn by the server. Widths are in per cent and heights in
pixels, so that bars, patterns and letters stay sharp at any width.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date
from types import MappingProxyType

from ..i18n import N_, gettext, ngettext

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
class DayCounts:
    """What one bar shows."""

    date: date
    sent: int
    waiting: int
    rejected: int
    not_sent: int

    @property
    def total(self) -> int:
        return self.sent + self.waiting + self.rejected + self.not_sent


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

    :param summary: the chart in words.
    """

    days: Sequence[DayCounts]
    bars: Sequence[Bar]
    lines: Sequence[Line]
    ticks: Sequence[Tick]
    summary: str
    height: int = _HEIGHT

    @property
    def is_empty(self) -> bool:
        return not self.bars


def _top_of(most: int) -> int:
    """The end of the scale: 2, 4, 6, 8, 10, 20, 40, … at or above ``most``, so it has a half."""
    step = 1
    while True:
        for factor in (2, 4, 6, 8, 10):
            if factor * step >= most:
                return factor * step
        step *= 10


def draw(days: Sequence[DayCounts]) -> Chart:
    """A stacked bar for each day, the oldest first."""
    most = max((day.total for day in days), default=0)
    top = _top_of(most)
    room = _HEIGHT - _TOP
    slot = 100 / max(len(days), 1)
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
    lines = [
        Line(y=round(_HEIGHT - value / top * room), label=_short(value))
        for value in (top // 2, top)
    ]
    return Chart(days=days, bars=bars, lines=lines, ticks=_ticks(days), summary=_summary(days))


def _short(value: int) -> str:
    for size, sign in ((1_000_000, "M"), (1_000, "k")):
        if value >= size:
            return f"{value / size:g}{sign}"
    return str(value)


def _ticks(days: Sequence[DayCounts]) -> list[Tick]:
    if not days:
        return []
    last = len(days) - 1
    slot = 100 / len(days)
    return [
        Tick(x="0%", anchor="start", date=days[0].date),
        Tick(x=f"{(last // 2 + 0.5) * slot:.2f}%", anchor="middle", date=days[last // 2].date),
        Tick(x="100%", anchor="end", date=days[last].date),
    ]


def _summary(days: Sequence[DayCounts]) -> str:
    total = {name: sum(getattr(day, name) for day in days) for name, _, _ in SERIES}
    return gettext(
        "In %(days)s: %(sent)s sent, %(waiting)s waiting, %(rejected)s rejected, "
        "%(not_sent)s not sent.",
        days=ngettext("%(n)s day", "%(n)s days", len(days)),
        **total,
    )
