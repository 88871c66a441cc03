"""The command line from outside: exit codes, one red sentence per error, JSON for programs, and a quick start."""

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import click
import pytest

from mlauto.cli import cli, main
from mlauto.settings import Settings

COMMANDS = {
    "approve",
    "backtest",
    "ci",
    "demo",
    "dev",
    "docs",
    "doctor",
    "env",
    "export",
    "gateway",
    "live",
    "new",
    "predictions",
    "replay",
    "rollback",
    "schema",
    "status",
    "why",
}
Run = Callable[..., tuple[int, str, str]]


@pytest.fixture
def run(settings: Settings, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Run:
    """Runs a command in this process, on this test's own state directory."""
    for name, value in settings.environment().items():
        monkeypatch.setenv(name, value)

    def command(*words: str) -> tuple[int, str, str]:
        code = main(words)
        out, err = capsys.readouterr()
        return code, out, err

    return command


def test_all_commands_are_there() -> None:
    """The documented commands, each with a line of help."""
    assert set(cli.commands) == COMMANDS
    assert all(command.help for command in cli.commands.values())


def test_help_needs_no_settings(run: Run) -> None:
    """Every command's help is printed and exits 0."""
    for words in [["--help"], *([name, "--help"] for name in sorted(COMMANDS))]:
        code, out, _ = run(*words)

        assert code == 0
        assert out.startswith("Usage: mlauto")


def test_an_error_is_one_red_sentence(run: Run) -> None:
    """Exit code 1, nothing on standard output, no traceback."""
    code, out, err = run("why", "nonsense")

    assert (code, out) == (1, "")
    assert err.startswith("mlauto: 'nonsense' is no prediction id")
    assert "Traceback" not in err
    assert len(err.splitlines()) == 1


def test_debug_adds_the_traceback(run: Run) -> None:
    """The same sentence comes last."""
    code, _, err = run("--debug", "why", "nonsense")

    assert code == 1
    assert err.startswith("Traceback")
    assert err.splitlines()[-1].startswith("mlauto: 'nonsense'")


def test_a_wrong_setting_is_an_error_like_any_other(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    """The variable is named."""
    monkeypatch.setenv("MLAUTO_GATEWAY_PORT", "http")

    code, _, err = run("status")

    assert code == 1
    assert "MLAUTO_GATEWAY_PORT='http'" in err


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["statu"], "No such command"),
        (["why"], "Missing argument"),
        (["replay", "nowhere.csv"], "does not exist"),
        (["replay", __file__, "--target", "y", "--task", "clustering"], "'classification', 'regression'"),
        (["replay", __file__, "--target", "y", "--task", "regression", "--batches", "1"], "x>=2"),
        (["dev", "--port", "0"], "1<=x<=65535"),
    ],
)
def test_wrong_usage(run: Run, words: list[str], said: str) -> None:
    """Exit code 2, and click's own words."""
    code, out, err = run(*words)

    assert (code, out) == (2, "")
    assert said in err


def test_status_without_products_says_what_to_do(run: Run) -> None:
    """The first thing a newcomer may type."""
    code, out, _ = run("status")

    assert code == 0
    assert "mlauto new NAME --from FILE.csv" in out
    assert run("status", "--json")[1].strip() == "[]"


def test_status_of_one_product_and_of_all(run: Run, settings: Settings) -> None:
    """Products that have state are shown, as text and as JSON; an unknown one is an error."""
    for name in ("bike", "elec"):
        (settings.product_home(name)).mkdir(parents=True)

    every, one = json.loads(run("status", "--json")[1]), json.loads(run("status", "bike", "--json")[1])
    code, _, err = run("status", "bikes")

    assert [product["product"] for product in every] == ["bike", "elec"]
    assert [product["product"] for product in one] == ["bike"]
    assert "bike" in run("status")[1]
    assert code == 1
    assert "known: bike, elec" in err


