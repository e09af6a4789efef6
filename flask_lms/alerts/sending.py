"""Due mail rows go out through the host's Flask-Mail: each is claimed, sent and marked.

Flask-Mail opens connections without a timeout and starts TLS without looking at the certificate;
:class:`Connection` adds both.
"""

from __future__ import annotations

import contextlib
import logging
import smtplib
import ssl
import uuid
from dataclasses import dataclass
from datetime import datetime, timedelta
from email.charset import QP, Charset
from email.header import Header
from email.mime.base import MIMEBase
from email.mime.multipart import MIMEMultipart
from email.mime.text import MIMEText
from email.policy import compat32
from email.utils import formatdate
from types import TracebackType
from typing import Any

import flask_mail
import jinja2
import sqlalchemy as sa
from sqlalchemy.orm import Session

from .. import audit, events
from ..app_state import AppState
from ..database.models import Configuration, Mail
from ..database.types import update
from ..errors import LMSError
from ..settings import Settings
from ..values import Administrator
from . import incidents, operators, queue, rules, texts, unsubscribe
from .rules import Kind
from .texts import clean

_log = logging.getLogger(__name__)
_QUOTED = Charset("utf-8")
_QUOTED.body_encoding = QP
#: A claim without an outcome is taken over after this, longer than all time limits together.
_CLAIM = timedelta(minutes=15)
_SENDING, _SENDING_AGAIN = "sending", "sending_again"
#: The cause of the operators' incident.
_FAULT = "mail"
#: A banner for administrators after this; shorter hitches mend themselves.
_PATIENCE = timedelta(minutes=2)
_WORTH_TELLING = timedelta(minutes=5)


class _Noted:
    """An SMTP client that remembers whether a mail's content was on its way."""

    has_begun_data = False

    def data(self, msg: Any) -> Any:
        self.has_begun_data = True
        answer = super().data(msg)  # type: ignore[misc]
        self.has_begun_data = False
        return answer


class _Smtp(_Noted, smtplib.SMTP):
    pass


class _SmtpSsl(_Noted, smtplib.SMTP_SSL):
    pass


class Connection(flask_mail.Connection):
    """A connection to the host's mail server.

    :param mail: the app's Flask-Mail state.
    """

    def __init__(self, mail: Any, settings: Settings) -> None:
        super().__init__(mail)
        self._settings = settings

    def configure_host(self) -> smtplib.SMTP | smtplib.SMTP_SSL:
        """Connect, secure and sign in.

        :raises OSError: also ``ssl.SSLError``: not reached in time, or not to be trusted.
        :raises smtplib.SMTPException: the server refuses.
        """
        server, port = self.mail.server, int(self.mail.port or 0)
        timeout = self._settings.mail_timeout_seconds
        host: smtplib.SMTP | smtplib.SMTP_SSL
        if self.mail.use_ssl:
            host = _SmtpSsl(server, port, timeout=timeout, context=self._context())
        else:
            host = _Smtp(server, port, timeout=timeout)
        try:
            host.set_debuglevel(0)  # it would print addresses and credentials
            if self.mail.use_tls:
                host.starttls(context=self._context())
            if self.mail.username and self.mail.password:
                host.login(self.mail.username, self.mail.password)
        except BaseException:
            host.close()
            raise
        return host

    def _context(self) -> ssl.SSLContext:
        context = ssl.create_default_context()
        context.minimum_version = ssl.TLSVersion.TLSv1_2
        if self._settings.ca_bundle:
            context.load_verify_locations(self._settings.ca_bundle)
        return context

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc_value: BaseException | None,
        tb: TracebackType | None,
    ) -> None:
        """Leave politely when the server still listens."""
        if self.host is not None:
            with contextlib.suppress(OSError, smtplib.SMTPException):
                self.host.quit()
            self.host.close()

    @property
    def has_begun_data(self) -> bool:
        """Whether the last mail may have been taken although no answer came back."""
        return bool(getattr(self.host, "has_begun_data", False))


