"""Where notices go: a webhook, a Slack channel, mailboxes. What went wrong is told without any address or password."""

import html
import smtplib
import ssl
import time
from collections.abc import Callable, Mapping
from email.message import EmailMessage
from urllib.parse import SplitResult, unquote, urlsplit

from mlauto.errors import MlautoError
from mlauto.monitoring.notices import Notice
from mlauto.settings import Settings

__all__ = ["NotSentError", "Receiver", "receivers", "slack_body", "webhook_body"]

TIMEOUT_SECONDS = 5.0
LONGEST = 3000  # characters: Slack cuts a text at 4,000

Receiver = Callable[[Notice], None]


class NotSentError(MlautoError):
    """A receiver did not take a notice."""


def receivers(settings: Settings) -> Mapping[str, Receiver]:
    """The receivers that the environment names; each raises `NotSentError` when it does not take a notice."""
    found: dict[str, Receiver] = {}
    if settings.notify_webhook:
        found["webhook"] = lambda notice: _post("webhook", settings.notify_webhook, webhook_body(notice))
    if settings.notify_slack:
        found["slack"] = lambda notice: _post("slack", settings.notify_slack, slack_body(notice))
    if settings.notify_mail and settings.smtp:
        found["mail"] = lambda notice: _mail(settings, notice)
    return found


def webhook_body(notice: Notice) -> dict[str, object]:
    """The notice as JSON, its time in seconds since the epoch and as text."""
    return {
        "key": notice.key,
        "product": notice.product,
        "kind": notice.kind,
        "title": notice.title,
        "text": notice.text[:LONGEST],
        "at": notice.at,
        "time": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(notice.at)),
        "incident": notice.incident,
    }


def slack_body(notice: Notice) -> dict[str, object]:
    """The notice as a Slack message in which nothing is a link or a mention."""
    title, text = (html.escape(words, quote=False) for words in (notice.title, notice.text[:LONGEST]))
    return {"text": f"*{title}*\n{text}"}


def _post(name: str, url: str, body: Mapping[str, object]) -> None:
    import httpx

    try:
        with httpx.Client(timeout=TIMEOUT_SECONDS) as client, client.stream("POST", url, json=body) as answer:
            status = answer.status_code
    except (httpx.HTTPError, httpx.InvalidURL) as error:  # its words may hold the address, which is a secret
        raise NotSentError(f"{name}: {type(error).__name__}") from None
    if not 200 <= status < 300:
        raise NotSentError(f"{name}: HTTP {status}")


def _mail(settings: Settings, notice: Notice) -> None:
    message = EmailMessage()
    message["Subject"] = " ".join(f"[mlauto] {notice.title}".split())
    message["From"] = settings.notify_from
    message["To"] = settings.notify_mail
    message["Message-ID"] = f"<{notice.key.replace('/', '.')}@mlauto>"
    message.set_content(f"{notice.text[:LONGEST]}\n")
    where = urlsplit(settings.smtp)
    try:
        with _connected(where) as server:
            server.send_message(message)
    except (OSError, smtplib.SMTPException, ValueError) as error:
        code = getattr(error, "smtp_code", "")
        raise NotSentError(" ".join(f"mail: {type(error).__name__} {code}".split())) from None


def _connected(where: SplitResult) -> smtplib.SMTP:
    """A connection to the mail server, encrypted where it can be; no password ever goes over one that is not."""
    if where.scheme == "smtps":
        server: smtplib.SMTP = smtplib.SMTP_SSL(
            where.hostname or "", where.port or 465, timeout=TIMEOUT_SECONDS, context=ssl.create_default_context()
        )
    else:
        server = smtplib.SMTP(where.hostname or "", where.port or 25, timeout=TIMEOUT_SECONDS)
        server.ehlo()
        if server.has_extn("starttls"):
            server.starttls(context=ssl.create_default_context())
        elif where.password:
            server.close()
            raise NotSentError(
                "mail: the server offers no STARTTLS, and a password must not be sent without: use smtps://"
            )
    if where.username and where.password:
        server.login(unquote(where.username), unquote(where.password))
    return server