def test_status_names_what_is_wrong_with_a_yaml(run: Run, settings: Settings) -> None:
    """File and line, after what the products did so far."""
    path = settings.defs / "bike" / "defs.yaml"
    path.parent.mkdir(parents=True)
    path.write_text("type: mlauto.ModelProduct\nattributes:\n  name: bike\n  trainig: {retrain: economy}\n")

    code, out, err = run("status")

    assert code == 1
    assert "bike" in out
    assert f"{path}:4: trainig: there is no such key; did you mean 'training'? (2 more)" in err


def test_why_as_json(run: Run, settings: Settings) -> None:
    """What the log holds comes out, also for a version without records."""
    log = settings.product_home("bike") / "predictions" / "predictions-00000000.jsonl"
    log.parent.mkdir(parents=True)
    log.write_text('{"id": "00000000-00000001-abcd", "t": 1.0, "v": "1", "ms": 2.0, "rows": [{"a": 1}], "y": [3]}\n')

    code, out, _ = run("why", "00000000-00000001-abcd", "--json")

    assert code == 0
    assert json.loads(out)["predictions"] == [3]
    assert "a=1 -> 3" in run("why", "00000000-00000001-abcd")[1]


def test_doctor_answers_in_both_forms(run: Run) -> None:
    """The exit code is the verdict."""
    code, out, _ = run("doctor")
    findings = json.loads(run("doctor", "--json")[1])

    assert code == any(finding["status"] == "missing" for finding in findings)
    assert {"Python", "git", "bytecode", "disk", "memory", "versions"} <= {finding["name"] for finding in findings}
    assert "Python" in out


def test_env_is_for_a_shell(run: Run, settings: Settings) -> None:
    """The state directory of this process is in it."""
    code, out, _ = run("env")

    assert code == 0
    assert f"export MLAUTO_HOME={settings.home}" in out


def test_schema_is_json(run: Run) -> None:
    """It is the schema of the whole document."""
    code, out, _ = run("schema")

    assert code == 0
    assert json.loads(out)["properties"]["type"] == {"const": "mlauto.ModelProduct"}


def test_rollback_of_an_unknown_product(run: Run) -> None:
    """Nothing is started for a name that does not exist."""
    code, _, err = run("rollback", "nope")

    assert code == 1
    assert "no product 'nope'" in err


def test_an_interrupted_command(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    """Ctrl-C is exit code 130 and a word, not a traceback."""

    @click.command()
    def interrupted() -> None:
        raise KeyboardInterrupt

    monkeypatch.setitem(cli.commands, "status", interrupted)

    code, _, err = run("status")

    assert code == 130
    assert err.strip().endswith("mlauto: interrupted")


def test_the_command_line_starts_light(settings: Settings) -> None:
    """Importing it imports no command's body and nothing heavy."""
    script = "import sys, mlauto.cli; print(sorted(sys.modules))"
    ran = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    loaded = set(ran.stdout.replace("'", "").strip("[]\n").split(", "))

    assert "click" in loaded
    assert not loaded & {
        "dagster",
        "pandas",
        "numpy",
        "mlflow",
        "sklearn",
        "great_expectations",
        "httpx",
        "rich",
        "yaml",
    }
    assert not {name for name in loaded if name.startswith("mlauto.commands")}


def test_the_installed_program(settings: Settings) -> None:
    """`mlauto` beside this Python works from any directory, and hands its exit code on."""
    program = Path(sys.executable).with_name("mlauto")
    environment = {**os.environ, **settings.environment()}

    good = subprocess.run(
        [program, "status"], cwd=settings.root, env=environment, capture_output=True, text=True, check=False
    )
    bad = subprocess.run(
        [program, "why", "x"], cwd=settings.root, env=environment, capture_output=True, text=True, check=False
    )

    assert (good.returncode, bad.returncode) == (0, 1)
    assert "No product yet" in good.stdout
    assert bad.stderr.startswith("mlauto: 'x'")
