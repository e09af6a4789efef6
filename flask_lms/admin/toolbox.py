"""What templates may call. Three Jinja globals of the app, so that macros work in host pages too:
``lms_t(message)`` and ``lms_n(singular, plural, n)`` for texts, ``flms`` for all else.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from datetime import date as calendar_date
from datetime import datetime, time, timedelta
from typing import Any, NamedTuple

from flask import request, url_for
from flask.blueprints import BlueprintSetupState
from markupsafe import Markup
from wtforms import Field
from wtforms.csrf.core import CSRFTokenField

from .. import i18n
from ..clock import UTC
from ..models import Configuration, Delivery
from ..models import State as DeliveryState
from ..services.overview import Summary
from ..words import N_
from . import access, charts, host_parts, pages, presenters, times
from .icons import ICONS


class Tab(NamedTuple):
    url: str
    label: str
    is_current: bool


_TABS = (
    ("index", N_("Configurations"), ("overview", "edit", "test", "new", "attach", "alerts")),
    ("objectives", N_("Objectives"), ("objective",)),
    ("deliveries", N_("Deliveries"), ("delivery",)),
    ("history", N_("History"), ()),
    ("help", N_("Help"), ()),
)
_OF_ONE = (
    ("overview", N_("Overview")),
    ("attach", N_("Objectives")),
    ("configuration_deliveries", N_("Deliveries")),
    ("alerts", N_("Alerts")),
    ("edit", N_("Settings")),
)


class Toolbox:
    """Words, times, addresses and icons. Holds nothing."""

    banner = staticmethod(host_parts.banner)
    navigation = staticmethod(host_parts.navigation)
    panel = staticmethod(host_parts.panel)

    status_badge = staticmethod(presenters.status_badge)
    health_badge = staticmethod(presenters.health_badge)
    delivery_badge = staticmethod(presenters.delivery_badge)
    verdict_badge = staticmethod(presenters.verdict_badge)
    mail_badge = staticmethod(presenters.mail_badge)
    take_notice = staticmethod(pages.take_notice)
    number = staticmethod(i18n.number)
    date = staticmethod(i18n.date)
    short_date = staticmethod(i18n.short_date)
    date_time = staticmethod(i18n.date_time)
    milliseconds = staticmethod(times.milliseconds)
    translate = staticmethod(i18n.translate)
    language = staticmethod(i18n.language)

    def url(self, endpoint: str, **values: Any) -> str:
        """The address of one of the pages."""
        return url_for(f"lms.{endpoint}", **values)

    def url_with(self, **values: Any) -> str:
        """This page with other filters; None takes one away."""
        kept = {**(request.view_args or {}), **request.args.to_dict(flat=False), **values}
        endpoint = request.endpoint or "lms.index"
        return url_for(endpoint, **{key: value for key, value in kept.items() if value})

    def static(self, filename: str) -> str:
        return url_for("lms.static", filename=filename)

    def nonce(self) -> str | None:
        """The host's nonce for this response, if it has one."""
        return access.state().slots.csp_nonce()

    def icon(self, name: str) -> Markup:
        """A drawing beside words; hidden from readers of the page."""
        return Markup(  # noqa: S704  # nosec B704 # constant drawings
            '<svg class="flms-icon" viewBox="0 0 24 24" aria-hidden="true" focusable="false">'
            f"{ICONS[name]}</svg>"
        )

    def relative(self, moment: datetime) -> str:
        """``3 minutes ago`` or ``in 3 minutes``."""
        return times.relative(moment, pages.now())

    def iso(self, moment: datetime) -> str:
        return moment.isoformat(timespec="seconds")

    def tabs(self) -> Iterator[Tab]:
        """The sections of the pages."""
        here = (request.endpoint or "").removeprefix("lms.")
        view_args = request.view_args or {}
        for endpoint, label, _ in _TABS:
            is_inside = any(here == owned for owned in _owned(endpoint))
            if "configuration_id" in view_args or here.startswith("new"):
                is_inside = endpoint == "index"
            yield Tab(self.url(endpoint), i18n.gettext(label), here == endpoint or is_inside)

    def tabs_of(self, configuration: Configuration) -> Iterator[Tab]:
        """The pages of one configuration."""
        here = (request.endpoint or "").removeprefix("lms.")
        here = {"detach": "attach", "backfill": "attach"}.get(here, here)
        for endpoint, label in _OF_ONE:
            url = self.url(endpoint, configuration_id=configuration.id)
            yield Tab(url, i18n.gettext(label), here == endpoint)

    def type_label(self, type: str) -> str:
        """What people call an LMS type."""
        connector = access.state().registry.get(type)
        return i18n.gettext(connector.label) if connector else type

    def destination(self, configuration: Configuration) -> str:
        """The host results go to."""
        connector = access.state().registry.get(configuration.type)
        return connector.destination(configuration.settings) if connector else "—"

    def status_line(self, configuration: Configuration, waiting: int) -> str | None:
        return presenters.status_line(configuration, waiting, access.state().registry)

    def delivery_reason(self, delivery: Delivery, type: str) -> str | None:
        state = access.state()
        return presenters.delivery_reason(
            delivery, type, state.registry, state.settings.platform_name
        )

    def delivery_next(self, delivery: Delivery, configuration: Configuration) -> str:
        return presenters.delivery_next(delivery, configuration, pages.now())

    def kind(self, kind: str) -> str:
        """What sort of statement a delivery is."""
        return i18n.gettext(presenters.KINDS.get(kind, kind))

    def pretty(self, text: str | None) -> str:
        """A statement, indented for people."""
        try:
            return json.dumps(json.loads(text or ""), indent=2, ensure_ascii=False)
        except ValueError:
            return text or ""

    @property
    def series(self) -> Sequence[tuple[str, str, str]]:
        """The series of the chart: name, CSS class, label."""
        return charts.SERIES

    def pattern_lines(self, series: str) -> Markup:
        """What tells a series from the others without its colour, in a square of 14."""
        return Markup(charts.PATTERNS[series])  # noqa: S704  # nosec B704 # constant drawings

    def day(self, day: calendar_date) -> str:
        """``22 Nov``."""
        return i18n.short_date(datetime.combine(day, time(12), UTC))

    def days_before(self, day: calendar_date, days: int) -> str:
        """An ISO date."""
        return (day - timedelta(days=days)).isoformat()

    def age(self, moment: datetime) -> str:
        """How long ago, as a span: ``3 minutes``."""
        return times.span(pages.now() - moment)

    def summary_words(self, summary: Summary) -> str:
        """``2 of 3 connected, 37 results waiting``."""
        return presenters.summary_words(
            summary.connected, summary.total, summary.waiting, summary.attention
        )

    def attached_badge(self) -> presenters.Badge:
        return presenters.Badge(tone="ok", icon="link", label=i18n.gettext("Attached"))

    def told_badge(self, is_muted: bool) -> presenters.Badge:
        """Whether an address gets alerts."""
        if is_muted:
            return presenters.Badge(tone="off", icon="minus", label=i18n.gettext("Muted"))
        return presenters.Badge(tone="ok", icon="mail", label=i18n.gettext("Gets alerts"))

    def state_choices(self) -> list[tuple[str, str]]:
        """The status filter of deliveries."""
        every = [(one.value, presenters.delivery_badge(one).label) for one in DeliveryState]
        return [("attention", i18n.gettext("Needs attention")), *every]

    def pairs(self, named: Sequence[Any]) -> list[tuple[str, str]]:
        """(id, name) of what can be chosen."""
        return [(str(one.id), one.name) for one in named]

    def given(self, attributes: dict[str, Any]) -> dict[str, Any]:
        """HTML attributes without those that are None."""
        return {key: value for key, value in attributes.items() if value is not None}

    def described_by(self, field: Field) -> str | None:
        """The ids of a field's hint and errors (``aria-describedby``)."""
        ids = [f"{field.id}-hint"] if field.description else []
        ids += [f"{field.id}-error"] if field.errors else []
        return " ".join(ids) or None

    def errors(self, forms: Sequence[Any]) -> list[tuple[str, str]]:
        """(id of the field, sentence) of each error of the forms, in their order; the token, which
        nobody sees, has no id.
        """
        return [
            ("" if isinstance(field, CSRFTokenField) else field.id, i18n.translate(error))
            for form in forms
            for field in form
            for error in field.errors
        ]


def _owned(endpoint: str) -> tuple[str, ...]:
    return next(owned for name, _, owned in _TABS if name == endpoint)


def install(setup: BlueprintSetupState) -> None:
    """Put the globals into the app's Jinja environment."""
    globals_ = setup.app.jinja_env.globals
    globals_["flms"] = Toolbox()
    globals_["lms_t"] = i18n.gettext
    globals_["lms_n"] = i18n.ngettext
