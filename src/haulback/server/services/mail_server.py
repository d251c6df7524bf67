"""Mail: an attempt to send a message through the mail server of a channel."""

from __future__ import annotations

import smtplib
import socket
import ssl
from contextlib import closing, suppress
from email.message import EmailMessage
from typing import NamedTuple

from haulback.contract.notifications import MailSecurity
from haulback.server.services.connection_limit import ConnectionLimit
from haulback.server.services.notifications import PORTS
from haulback.units import counted

TIMEOUT_SECONDS = 20.0  # seconds of each step of the SMTP dialogue
LONGEST_SECONDS = 300.0  # seconds of the whole dialogue; shorter than the lease of a message
_PERMANENT = 500  # SMTP codes from this number on are permanent refusals of a message


class MailServer(NamedTuple):
    """A mail server: `address` is the checked address, `host` the name in its certificate."""

    host: str
    address: str
    port: int | None
    security: MailSecurity
    login: str = ""
    password: str = ""
    certificate: str = ""


class MailAnswer(NamedTuple):
    """The result of an attempt.

    `is_final` is true if another attempt would have the same result; `is_silent` is true if the
    server did not answer.
    """

    is_good: bool
    text: str
    is_final: bool = False
    is_silent: bool = False


class _Smtp(smtplib.SMTP):
    """A connection to an address, under the name of its host."""

    address = ""
    limit: ConnectionLimit

    def _get_socket(self, host: str, port: int, timeout: float) -> socket.socket:
        plain = socket.create_connection((self.address, port), timeout)
        self.limit.watch(plain)
        return plain


class _SmtpTls(smtplib.SMTP_SSL):
    """Like `_Smtp`, with TLS from the start."""

    address = ""
    limit: ConnectionLimit

    def _get_socket(self, host: str, port: int, timeout: float) -> socket.socket:
        plain = socket.create_connection((self.address, port), timeout)
        self.limit.watch(plain)
        return self.context.wrap_socket(plain, server_hostname=host)


def send(server: MailServer, mail: EmailMessage, recipients: list[str]) -> MailAnswer:
    """Send a mail once, within LONGEST_SECONDS; a fault is returned as a result."""
    with ConnectionLimit(LONGEST_SECONDS) as limit:
        answer = _sent(server, mail, recipients, limit)
    if limit.is_over and answer.is_silent:
        text = f"{server.host} did not accept the mail within {LONGEST_SECONDS:.0f} seconds"
        return MailAnswer(False, text, is_silent=True)
    return answer


def _sent(
    server: MailServer, mail: EmailMessage, recipients: list[str], limit: ConnectionLimit
) -> MailAnswer:
    try:
        with closing(_connected(server, limit)) as smtp:
            refused = smtp.send_message(mail, to_addrs=recipients)
            with suppress(smtplib.SMTPException, OSError):
                smtp.quit()  # the server took the mail; its answer to QUIT does not matter
    except smtplib.SMTPRecipientsRefused as error:
        codes = [code for code, _ in error.recipients.values()]
        is_final = all(code >= _PERMANENT for code in codes)
        return MailAnswer(
            False, f"{server.host} accepted no recipient: {_refused(error.recipients)}", is_final
        )
    except (smtplib.SMTPSenderRefused, smtplib.SMTPDataError) as error:
        is_final = error.smtp_code >= _PERMANENT
        return MailAnswer(False, f"{server.host} refuses the mail: {_said(error)}", is_final)
    except smtplib.SMTPAuthenticationError as error:
        return MailAnswer(False, f"{server.host} refuses the login: {_said(error)}")
    except smtplib.SMTPNotSupportedError as error:
        return MailAnswer(False, f"{_place(server)}: {_remedy_of_missing(error)}")
    except smtplib.SMTPException as error:
        is_silent = isinstance(error, smtplib.SMTPServerDisconnected)
        text = f"{server.host}: {error or type(error).__name__}"
        return MailAnswer(False, text, is_silent=is_silent)
    except (OSError, UnicodeError) as error:
        return MailAnswer(False, f"{_place(server)} {_unreachable(error)}", is_silent=True)
    if refused:
        return MailAnswer(True, f"sent, but not to {_refused(refused)}")
    many = counted(len(recipients), "recipient")
    return MailAnswer(True, f"{server.host} accepted the mail for {many}")


def _place(server: MailServer) -> str:
    return f"{server.host}:{server.port or PORTS[server.security]}"


def _remedy_of_missing(error: smtplib.SMTPNotSupportedError) -> str:
    """The sentence for an extension that the server lacks."""
    if "STARTTLS" in str(error):
        return "the server offers no STARTTLS: set `security` to TLS or NONE, or correct `port`"
    return f"{error}; correct `port`, `security` or `login`"


def _unreachable(error: Exception) -> str:
    """The end of the sentence for a server without an answer to a mail."""
    if isinstance(error, ssl.SSLCertVerificationError):
        return (
            f"has a certificate that is not trusted ({error.verify_message}): give its "
            "`certificate`, or correct `host`"
        )
    if isinstance(error, ssl.SSLError):
        return "does not speak TLS from the start: set `security` to STARTTLS or NONE, or `port`"
    why = getattr(error, "strerror", None) or str(error) or type(error).__name__
    return f"cannot be reached: {why}; check `host`, `port` and `security`"


def _connected(server: MailServer, limit: ConnectionLimit) -> smtplib.SMTP:
    """A connection with TLS and login as the server's settings demand."""
    port = server.port or PORTS[server.security]
    context = ssl.create_default_context()
    if server.certificate:
        context.load_verify_locations(cadata=server.certificate)
    smtp: _Smtp | _SmtpTls = (
        _SmtpTls(timeout=TIMEOUT_SECONDS, context=context)
        if server.security is MailSecurity.TLS
        else _Smtp(timeout=TIMEOUT_SECONDS)
    )
    smtp.address, smtp.limit = server.address, limit
    # The name against which a certificate is checked; `connect` does not set it.
    smtp._host = server.host  # type: ignore[union-attr]
    try:
        smtp.connect(server.host, port)
        if server.security is MailSecurity.STARTTLS:
            smtp.starttls(context=context)
        if server.login:
            smtp.login(server.login, server.password)
    except BaseException:
        smtp.close()
        raise
    return smtp


def _said(error: smtplib.SMTPResponseException) -> str:
    text = error.smtp_error
    words = text.decode(errors="replace") if isinstance(text, bytes) else str(text)
    return f"{error.smtp_code} {words}"


def _refused(recipients: dict[str, tuple[int, bytes]]) -> str:
    told = [
        f"{address} ({code} {text.decode(errors='replace')})"
        for address, (code, text) in recipients.items()
    ]
    return ", ".join(told)[:1000]