class AlertMessage(flask_mail.Message):
    """A mail of ours: its own Message-ID, quoted-printable parts, no wrapped-up addresses.

    Flask-Mail's own parts are sent as 8 bits, and its headers folded in a way that breaks long
    addresses in ``List-Unsubscribe``.
    """

    def _message(self) -> MIMEBase:
        message = MIMEMultipart("alternative", policy=compat32)
        message.attach(MIMEText(self.body or "", "plain", _QUOTED))  # type: ignore[arg-type]
        message.attach(MIMEText(self.html or "", "html", _QUOTED))  # type: ignore[arg-type]
        sender = flask_mail.sanitize_address(self.sender)
        charset = None if self.subject.isascii() else "utf-8"
        message["Subject"] = Header(self.subject, charset)  # type: ignore[assignment]
        message["From"] = sender
        message["To"] = ", ".join(flask_mail.sanitize_addresses(self.recipients))
        message["Date"] = formatdate(self.date)
        message["Message-ID"] = self.msgId
        for name, value in (self.extra_headers or {}).items():
            # one line each: RFC 5322 allows 998, and folding would break an address in two
            message[name] = Header(value, maxlinelen=900)  # type: ignore[assignment]
        return message

    def as_bytes(self) -> bytes:
        """The mail as it goes out, lines ended by CR LF."""
        return self._message().as_bytes(policy=compat32.clone(linesep="\r\n"))


class _ServerDown(LMSError):
    """No mail can go out now, whichever it is."""


@dataclass(frozen=True, kw_only=True)
class MailProblem:
    """The mail server takes no mails.

    :param reason: what it said, or why it wasn't reached; for operators.
    :param waiting: mails that wait for it.
    """

    since: datetime
    reason: str
    waiting: int


def send_test(state: AppState, configuration: Configuration, by: Administrator | str | None) -> int:
    """Queue a test alert to each contact; commits.

    :returns: how many will be sent; 0 after the fifth in a day.
    """
    session = state.session()
    now = state.clock.now(session)
    earlier = session.scalar(
        sa.select(sa.func.count(sa.distinct(Mail.created_at))).where(
            Mail.configuration_id == configuration.id,
            Mail.kind == Kind.TEST.value,
            Mail.created_at > now - rules.DAY,
        )
    )
    if (earlier or 0) >= rules.TEST_CAP:
        return 0
    queued = queue.queue(
        state,
        session,
        kind=Kind.TEST,
        facts={
            "configuration_id": str(configuration.id),
            "name": configuration.name,
            "type": configuration.type,
            "status": configuration.health.status.value,
            "by": by.name if isinstance(by, Administrator) else by,
            "at": now.isoformat(),
        },
        now=now,
        configuration=configuration,
    )
    if queued:
        audit.write(
            session,
            organization_id=configuration.organization_id,
            action="test_alert_sent",
            at=now,
            by=by,
            configuration=configuration,
            changes={"recipients": queued},
        )
    session.commit()
    audit.tell(state)
    return queued


def problem(state: AppState) -> MailProblem | None:
    """Why alerts don't go out, for the banner; None: they do."""
    session = state.session()
    incident = operators.find_fault(session, _FAULT)
    if incident is None or state.clock.now(session) - incident.opened_at < _PATIENCE:
        return None
    waiting = session.scalar(
        sa.select(sa.func.count()).where(Mail.state == "waiting", Mail.attempts > 0)
    )
    return MailProblem(
        since=incident.opened_at,
        reason=str(incident.facts.get("reason", "")),
        waiting=waiting or 0,
    )


def send_due(state: AppState, limit: int = 50) -> int:
    """Send up to ``limit`` mails that are due; returns how many left. Commits after each.

    A mail server that is down delays them all by 1, 5, 15, 60, 60 … minutes, for four days.
    """
    session = state.session()
    now = state.clock.now(session)
    due = session.scalars(
        sa.select(Mail.id)
        .where(Mail.state == "waiting", Mail.due_at <= now)
        .order_by(Mail.id)
        .limit(limit)
    ).all()
    session.commit()
    if not due:
        return 0
    sent = 0
    try:
        with contextlib.ExitStack() as stack:
            server = _Server(state, stack)
            for mail_id in due:
                now = state.clock.now(session)
                mail = _claim(state, session, server, mail_id, now)
                if mail is not None:
                    sent += _send(state, session, server, mail, now)
    except _ServerDown as error:
        # All mails that are due wait, so that one attempt in a while finds out, not one a mail.
        session.rollback()
        now = state.clock.now(session)
        for mail in session.scalars(
            sa.select(Mail).where(Mail.state == "waiting", Mail.due_at <= now).order_by(Mail.id)
        ):
            mail.attempts += 1
            _postpone(mail, now)
        facts = {"reason": str(error)}
        operators.operator_fault(state, session, _FAULT, facts, now, patience=None)
        session.commit()
    return sent


