"""The words of `mlauto export`."""

from pathlib import Path

import pytest
from click.testing import CliRunner

from mlauto.errors import MlautoError
from mlauto.export_cli import export
from mlauto.settings import Settings


def run(settings: Settings, *words: str, env: dict[str, str] | None = None) -> str:
    done = CliRunner().invoke(export, ["ops", *words], obj=settings, env=env, catch_exceptions=False)
    assert done.exit_code == 0, done.output
    return done.output


def test_every_option_arrives(settings: Settings, tmp_path: Path) -> None:
    """What is written on the command line is what is in the files, and their names are told."""
    words = [
        "--gateway",
        "g:1",
        "--alertmanager",
        "a:2",
        "--prometheus",
        "p:3",
        "--scrape-key",
        "/k",
        "--interval",
        "5s",
    ]
    words += ["--webhook", "file", "--watchdog", "http://w/in", "--slack", "#s", "--mail", "m@x.example"]
    words += ["--mail-from", "f@x.example", "--mail-user", "u", "--smarthost", "x.example:25", "--secrets", "/s"]

    said = run(settings, "--to", str(tmp_path / "out"), *words)
    text = "".join(path.read_text() for path in (tmp_path / "out").rglob("*.yml"))

    for value in (
        "g:1",
        "a:2",
        "http://p:3",
        "/k",
        "5s",
        "/s/webhook_url",
        "http://w/in",
        "/s/slack_url",
        "m@x.example",
    ):
        assert value in text, value
    for value in ("f@x.example", "auth_username: u", "x.example:25", "/s/mail_password"):
        assert value in text, value
    assert f"{tmp_path}/out/rules.yml" in said.splitlines()


def test_options_may_come_from_the_environment(settings: Settings) -> None:
    """So that a check needs no words; by default the files are in the checkout's ops."""
    run(settings, env={"MLAUTO_OPS_SLACK": "#models"})

    assert "#models" in (settings.root / "ops" / "alertmanager.yml").read_text()
    assert "as exported" in run(settings, "--check", env={"MLAUTO_OPS_SLACK": "#models"})
    with pytest.raises(MlautoError, match=r"alertmanager.yml differs"):
        run(settings, "--check")
