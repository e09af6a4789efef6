"""The host's Flask-Mail with what it leaves out: time limits and a checked certificate.

Flask-Mail opens connections without a timeout and starts TLS without looking at the certificate.
"""

from __future__ import annotations

import contextlib
import smtplib
import ssl
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

from ..settings import Settings

_QUOTED = Charset("utf-8")
_QUOTED.body_encoding = QP


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
