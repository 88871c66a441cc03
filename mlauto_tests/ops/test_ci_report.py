"""`ops/ci/report` from a CI's machine to mlauto's; a stand-in for ssh does what sshd does with a forced command."""

import base64
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from mlauto.integration.outside import OutsideVerdict, read_verdicts
from mlauto.settings import Settings
from mlauto.store import Store
from mlauto_tests.ops.conftest import CI, written

SHA = "0a" * 20
KEY = "-----BEGIN OPENSSH PRIVATE KEY-----\nc2VjcmV0\n-----END OPENSSH PRIVATE KEY-----"
SSH = """#!/bin/sh
# What an sshd does for a key whose line of authorized_keys has a command; what it was called with is kept.
printf '%s\\n' "$@" > "$KEPT/arguments"
while [ "$1" != -- ]; do
    [ "$1" = -i ] && cp "$2" "$KEPT/key" && stat -c %a "$2" > "$KEPT/mode"
    shift
done
echo call >> "$KEPT/calls"
[ -n "$BROKEN" ] && exit "$BROKEN"
shift 2
SSH_ORIGINAL_COMMAND="$*" exec bash -c "$FORCED"
"""
Report = Callable[..., subprocess.CompletedProcess[str]]


def forced(product: str) -> str:
    """The command of the line that the script's header tells people to write."""
    [line] = [line for line in written("report").splitlines() if "SSH_ORIGINAL_COMMAND" in line]
    return line.split('command="')[1].split('"')[0].replace("PRODUCT", product)


@pytest.fixture
def report(settings: Settings, tmp_path: Path) -> Report:
    """Runs the script in a CI's environment; `mlauto` and `ssh` are on its PATH, sleeping takes no time."""
    path = settings.defs / "bike" / "defs.yaml"
    path.parent.mkdir(parents=True)
    path.write_text(
        "type: mlauto.ModelProduct\n"
        "attributes:\n"
        "  name: bike\n"
        "  code: {repository: models/bike, estimator: 'bike.model:build', checks: external}\n"
        "  data: {landing: landing/bike, target: target, task: regression}\n"
    )
    programs, kept = tmp_path / "bin", tmp_path / "kept"
    programs.mkdir()
    kept.mkdir()
    start = "import sys; from mlauto.cli import main; sys.exit(main())"
    for name, text in {
        "mlauto": f'#!/bin/sh\nexec "{sys.executable}" -c "{start}" "$@"\n',
        "ssh": SSH,
        "sleep": "#!/bin/sh\n",
    }.items():
        (programs / name).write_text(text)
        (programs / name).chmod(0o755)

    def run(*words: str, **environment: str) -> subprocess.CompletedProcess[str]:
        env = {**settings.environment(), "PATH": f"{programs}:{os.environ['PATH']}", "HOME": str(tmp_path)}
        env |= {"PYTHONPATH": str(CI.parents[1]), "KEPT": str(kept), "FORCED": forced("bike")}
        return subprocess.run(
            [str(CI / "report"), *words],
            env={**env, **environment},
            capture_output=True,
            text=True,
            check=False,
            timeout=60,
            cwd=tmp_path,
        )

    return run


def remote(**more: str) -> dict[str, str]:
    """The variables of a CI that is on another machine."""
    host = {"MLAUTO_HOST": "ci@host", "MLAUTO_KNOWN_HOSTS": "host ssh-ed25519 AAAA"}
    return {"MLAUTO_PRODUCT": "bike", "MLAUTO_SSH_KEY": KEY, **host, **more}


def recorded(settings: Settings) -> tuple[OutsideVerdict, ...]:
    found = read_verdicts(Store(settings.home), "bike", SHA)
    return found.verdicts if found else ()


def test_on_one_machine_mlauto_is_called(settings: Settings, report: Report) -> None:
    """Without a host there is no ssh."""
    done = report("failed", SHA, "https://ci.example/7", MLAUTO_PRODUCT="bike")

    assert done.returncode == 0, done.stderr
    assert f"bike: commit {SHA[:12]} is red (ci.example)" in done.stdout
    assert [verdict.passed for verdict in recorded(settings)] == [False]


@pytest.mark.parametrize("key", [KEY, base64.b64encode(f"{KEY}\n".encode()).decode()], ids=["plain", "base64"])
def test_over_ssh_the_verdict_arrives(settings: Settings, report: Report, tmp_path: Path, key: str) -> None:
    """Through the forced command of the header; the key was in a file for its owner only, which is gone."""
    page = "https://ci.example/job/7?a=1&b=2#x;y"

    done = report("passed", SHA, page, **remote(MLAUTO_SSH_KEY=key))

    assert done.returncode == 0, done.stderr
    [verdict] = recorded(settings)
    assert (verdict.passed, verdict.url, verdict.command) == (True, page, "ci.example")
    kept = tmp_path / "kept"
    assert (kept / "key").read_text() == f"{KEY}\n"
    assert (kept / "mode").read_text().strip() == "600"
    arguments = (kept / "arguments").read_text().split("\n")
    assert "StrictHostKeyChecking=yes" in arguments
    assert not Path(arguments[arguments.index("-i") + 1]).exists()
    assert "PRIVATE" not in done.stdout + done.stderr + str(arguments)


