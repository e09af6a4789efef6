"""The forms. Values are checked by the services, so that pages, commands and code agree; a form
carries what was typed, its token, and the sentences that come back.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any

from flask_wtf import FlaskForm
from wtforms import (
    BooleanField,
    FileField,
    IntegerField,
    PasswordField,
    RadioField,
    SelectField,
    StringField,
    TextAreaField,
)
from wtforms.csrf.core import CSRFTokenField
from wtforms.validators import Optional

from ..connectors.base import Connector
from ..connectors.fields import Field
from ..connectors.registry import USUAL_TYPE, Registry
from ..encryption import Secret
from ..errors import InvalidConfiguration
from ..i18n import N_, available, gettext, translate

try:
    from wtforms.fields import SelectChoice
except ImportError:  # before WTForms 3.3 choices were plain tuples

    def SelectChoice(value: str, label: str) -> tuple[str, str]:
        return value, label


_LANGUAGES = {"en": N_("English"), "de": N_("German")}


class ActForm(FlaskForm):  # type: ignore[misc]  # flask_wtf has no types
    """A button: nothing but the token."""


class BasicsForm(FlaskForm):  # type: ignore[misc]
    """Step 1: basic information."""

    name = StringField(
        N_("Configuration Name"),
        description=N_(
            "What you call this LMS, such as “Corporate LMS”. Unique, up to 100 characters."
        ),
        render_kw={"autocomplete": "off", "maxlength": 200},
    )
    type = RadioField(N_("LMS type"), validate_choice=False)
    contact_emails = TextAreaField(
        N_("Contact Email"),
        description=N_(
            "If something goes wrong we send alerts to this address. One on each line, up to 10."
        ),
        render_kw={"rows": 2, "autocomplete": "email", "spellcheck": "false"},
    )
    language = SelectField(N_("Language of the alerts"), validate_choice=False)

    def offer(self, registry: Registry) -> None:
        """Fill in what can be chosen; the usual one, or the only one, is chosen already."""
        self.type.choices = [(one.type, gettext(one.label)) for one in registry]
        if not self.type.data:
            usual = [one.type for one in registry if one.type == USUAL_TYPE or len(registry) == 1]
            self.type.data = next(iter(usual), None)
        self.language.choices = [(tag, gettext(_LANGUAGES.get(tag, tag))) for tag in available()]

    @property
    def emails(self) -> list[str]:
        """Addresses on lines of their own, or apart by commas or semicolons."""
        parts = re.split(r"[\r\n,;]+", self.contact_emails.data or "")
        return [part.strip() for part in parts if part.strip()][:100]


# Browsers must neither correct an address nor offer the reader's own password.
_PLAIN = {"autocomplete": "off", "autocapitalize": "none", "spellcheck": "false"}


class ParticipantForm(FlaskForm):  # type: ignore[misc]
    """Who a participant is in the LMSs."""

    participant_id = StringField(
        N_("Participant ID"),
        description=N_("As the platform shows it with their results; capitals count."),
        render_kw=_PLAIN,
    )
    email = StringField(
        N_("E-mail address"),
        description=N_("By which your LMS knows them."),
        render_kw={**_PLAIN, "inputmode": "email"},
    )
    name = StringField(
        N_("Name"), description=N_("Optional. Empty: as the platform says."), render_kw=_PLAIN
    )
    account_name = StringField(
        N_("Account name"), description=N_("Such as a personnel number."), render_kw=_PLAIN
    )
    account_home_page = StringField(
        N_("Home page of the account"),
        description=N_(
            "Address of the system that the account belongs to, such as https://hr.example."
        ),
        render_kw={**_PLAIN, "inputmode": "url"},
    )
    is_back = BooleanField(N_("They are back: enter them all the same"))


class ActivityForm(FlaskForm):  # type: ignore[misc]
    """What an LMS calls an objective."""

    activity_id = StringField(
        N_("Activity ID in your LMS"),
        description=N_(
            "Optional, such as https://lms.example/courses/42. Empty: the one of the platform."
        ),
        render_kw={**_PLAIN, "inputmode": "url"},
    )


class UploadForm(FlaskForm):  # type: ignore[misc]
    """A CSV file."""

    file = FileField(N_("CSV file"), render_kw={"accept": ".csv,.txt,text/csv"})
    skip_bad_lines = BooleanField(
        N_("Save the good lines even if others can't be taken"),
        description=N_("Else nothing is saved until every line is right."),
    )


def _no_or_yes(value: object) -> str:
    """A flag as its choice, spelled as browsers send a ticked box."""
    return "y" if value in (True, "y") else ""


def _html_field(field: Field) -> Any:
    """How a field of a connector is entered. What it may be is checked by the connector."""
    texts = {"label": field.label, "description": field.hint}
    if field.is_secret:
        return PasswordField(**texts, render_kw={**_PLAIN, "autocomplete": "new-password"})
    choices = [SelectChoice(value, label) for value, label in field.choices.items()]
    if field.kind == "flag" and not choices:
        return BooleanField(**texts, default=field.default)
    if field.kind == "flag":
        return SelectField(**texts, choices=choices, default=field.default, coerce=_no_or_yes)
    if field.kind == "choice":
        return SelectField(**texts, choices=choices, default=field.default)
    if field.kind == "number":
        return IntegerField(
            **texts, validators=[Optional()], default=field.default,
            render_kw={"inputmode": "numeric"},
        )  # fmt: skip
    if field.kind == "long_text":
        return TextAreaField(**texts, default=field.default, render_kw={**_PLAIN, "rows": 4})
    more = {"inputmode": "url"} if field.kind == "url" else {}
    return StringField(**texts, default=field.default, render_kw={**_PLAIN, **more})


def connector_form(
    connector: Connector, settings: Mapping[str, Any] | None = None, **more: Any
) -> FlaskForm:
    """Step 2 of an LMS type, filled from ``settings``; from the request when it posts.

    Secrets are never filled in.
    """
    fields = {field.name: _html_field(field) for field in connector.fields}
    values = {key: value for key, value in (settings or {}).items() if value is not None}
    for name in connector.secret_fields:
        values.pop(name, None)
    form: FlaskForm = type("ConnectorForm", (FlaskForm,), fields)(data=values or None, **more)
    return form


def typed(form: FlaskForm) -> dict[str, Any]:
    """What was typed into a connector's form."""
    return {
        # Letters where a number belongs go on as they are: the connector says it in its own words.
        field.short_name: field.raw_data[0]
        if field.process_errors
        else Secret(field.data or "")
        if isinstance(field, PasswordField)
        else field.data
        for field in form
        if not isinstance(field, CSRFTokenField)
    }


