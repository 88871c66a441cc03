"""Notices as they arrive: at a real web server, and at a real mail server."""

import email
import email.policy
from pathlib import Path

import pytest

from mlauto.commands.loop import free_port
from mlauto.monitoring.notices import Notice
from mlauto.orchestration.receivers import NotSentError, receivers, slack_body
from mlauto.settings import Settings
from mlauto_tests.orchestration.listeners import http_listener, mail_listener

NOTICE = Notice(
    key="tides/incident_opened/60.0",
    product="tides",
    kind="incident_opened",
    at=60.0,
    title="tides: incident opened",
    text="mae 9 & <more>, Größe\nsecond line",
    incident=60.0,
)


@pytest.fixture(autouse=True)
def direct(monkeypatch: pytest.MonkeyPatch) -> None:
    """No proxy between us and the loopback interface."""
    for name in ("http_proxy", "https_proxy", "all_proxy"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.upper(), raising=False)


def settings(**given: str) -> Settings:
    return Settings(root=Path("/"), home=Path("/home"), defs=Path("/defs"), **given)  # type: ignore[arg-type]


def test_only_what_is_named_receives() -> None:
    """Nobody, or those whose address is there; mail needs a server as well."""
    assert list(receivers(settings())) == []
    assert list(receivers(settings(notify_mail="a@b.org"))) == []
    assert list(receivers(settings(notify_webhook="http://h", notify_slack="http://s"))) == ["webhook", "slack"]


def test_a_webhook_gets_json() -> None:
    """All of the notice, its time readable as well."""
    with http_listener() as heard:
        receivers(settings(notify_webhook=f"http://127.0.0.1:{heard.port}/hook"))["webhook"](NOTICE)

    assert heard.bodies == [
        {
            "key": "tides/incident_opened/60.0",
            "product": "tides",
            "kind": "incident_opened",
            "title": "tides: incident opened",
            "text": NOTICE.text,
            "at": 60.0,
            "time": "1970-01-01T00:01:00Z",
            "incident": 60.0,
        }
    ]


def test_slack_gets_a_message_without_links() -> None:
    """Its special characters are escaped, so that a commit's words mention nobody."""
    with http_listener() as heard:
        receivers(settings(notify_slack=f"http://127.0.0.1:{heard.port}/services/T/B/x"))["slack"](NOTICE)

    assert heard.bodies == [{"text": "*tides: incident opened*\nmae 9 &amp; &lt;more&gt;, Größe\nsecond line"}]
    assert len(str(slack_body(Notice(**{**vars(NOTICE), "text": "x" * 9000}))["text"])) < 4000


def test_mail_arrives() -> None:
    """To everybody named, with a subject, and in any language."""
    with mail_listener() as heard:
        to = settings(notify_mail="ada@b.org, bob@b.org", smtp=f"smtp://127.0.0.1:{heard.port}")
        receivers(to)["mail"](NOTICE)

    [text] = heard.bodies
    message = email.message_from_bytes(text.encode(), policy=email.policy.default)
    assert (message["Subject"], message["To"]) == ("[mlauto] tides: incident opened", "ada@b.org, bob@b.org")
    assert message["From"] == "mlauto@localhost"
    assert message.get_content().splitlines() == NOTICE.text.splitlines()


@pytest.mark.parametrize("status", [302, 404, 500])
def test_what_a_web_server_does_not_take_is_not_sent(status: int) -> None:
    """Its answer is told, its address is not."""
    with http_listener() as heard:
        heard.status = status
        hook = receivers(settings(notify_webhook=f"http://127.0.0.1:{heard.port}/a-secret"))["webhook"]
        with pytest.raises(NotSentError, match=f"^webhook: HTTP {status}$"):
            hook(NOTICE)


@pytest.mark.parametrize("name", ["webhook", "slack", "mail"])
def test_a_receiver_that_is_down(name: str) -> None:
    """No secret is in the words, nor behind them."""
    port = free_port()
    at = f"http://127.0.0.1:{port}/a-secret"
    to = settings(
        notify_webhook=at, notify_slack=at, notify_mail="a@b.org", smtp=f"smtp://us:a-secret@127.0.0.1:{port}"
    )

    with pytest.raises(NotSentError) as caught:
        receivers(to)[name](NOTICE)

    assert str(caught.value) in {f"{name}: ConnectError", f"{name}: ConnectionRefusedError"}
    assert caught.value.__suppress_context__


def test_an_address_that_is_none() -> None:
    """It is told like a receiver that is down."""
    with pytest.raises(NotSentError, match=r"^webhook: \w+$"):
        receivers(settings(notify_webhook="http://[a-secret"))["webhook"](NOTICE)


def test_mail_that_is_refused() -> None:
    """The mail server says no."""
    with mail_listener() as heard:
        heard.refuse = True
        to = settings(notify_mail="ada@b.org", smtp=f"smtp://127.0.0.1:{heard.port}")
        with pytest.raises(NotSentError, match=r"^mail: SMTPRecipientsRefused"):
            receivers(to)["mail"](NOTICE)


def test_no_password_goes_over_a_line_that_anybody_reads() -> None:
    """A server without STARTTLS gets nothing at all."""
    with mail_listener() as heard:
        to = settings(notify_mail="ada@b.org", smtp=f"smtp://us:a-secret@127.0.0.1:{heard.port}")
        with pytest.raises(NotSentError, match="offers no STARTTLS"):
            receivers(to)["mail"](NOTICE)

    assert heard.bodies == []