def _sender(state: AppState) -> Any:
    return state.settings.mail_sender or state.app.extensions["mail"].default_sender


class _Server:
    """The mail server, connected to when the first mail needs it."""

    def __init__(self, state: AppState, stack: contextlib.ExitStack) -> None:
        self._state = state
        self._stack = stack
        self._connection: Connection | None = None
        self._is_own = True

    def connect(self) -> None:
        """Connect, once.

        :raises _ServerDown: it can't be.
        """
        if self._connection is not None:
            return
        if not _sender(self._state):
            raise _ServerDown("no sender: set LMS_MAIL_SENDER or MAIL_DEFAULT_SENDER")
        self._is_own = type(self._state.mail).send is flask_mail.Mail.send
        connection = Connection(self._state.app.extensions["mail"], self._state.settings)
        if self._is_own:
            try:
                self._stack.enter_context(connection)
            except (OSError, smtplib.SMTPException) as error:
                raise _ServerDown(_words(error)) from error
        self._connection = connection

    def send(self, message: AlertMessage) -> None:
        """Hand one mail over. A host whose Mail class sends in a way of its own is left to it."""
        assert self._connection is not None
        if self._is_own:
            self._connection.send(message)
        else:
            self._state.mail.send(message)

    @property
    def has_begun_data(self) -> bool:
        return self._connection is not None and self._connection.has_begun_data


def _words(error: BaseException) -> str:
    """An error in one line, without the addresses that smtplib repeats in it."""
    if isinstance(error, smtplib.SMTPResponseException):
        said = error.smtp_error
        text = said.decode("utf-8", "replace") if isinstance(said, bytes) else str(said)
        return clean(f"{error.smtp_code} {text}")
    return clean(f"{type(error).__name__}: {error}")


def _claim(
    state: AppState, session: Session, server: _Server, mail_id: uuid.UUID, now: datetime
) -> Mail | None:
    """A mail to be sent by this process and no other; committed before anything is sent.

    :returns: None when it isn't to be sent now, or never: then its row says why.
    :raises _ServerDown: no mail can be sent.
    """
    mail = session.get(Mail, mail_id, populate_existing=True)
    if mail is None or mail.state != "waiting" or mail.due_at > now:
        session.rollback()
        return None
    # What must not be sent any more.
    reason = None
    if mail.configuration_id is not None:
        configuration = session.get(Configuration, mail.configuration_id, populate_existing=True)
        reason = queue.objection(configuration, mail.recipient)
    elif mail.kind == Kind.OPERATOR.value and mail.recipient not in state.settings.operator_emails:
        reason = "no_contact"
    if mail.reason == _SENDING_AGAIN:
        mail.state, mail.reason = "failed", "unknown"
    elif now - mail.created_at >= rules.GIVE_UP:
        mail.state, mail.reason = "failed", mail.reason or "too_late"
    elif reason is not None:
        mail.state, mail.reason = "skipped", reason
    elif refusal := queue.quota(session, mail, now, only_sent=True).refusal(Kind(mail.kind)):
        mail.state, mail.reason, mail.due_at = "skipped", refusal, now
    # The mail of a recovery must not overtake the mail that says what was wrong.
    earlier = None
    if mail.state == "waiting" and mail.incident_id is not None:
        earlier = session.scalar(
            sa.select(sa.func.max(Mail.due_at)).where(
                Mail.incident_id == mail.incident_id,
                Mail.recipient == mail.recipient,
                Mail.state == "waiting",
                Mail.id < mail.id,
            )
        )
        if earlier is not None:
            mail.due_at = max(earlier, mail.due_at)
    is_ready = mail.state == "waiting" and earlier is None
    attempts = mail.attempts  # as read; after the commit it would be read anew
    session.commit()
    if not is_ready:
        return None
    server.connect()
    # More attempts than it had when it was found due: another process took it.
    is_ours = update(
        session,
        sa.update(Mail)
        .where(Mail.id == mail.id, Mail.state == "waiting", Mail.attempts == attempts)
        .values(
            attempts=Mail.attempts + 1,
            due_at=now + _CLAIM,
            reason=_SENDING_AGAIN if mail.reason == _SENDING else _SENDING,
        ),
    )
    session.commit()
    session.refresh(mail)
    return mail if is_ours else None


