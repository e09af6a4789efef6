"""What templates may call. Three Jinja globals of the app, so that macros work in pages of the host
too: ``lms_t(message)`` and ``lms_n(singular, plural, n)`` for texts, ``flms`` for all else.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import date, datetime, time, timedelta
from itertools import groupby
from types import MappingProxyType
from typing import Any, NamedTuple
from urllib.parse import urlencode

from flask import request, url_for
from flask.blueprints import BlueprintSetupState
from markupsafe import Markup
from wtforms import Field
from wtforms.csrf.core import CSRFTokenField

from .. import i18n
from ..connectors.fields import Field as SettingField
from ..database.models import Configuration, Delivery, ReadBack
from ..database.types import UTC
from ..errors import NotFound
from ..i18n import N_
from ..services.overview import ConfigurationRow, Overview
from ..values import Objective
from . import charts, pages, wording
from .forms import ActForm

#: Strokes of two units in a square of 24.
ICONS = MappingProxyType(
    {
        "alert": '<path d="M12 4 2.8 20h18.4z"/><path d="M12 10v4.5M12 17.4v.1"/>',
        "arrow": '<path d="M5 12h14M13 6l6 6-6 6"/>',
        "check": '<path d="m5 12.5 4.5 4.5L19 7.5"/>',
        "circle": '<circle cx="12" cy="12" r="8"/><path d="M9.8 9.6a2.3 2.3 0 1 1 2.9 2.6'
        'c-.5.2-.7.6-.7 1.1v.4M12 16.4v.1"/>',
        "clock": '<circle cx="12" cy="12" r="8.5"/><path d="M12 7.5V12l3 2"/>',
        "copy": '<rect x="9" y="9" width="11" height="11" rx="2"/>'
        '<path d="M5 15V6a2 2 0 0 1 2-2h8"/>',
        "cross": '<path d="m6.5 6.5 11 11M17.5 6.5l-11 11"/>',
        "download": '<path d="M12 4v11M7 10.5l5 5 5-5M5 20h14"/>',
        "edit": '<path d="M4 20h4L19 9l-4-4L4 16zM13.5 6.5l4 4"/>',
        "history": '<path d="M4 12a8 8 0 1 0 2.5-5.8L4 8.5M4 4v4.5h4.5M12 8v4.5l3 1.8"/>',
        "info": '<circle cx="12" cy="12" r="8.5"/><path d="M12 11v5M12 7.8v.1"/>',
        "link": '<path d="M10 14a4 4 0 0 0 6 .4l3-3a4 4 0 0 0-5.7-5.7l-1.2 1.2"/>'
        '<path d="M14 10a4 4 0 0 0-6-.4l-3 3a4 4 0 0 0 5.7 5.7l1.2-1.2"/>',
        "mail": '<rect x="3" y="5" width="18" height="14" rx="2"/><path d="m4 7.5 8 6 8-6"/>',
        "minus": '<path d="M6 12h12"/>',
        "pause": '<path d="M9 6v12M15 6v12"/>',
        "play": '<path d="M8 5.5v13l10.5-6.5z"/>',
        "plus": '<path d="M12 5v14M5 12h14"/>',
        "refresh": '<path d="M20 11a8 8 0 0 0-14.3-4L3.5 9.5M4 13a8 8 0 0 0 14.3 4l2.2-2.5'
        'M3.5 4.5v5h5M20.5 19.5v-5h-5"/>',
        "search": '<circle cx="10.5" cy="10.5" r="6.5"/><path d="m15.5 15.5 5 5"/>',
        "send": '<path d="M20.5 3.5 10 14M20.5 3.5 14 20.5l-4-6.5-6.5-4z"/>',
        "trash": '<path d="M4.5 7h15M10 7V4.5h4V7M6.5 7l1 13h9l1-13M10.5 11v5.5M13.5 11v5.5"/>',
        "unplugged": '<path d="M7 3v4M13 3v4M4.5 7h11v3.5a5.5 5.5 0 0 1-11 0zM10 16v5'
        'M16 15l5 5M21 15l-5 5"/>',
    }
)


class Tab(NamedTuple):
    url: str
    label: str
    is_current: bool


_TABS = (
    ("index", N_("Configurations"), ("overview", "edit", "test", "new", "attach", "alerts")),
    ("objectives", N_("Objectives"), ("objective",)),
    ("deliveries", N_("Deliveries"), ("delivery",)),
    (
        "participants",
        N_("Participants"),
        ("participant", "add_participant", "remove_participant", "upload_participants"),
    ),
    ("history", N_("History"), ()),
    ("help", N_("Help"), ()),
)
_OF_ONE = (
    ("overview", N_("Overview")),
    ("attach", N_("Objectives")),
    ("configuration_deliveries", N_("Deliveries")),
    ("alerts", N_("Alerts")),
    ("secrets", N_("Secrets")),
    ("edit", N_("Settings")),
)


@dataclass(frozen=True, kw_only=True)
class Panel:
    """An objective with its LMS configurations, in a page of the host."""

    objective: Objective
    attached: Sequence[Configuration]
    others: Sequence[Configuration]
    act: ActForm
    can_backfill: bool
    today: date


class Toolbox:
    """Words, times, addresses and icons. Holds nothing."""

    url = staticmethod(pages.url)
    summary_words = staticmethod(wording.summary_words)
    status_badge = staticmethod(wording.status_badge)
    delivery_badge = staticmethod(wording.delivery_badge)
    read_back_badge = staticmethod(wording.read_back_badge)
    verdict_badge = staticmethod(wording.verdict_badge)
    outcome_badge = staticmethod(wording.outcome_badge)
    score_words = staticmethod(wording.score_words)
    mail_badge = staticmethod(wording.mail_badge)
    take_notice = staticmethod(pages.take_notice)
    number = staticmethod(i18n.number)
    date_time = staticmethod(i18n.date_time)
    milliseconds = staticmethod(wording.milliseconds)
    translate = staticmethod(i18n.translate)
    language = staticmethod(i18n.language)

    def url_with(self, **values: Any) -> str:
        """This page with other filters; None takes one away."""
        asked = {**request.args.to_dict(flat=False), "live": None, **values}
        query = urlencode({key: value for key, value in asked.items() if value}, doseq=True)
        here = url_for(request.endpoint or "lms.index", **(request.view_args or {}))
        return f"{here}?{query}" if query else here

    def static(self, filename: str) -> str:
        return url_for("lms.static", filename=filename)

    def nonce(self) -> str | None:
        """The host's nonce for this response, if it has one."""
        return pages.state().callbacks.csp_nonce()

    def support(self, configuration_id: object = None, cause: str | None = None) -> str | None:
        """The address of the host's people, for whoever is stuck; None: there is none."""
        return pages.state().settings.support_link(configuration_id, cause)

    def platform(self) -> str:
        """The host's name."""
        return pages.state().settings.platform_name

    def icon(self, name: str) -> Markup:
        """A drawing beside words; hidden from readers of the page."""
        return Markup(  # noqa: S704  # nosec B704 # constant drawings
            '<svg class="flms-icon" viewBox="0 0 24 24" aria-hidden="true" focusable="false">'
            f"{ICONS[name]}</svg>"
        )

    def groups(self, fields: Sequence[SettingField]) -> list[tuple[Any, list[SettingField]]]:
        """Neighbours that belong to the same choices, with these."""
        return [(when, list(some)) for when, some in groupby(fields, lambda one: one.when)]

    def choice_label(self, form: Any, when: tuple[str, tuple[str, ...]]) -> str:
        """What the first choice of a group is called, in the reader's language."""
        choices = {choice[0]: choice[1] for choice in form[when[0]].iter_choices()}
        return i18n.translate(choices[when[1][0]])

    def relative(self, moment: datetime) -> str:
        """``3 minutes ago`` or ``in 3 minutes``."""
        return wording.relative(moment, pages.now())

    def iso(self, moment: datetime) -> str:
        return moment.isoformat(timespec="seconds")

    def tabs(self) -> Iterator[Tab]:
        """The sections of the pages."""
        here = (request.endpoint or "").removeprefix("lms.")
        view_args = request.view_args or {}
        for endpoint, label, owned in _TABS:
            is_inside = here in owned
            if "configuration_id" in view_args or here.startswith("new"):
                is_inside = endpoint == "index"
            yield Tab(self.url(endpoint), i18n.gettext(label), here == endpoint or is_inside)

    def tabs_of(self, configuration: Configuration) -> Iterator[Tab]:
        """The pages of one configuration."""
        here = (request.endpoint or "").removeprefix("lms.")
        here = {"detach": "attach", "backfill": "attach"}.get(here, here)
        connector = pages.state().registry.get(configuration.type)
        has_secrets = connector is not None and bool(connector.generated)
        for endpoint, label in _OF_ONE:
            if endpoint == "secrets" and not has_secrets:
                continue
            url = self.url(endpoint, configuration_id=configuration.id)
            yield Tab(url, i18n.gettext(label), here == endpoint)

    def type_label(self, type: str) -> str:
        """What people call an LMS type."""
        connector = pages.state().registry.get(type)
        return i18n.gettext(connector.label) if connector else type

    def signs_in_with(self, configuration: Configuration) -> str | None:
        """By what it shows the LMS who sends, in the reader's language; None: nothing is told."""
        connector = pages.state().registry.get(configuration.type)
        words = connector and connector.signs_in_with(configuration.settings)
        return i18n.translate(words) if words else None

    def destination(self, configuration: Configuration) -> str:
        """The host results go to."""
        connector = pages.state().registry.get(configuration.type)
        return connector.destination(configuration.settings) if connector else "—"

    def status_line(self, configuration: Configuration) -> str | None:
        return wording.status_line(configuration, pages.state().registry)

    def delivery_reason(self, delivery: Delivery, type: str) -> str | None:
        state = pages.state()
        return wording.delivery_reason(delivery, type, state.registry, state.settings.platform_name)

    def read_back_of(self, delivery: Delivery, type: str) -> tuple[str, list[str]]:
        state = pages.state()
        return wording.read_back_of(delivery, type, state.registry, state.settings.platform_name)

    def delivery_next(self, delivery: Delivery, configuration: Configuration) -> str:
        return wording.delivery_next(delivery, configuration, pages.now())

    def kind(self, kind: str) -> str:
        """What sort of statement a delivery is."""
        return i18n.gettext(wording.KINDS.get(kind, kind))

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

    def day(self, day: date) -> str:
        """``22 Nov``."""
        return i18n.short_date(datetime.combine(day, time(12), UTC))

    def days_before(self, day: date, days: int) -> str:
        """An ISO date."""
        return (day - timedelta(days=days)).isoformat()

    def time(self, moment: datetime) -> Markup:
        """``22 Nov 2026, 14:05 UTC``, which the script tells in the reader's zone."""
        return wording.time_tag(moment, i18n.date_time(moment))

    def age(self, moment: datetime) -> str:
        """How long ago, as a span: ``3 minutes``."""
        return i18n.span(pages.now() - moment)

    def attached_badge(self) -> wording.Badge:
        return wording.Badge(tone="ok", icon="link", label=i18n.gettext("Attached"))

    def told_badge(self, is_muted: bool) -> wording.Badge:
        """Whether an address gets alerts."""
        if is_muted:
            return wording.Badge(tone="off", icon="minus", label=i18n.gettext("Muted"))
        return wording.Badge(tone="ok", icon="mail", label=i18n.gettext("Gets alerts"))

    def read_back_choices(self) -> list[tuple[str, str]]:
        """The filter of deliveries by what their LMS has."""
        return [(one.value, wording.read_back_badge(one).label) for one in ReadBack]

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

    # For pages of the host. Only administrators see anything; for others there is no query either.

    def panel(self, objective_id: object) -> Panel | None:
        """What the objective's panel shows; None: not for this reader, or no such objective."""
        if pages.current_administrator() is None:
            return None
        objectives = pages.objectives()
        try:
            row = objectives.get(str(objective_id))
        except NotFound:
            return None
        everything = pages.configurations().list()
        ids = {link.configuration_id for link in row.links}
        return Panel(
            objective=row.objective,
            attached=[one for one in everything if one.id in ids],
            others=[one for one in everything if one.id not in ids],
            act=ActForm(),
            can_backfill=objectives.can_backfill(),
            today=pages.now().date(),
        )

    def banner(self) -> Sequence[ConfigurationRow]:
        """The configurations that don't work; one query while all do."""
        if not self.navigation():
            return ()
        return Overview(pages.state(), pages.organization_id()).rows(status="error")

    def navigation(self) -> int | None:
        """How many configurations don't work; None: not for this reader."""
        if pages.current_administrator() is None:
            return None
        return len(pages.configurations().list(status="error"))


def install(setup: BlueprintSetupState) -> None:
    """Put the globals into the app's Jinja environment."""
    globals_ = setup.app.jinja_env.globals
    globals_["flms"] = Toolbox()
    globals_["lms_t"] = i18n.gettext
    globals_["lms_n"] = i18n.ngettext
