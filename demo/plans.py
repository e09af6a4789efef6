"""What is to have happened in the 60 days before the demo starts."""

from __future__ import annotations

import uuid
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any

from .lms import DemoLMS

DAYS = 60
MINUTE, HOUR, DAY = timedelta(minutes=1), timedelta(hours=1), timedelta(days=1)


@dataclass(kw_only=True)
class Outage:
    began: datetime
    #: None: it goes on.
    ended: datetime | None = None
    #: How the demo LMS behaves meanwhile. "answers": the fault is in the configuration.
    mode: str = "answers"

    def covers(self, at: datetime) -> bool:
        return at > self.began and (self.ended is None or at < self.ended)


@dataclass(kw_only=True)
class Plan:
    """One configuration."""

    organization: str
    name: str
    created: datetime
    contacts: list[str]
    settings: dict[str, Any]
    #: Which of its organization's objectives it is attached to.
    objectives: tuple[int, ...] = (0, 1, 2, 3)
    outages: list[Outage] = field(default_factory=list)
    paused: datetime | None = None
    #: When somebody cancelled what waited.
    cancelled: datetime | None = None
    #: When its contacts were changed, and when its secret was replaced.
    edited: datetime | None = None
    rekeyed: datetime | None = None
    #: Share of results that it rejects.
    rejects: float = 0.0
    #: Known once it was made.
    id: uuid.UUID | None = None

    def takes(self, at: datetime) -> bool:
        """Whether results are delivered then."""
        is_paused = self.paused is not None and at > self.paused
        return not is_paused and not any(outage.covers(at) for outage in self.outages)


Day = Callable[..., datetime]


def plans(lms: DemoLMS, now: datetime) -> list[Plan]:
    """Six configurations of two organizations, in every state there is."""

    def day(ago: int, hour: int, minute: int = 0) -> datetime:
        """A working day about so long ago."""
        found = (now - ago * DAY).replace(hour=hour, minute=minute, second=0)
        return found - DAY * max(0, found.weekday() - 4)

    return [*_meridian(lms, day), *_alder(lms, now, day)]


def _meridian(lms: DemoLMS, day: Day) -> list[Plan]:
    return [
        Plan(
            organization="Meridian Lines",
            name="Corporate LMS",
            created=day(60, 6),
            contacts=["ana.ruiz@meridian.example", "lms-team@meridian.example"],
            settings=lms.settings,
            rejects=0.004,
            cancelled=day(27, 10),
            edited=day(44, 15, 20),
            rekeyed=day(25, 9, 5),
            outages=[
                Outage(began=day(41, 11, 10), ended=day(41, 12, 2), mode="500"),
                Outage(began=day(12, 9, 5), ended=day(12, 13, 40), mode="refuses"),
            ],
        ),
        Plan(
            organization="Meridian Lines",
            name="Crew Academy",
            created=day(48, 8),
            contacts=["ana.ruiz@meridian.example"],
            objectives=(0, 1),
            settings={
                "url": "https://lms.crew-academy.example/xapi/",
                "key": "meridian",
                "secret": "for the demo",
            },
            outages=[Outage(began=day(4, 14, 5))],
        ),
        Plan(
            organization="Meridian Lines",
            name="Office LMS",
            created=day(35, 9),
            contacts=["ana.ruiz@meridian.example"],
            objectives=(3,),
            settings={**lms.settings, "key": "harbor-2019"},  # which the demo LMS doesn't know
            outages=[Outage(began=day(2, 8, 30))],
        ),
        Plan(
            organization="Meridian Lines",
            name="Union Portal",
            created=day(30, 9),
            contacts=["training@union.example"],
            objectives=(1,),
            settings={**lms.settings, "key": "union"},
            paused=day(5, 16),
        ),
    ]


def _alder(lms: DemoLMS, now: datetime, day: Day) -> list[Plan]:
    return [
        Plan(
            organization="Alder Clinic",
            name="Clinic LMS",
            created=day(55, 7),
            contacts=["tom.okafor@alder.example"],
            settings=lms.settings,
            rejects=0.003,
            outages=[
                Outage(began=day(20, 7, 30), ended=day(20, 7, 30) + 29 * HOUR, mode="page"),
            ],
        ),
        Plan(
            organization="Alder Clinic",
            name="Regional Health LMS",
            created=now - 20 * HOUR,
            contacts=["tom.okafor@alder.example"],
            objectives=(),
            settings={
                "url": "https://lms.regional-health.example/xapi/",
                "key": "alder",
                "secret": "for the demo",
            },
        ),
    ]
