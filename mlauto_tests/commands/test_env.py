"""The lines for `eval "$(mlauto env)"`, tried in a real shell."""

import dataclasses
import subprocess
import sys
from pathlib import Path

from mlauto.commands.env import exports
from mlauto.settings import Settings


def evaluated(text: str, question: str) -> str:
    """What a shell says after it evaluated the lines."""
    script = f'eval "$1"; {question}'
    ran = subprocess.run(
        ["sh", "-c", script, "sh", text],
        env={"PATH": "/usr/bin:/bin", "PYTHONDONTWRITEBYTECODE": "1"},
        capture_output=True,
        text=True,
        check=True,
    )
    return ran.stdout.strip()


def test_a_shell_sees_the_same_installation(settings: Settings) -> None:
    """Settings made from the evaluated environment equal the ones that were printed, blanks in paths included."""
    odd = dataclasses.replace(settings, home=settings.root / "it's a state", gateway_port=8999)
    text = exports(odd, path="/usr/bin:/bin", threads=None)

    variables = dict(line.split("=", 1) for line in evaluated(text, "env").splitlines() if "=" in line)

    seen = Settings.from_environment(variables)
    assert seen.home == odd.home
    assert seen.gateway_port == 8999
    assert seen.defs == odd.defs
    assert (Path(variables["DAGSTER_HOME"]) / "dagster.yaml").is_file()


def test_this_environments_programs_come_first(settings: Settings) -> None:
    """`python` is the one of this environment afterwards; a path that has it already is left alone."""
    programs = str(Path(sys.prefix) / "bin")

    text = exports(settings, path="/usr/bin:/bin", threads=None)

    assert evaluated(text, "command -v python") == f"{programs}/python"
    assert "PATH" not in exports(settings, path=f"/bin:{programs}", threads=None).replace("MLAUTO", "")


def test_bytecode_and_threads(settings: Settings) -> None:
    """Bytecode is on; OpenMP gets one thread unless the user chose a number."""
    assert (
        evaluated(exports(settings, path="", threads=None), "echo ${PYTHONDONTWRITEBYTECODE:-on} $OMP_NUM_THREADS")
        == "on 1"
    )
    assert "OMP_NUM_THREADS" not in exports(settings, path="", threads="4")


def test_nothing_but_our_own_variables(settings: Settings) -> None:
    """Secrets of the calling shell are not printed."""
    names = {
        line.split("=")[0].removeprefix("export ") for line in exports(settings, path="", threads="1").splitlines()
    }

    ours = {name for name in names if name.startswith(("DAGSTER_", "MLAUTO_", "MLFLOW_"))}
    assert names - ours == {"PATH", "VIRTUAL_ENV", "unset PYTHONDONTWRITEBYTECODE"}


def test_the_api_key_is_not_printed(settings: Settings) -> None:
    """The shell has it already."""
    assert "MLAUTO_API_KEY" not in exports(dataclasses.replace(settings, api_keys="a-secret-key"), path="", threads="1")


def test_mlflow_ui_shows_the_same_runs(settings: Settings) -> None:
    """It reads another variable than MLflow's clients; a server that has its own UI needs none."""
    embedded = exports(settings, path="", threads=None)
    server = exports(dataclasses.replace(settings, mlflow_uri="http://mlflow:5000"), path="", threads=None)

    assert evaluated(embedded, 'echo "$MLFLOW_BACKEND_STORE_URI"') == settings.mlflow_uri
    assert "MLFLOW_BACKEND_STORE_URI" not in server