def test_each_workflow_has_a_name_of_its_own(settings: Settings, report: Report) -> None:
    """Otherwise the green one would take the other's place."""
    report("failed", SHA, "https://ci.example/1", **remote(MLAUTO_CHECK="nightly"))
    done = report("passed", SHA, "https://ci.example/2", **remote(MLAUTO_CHECK="-each/push"))

    assert "is red (nightly)" in done.stdout
    assert [(verdict.command, verdict.passed) for verdict in recorded(settings)] == [
        ("-each/push", True),
        ("nightly", False),
    ]


def test_a_key_may_be_a_file(settings: Settings, report: Report, tmp_path: Path) -> None:
    """As Jenkins and GitLab give it; it stays."""
    path = tmp_path / "key"
    path.write_text(KEY)

    done = report("passed", SHA, **remote(MLAUTO_SSH_KEY="", MLAUTO_SSH_KEY_FILE=str(path)))

    assert done.returncode == 0, done.stderr
    assert len(recorded(settings)) == 1
    assert path.exists()


@pytest.mark.parametrize(
    "words",
    ["; touch pwned", "$(touch pwned)", "`touch pwned`", "| tee pwned", "> pwned", "--product tides", "-- x", "*"],
)
def test_a_leaked_key_can_do_nothing_else(settings: Settings, words: str, tmp_path: Path, report: Report) -> None:
    """Whatever is asked of that key: no other command, and no other product."""
    (tmp_path / "kept" / "arguments").touch()
    env = {**settings.environment(), "PATH": f"{tmp_path / 'bin'}:{os.environ['PATH']}"}
    env |= {"PYTHONPATH": str(CI.parents[1]), "SSH_ORIGINAL_COMMAND": f"--commit {SHA} --passed {words}"}

    done = subprocess.run(
        ["bash", "-c", forced("bike")], env=env, cwd=tmp_path, capture_output=True, text=True, check=False
    )

    assert not list(tmp_path.rglob("pwned"))
    assert not Store(settings.home).record_path("tides", f"outside/{SHA}").exists()
    assert done.returncode == (0 if "product" in words else 2), done.stderr
    assert len(recorded(settings)) == (1 if "product" in words else 0)


def test_the_network_gets_three_chances(settings: Settings, report: Report, tmp_path: Path) -> None:
    """A verdict must not be lost to a hiccup, and its loss must fail the job; mlauto's refusal is final."""
    lost = report("passed", SHA, **remote(BROKEN="255"))
    calls = (tmp_path / "kept" / "calls").read_text().count("call")
    refused = report("passed", SHA, **remote(FORCED="exit 1"))

    assert (lost.returncode, calls) == (255, 3)
    assert refused.returncode == 1
    assert (tmp_path / "kept" / "calls").read_text().count("call") == 4
    assert recorded(settings) == ()


def test_a_repository_of_no_model_tells_nobody(settings: Settings, report: Report) -> None:
    """The CI of mlauto itself uses the same files; the log says why nothing is reported."""
    done = report("passed", SHA, "https://ci.example/7")

    assert done.returncode == 0
    assert "MLAUTO_PRODUCT is not set" in done.stdout
    assert recorded(settings) == ()


@pytest.mark.parametrize(
    ("words", "changes", "said"),
    [
        (("green", SHA), {}, "passed or failed?"),
        (("passed", SHA[:7]), {}, "no full commit SHA"),
        (("passed",), {}, "no full commit SHA"),
        (("passed", SHA, "ci/7"), {}, "no http(s) address"),
        (("passed", SHA, "https://x --failed"), {}, "no http(s) address"),
        (("passed", SHA), {"MLAUTO_SSH_KEY": ""}, "neither MLAUTO_SSH_KEY nor MLAUTO_SSH_KEY_FILE"),
        (("passed", SHA), {"MLAUTO_SSH_KEY": "s3cret!"}, "neither a private key nor base64"),
        (("passed", SHA), {"MLAUTO_CHECK": "a b"}, "MLAUTO_CHECK may hold letters"),
        (("passed", SHA), {"MLAUTO_KNOWN_HOSTS": ""}, "MLAUTO_KNOWN_HOSTS is not set"),
    ],
)
def test_what_is_missing_is_named(
    settings: Settings, report: Report, words: tuple[str, ...], changes: dict[str, str], said: str
) -> None:
    """The job fails, and no secret is in its log."""
    done = report(*words, **remote(**changes))

    assert done.returncode == 1
    assert said in done.stderr
    assert "s3cret" not in done.stdout + done.stderr
    assert recorded(settings) == ()
