"""Step 2 of an xAPI configuration. Labels and texts are message ids; ``settings`` checks values."""

from __future__ import annotations

from flask_wtf import FlaskForm
from wtforms import (
    BooleanField,
    IntegerField,
    PasswordField,
    SelectField,
    StringField,
    TextAreaField,
)
from wtforms.validators import Optional

from ...words import N_
from .vocabulary import VERSIONS

try:
    from wtforms.fields import SelectChoice
except ImportError:  # before WTForms 3.3 choices were plain tuples

    def SelectChoice(value: str, label: str) -> tuple[str, str]:
        return value, label


ADVANCED = (
    "version",
    "identify",
    "send_name",
    "results",
    "steps",
    "send_completed",
    "batch_statements",
    "one_by_one",
    "ca_pem",
)
SECRET_FIELDS = ("secret",)

# Browsers must neither correct an address nor offer the reader's own password.
_PLAIN = {"autocomplete": "off", "autocapitalize": "none", "spellcheck": "false"}


class XapiForm(FlaskForm):  # type: ignore[misc]  # flask_wtf has no types
    """URL, key and secret; the rest is advanced."""

    url = StringField(
        N_("xAPI URL"),
        description=N_("The address of your LMS's xAPI service, such as https://lms.example/xapi"),
        render_kw={**_PLAIN, "inputmode": "url"},
    )
    key = StringField(
        N_("xAPI Key"),
        description=N_("Also called user name or client ID. It must be allowed to write."),
        render_kw=_PLAIN,
    )
    secret = PasswordField(
        N_("xAPI Key Secret"),
        description=N_("Also called password. It is stored encrypted and never shown again."),
        render_kw={**_PLAIN, "autocomplete": "new-password"},
    )
    version = SelectField(
        N_("xAPI version"),
        choices=[SelectChoice(version, version) for version in VERSIONS],
        default=VERSIONS[0],
        description=N_("Nearly every LMS takes 1.0.3. Choose 2.0.0 only if yours asks for it."),
    )
    identify = SelectField(
        N_("Identify participants by"),
        choices=[
            SelectChoice("mbox", N_("E-mail address")),
            SelectChoice("mbox_sha1sum", N_("Hash of the e-mail address, without a name")),
            SelectChoice("account", N_("Account on this platform")),
        ],
        default="mbox",
        description=N_(
            "Keep it once results were sent: your LMS would take the same people for new ones."
        ),
    )
    send_name = BooleanField(N_("Send the participant's name"), default=True)
    results = SelectField(
        N_("Results to send"),
        choices=[
            SelectChoice("all", N_("All results")),
            SelectChoice("passed", N_("Passed results only")),
        ],
        default="all",
    )
    steps = SelectField(
        N_("Steps of an objective"),
        choices=[
            SelectChoice("summary", N_("As a summary in the result")),
            SelectChoice("statements", N_("As one statement for each step")),
        ],
        default="summary",
    )
    send_completed = BooleanField(
        N_("Also send “completed”"),
        default=False,
        description=N_("For an LMS that takes no notice of “passed” and “failed”."),
    )
    batch_statements = IntegerField(
        N_("Statements in one request"),
        validators=[Optional()],
        description=N_("1 to 500. Leave it empty for the usual number."),
        render_kw={"inputmode": "numeric"},
    )
    one_by_one = BooleanField(
        N_("Send each statement in a request of its own"),
        default=False,
        description=N_("For an LMS that takes no lists of statements."),
    )
    ca_pem = TextAreaField(
        N_("Certificate of your own authority"),
        description=N_("In PEM form. Only for an LMS whose certificate isn't publicly trusted."),
        render_kw={**_PLAIN, "rows": 4},
    )
