"""The forms. Values are checked by the services, so that pages, commands and code agree; a form
carries what was typed, its token, and the sentences that come back.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from typing import Any, cast

from flask_wtf import FlaskForm
from wtforms import HiddenField, RadioField, SelectField, StringField, TextAreaField
from wtforms.csrf.core import CSRFTokenField

from ..app_state import AppState
from ..connectors.base import Connector
from ..connectors.registry import Registry
from ..errors import InvalidConfiguration, SecretUnreadable
from ..i18n import N_, available, gettext, translate

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
    #: What was typed in step 2, sealed, when one came back from there.
    draft = HiddenField()

    def offer(self, registry: Registry) -> None:
        """Fill in what can be chosen; the only one is chosen already."""
        self.type.choices = [(one.type, gettext(one.label)) for one in registry]
        if not self.type.data and len(registry) == 1:
            self.type.data = self.type.choices[0][0]
        self.language.choices = [(tag, gettext(_LANGUAGES.get(tag, tag))) for tag in available()]

    @property
    def emails(self) -> list[str]:
        return split_emails(self.contact_emails.data)

    def values(self) -> dict[str, Any]:
        """What was typed."""
        return {
            "name": (self.name.data or "")[:1000],
            "type": self.type.data or "",
            "contact_emails": self.emails,
            "language": self.language.data or "en",
        }

    def fill(self, values: Mapping[str, Any]) -> None:
        """Show what was typed before."""
        self.name.data = values["name"]
        self.type.data = values["type"]
        self.contact_emails.data = "\n".join(values["contact_emails"])
        self.language.data = values["language"]


def split_emails(text: str | None) -> list[str]:
    """Addresses on lines of their own, or apart by commas or semicolons."""
    return [part.strip() for part in re.split(r"[\r\n,;]+", text or "") if part.strip()][:100]


def connector_form(
    connector: Connector, settings: Mapping[str, Any] | None = None, **more: Any
) -> FlaskForm:
    """Step 2 of an LMS type, filled from ``settings``; from the request when it posts.

    The choices of its fields are shown in the reader's language; secrets are never filled in.
    """
    values = {key: value for key, value in (settings or {}).items() if value is not None}
    form = connector.form(data=values or None, **more)
    for name in connector.secret_fields:
        form[name].data = form[name].data if form.is_submitted() else None
    return form


def typed(form: FlaskForm, connector: Connector, *, with_secrets: bool = True) -> dict[str, Any]:
    """What was typed into a connector's form, secrets only when asked."""
    return {
        # Letters where a number belongs go on as they are: the connector says it in its own words.
        field.short_name: field.raw_data[0] if field.process_errors else field.data
        for field in form
        if not isinstance(field, CSRFTokenField)
        and (with_secrets or field.short_name not in connector.secret_fields)
    }


def show_errors(error: InvalidConfiguration, *forms: FlaskForm) -> None:
    """Put the sentences beside their fields; those of no field stand at the first one."""
    for name, sentences in error.errors.items():
        form = next((one for one in forms if name in one), None)
        target = form[name] if form is not None else next(iter(forms[0]))
        target.errors = [*target.errors, *(translate(sentence) for sentence in sentences)]


def is_genuine(form: FlaskForm) -> bool:
    """Whether the form was posted with its token; only the error of that one is kept."""
    form.validate_on_submit()
    for field in form:
        if not isinstance(field, CSRFTokenField):
            field.errors = []
    return bool(form.is_submitted() and not form.errors)


# -- drafts --------------------------------------------------------------------------------------


def seal(state: AppState, draft: Mapping[str, Any], owner: Sequence[str]) -> str:
    """What was typed so far, encrypted for a hidden field: nothing half-made is stored, nothing
    can be changed on the way, and no size limit of a cookie applies. Never a secret.
    """
    return state.encryption.encrypt({"draft": json.dumps([list(owner), dict(draft)])})


def unseal(state: AppState, sealed: str | None, owner: Sequence[str]) -> dict[str, Any] | None:
    """What :func:`seal` sealed for this administrator; None: nothing, or somebody else's."""
    try:
        text = state.encryption.decrypt(sealed).get("draft")
    except SecretUnreadable:
        return None
    found_owner, draft = json.loads(text) if text else (None, None)
    return cast("dict[str, Any]", draft) if found_owner == list(owner) else None