def carried(*forms: FlaskForm) -> Iterator[tuple[str, str]]:
    """What was typed as hidden inputs of the wizard's other step: name and value. Never a secret.

    Whoever changes them has changed what they typed: it is all checked when it is saved.
    """
    for form in forms:
        for name, value in typed(form).items():
            if not isinstance(form[name], PasswordField):
                value = ("y" if value else "") if isinstance(value, bool) else value
                yield name, "" if value is None else str(value)


def show_errors(error: InvalidConfiguration, *forms: FlaskForm) -> None:
    """Put the sentences beside their fields; those of no field stand at the first one."""
    for name, sentences in error.errors.items():
        form = next((one for one in forms if name in one), None)
        target = form[name] if form is not None else next(iter(forms[0]))
        target.errors = [*target.errors, *(translate(sentence) for sentence in sentences)]


def told(error: InvalidConfiguration, most: int = 3) -> str:
    """The sentences of an error that belongs to no form, in the reader's language."""
    sentences = [translate(one) for several in error.errors.values() for one in several]
    return " ".join(sentences[:most])


def take_post(form: FlaskForm) -> bool:
    """Whether the form was posted with its token; only the error of that one is kept."""
    form.validate_on_submit()
    for field in form:
        if not isinstance(field, CSRFTokenField):
            field.errors = []
    return bool(form.is_submitted() and not form.errors)