def _send(state: AppState, session: Session, server: _Server, mail: Mail, now: datetime) -> bool:
    """Send a claimed mail and note what became of it; True: it left.

    :raises _ServerDown: no mail can be sent.
    """
    try:
        message = _message(state, mail)
    except jinja2.TemplateError:
        _log.exception("the templates of a mail are at fault", extra={"mail_id": mail.id.hex})
        mail.state, mail.reason = "failed", "template"
        session.commit()
        return False
    session.commit()  # no transaction is open while the mail server answers
    try:
        server.send(message)
    except (
        smtplib.SMTPRecipientsRefused,
        smtplib.SMTPDataError,
        smtplib.SMTPNotSupportedError,
    ) as error:
        # The server takes others, but not this one: for now (4xx) or for good (5xx).
        refused: smtplib.SMTPException = error
        if isinstance(error, smtplib.SMTPRecipientsRefused):
            refused = smtplib.SMTPResponseException(*next(iter(error.recipients.values())))
        code = getattr(refused, "smtp_code", 550)
        mail.reason = _words(refused)[:500]
        if 400 <= code < 500:
            _postpone(mail, now)
        else:
            mail.state = "failed"
        session.commit()
        _log.warning("a mail was refused: %s", code, extra={"mail_id": mail.id.hex})
        return False
    except (OSError, smtplib.SMTPException) as error:
        if not server.has_begun_data:  # so it is no claim without an outcome
            mail.reason = None
        _postpone(mail, now)
        session.commit()
        raise _ServerDown(_words(error)) from error
    mail.state, mail.reason, mail.sent_at = "sent", None, now
    session.commit()
    _server_is_up(state, session)
    events.tell(
        events.alert_sent,
        state.app,
        events.AlertSent(
            organization_id=mail.organization_id,
            configuration_id=mail.configuration_id,
            kind=mail.kind,
            recipient=mail.recipient,
            mail_id=mail.id,
            at=now,
        ),
    )
    return True


def _postpone(mail: Mail, now: datetime) -> None:
    at = rules.retry_at(mail.attempts, mail.created_at, now)
    if at is None:
        mail.state, mail.reason = "failed", mail.reason or "too_late"
    else:
        mail.due_at = at


def _message(state: AppState, mail: Mail) -> AlertMessage:
    composed = texts.compose(state, mail)
    # RFC 5322 (threads), RFC 3834 (automatic), RFC 2369 and 8058 (to be left with one click)
    headers: dict[str, Any] = {
        "Auto-Submitted": "auto-generated",
        "X-Auto-Response-Suppress": "OOF, AutoReply",
        "Content-Language": mail.language,
    }
    references = mail.facts.get("references") or []
    if references:
        headers["In-Reply-To"] = references[-1]
        headers["References"] = " ".join(references)
    if mail.configuration_id is not None:
        url = unsubscribe.url(state, mail.configuration_id, mail.recipient, mail.created_at)
        headers["List-Unsubscribe"] = f"<{url}>"
        headers["List-Unsubscribe-Post"] = "List-Unsubscribe=One-Click"
    message = AlertMessage(
        subject=composed.subject,
        recipients=[mail.recipient],
        body=composed.text,
        html=composed.html,
        sender=_sender(state),
        date=mail.created_at.timestamp(),
        extra_headers=headers,
    )
    message.msgId = mail.message_id
    return message


def _server_is_up(state: AppState, session: Session) -> None:
    """A mail left: when none did before, those that wait for the server are due at once."""
    incident = operators.find_fault(session, _FAULT)
    if incident is None:
        return
    now = state.clock.now(session)
    if incidents.close(session, incident, now):
        _log.warning("the mail server takes mails again")
        update(
            session,
            sa.update(Mail)
            .where(Mail.state == "waiting", Mail.due_at > now, Mail.reason.is_(None))
            .values(due_at=now),
        )
        if now - incident.opened_at >= _WORTH_TELLING:
            operators.tell_past(state, session, _FAULT, {}, incident.opened_at, now)
    session.commit()
