"""The vendors' files through what really checks them, offline; and each validator finds a fault where there is one."""

import json
import os
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from mlauto_tests.conftest import tool
from mlauto_tests.ops.conftest import CI

Broken = Callable[[str, str, str], Path]
SCHEMAS = {
    "github-actions.yml": ["vendor.github-workflows"],
    "travis.yml": ["vendor.travis"],
    "gitlab-ci.yml": ["vendor.gitlab-ci", "--data-transform", "gitlab-ci"],
}


def ran(name: str, *arguments: str, timeout: float = 60, **environment: str) -> subprocess.CompletedProcess[str]:
    """A tool's exit code and words."""
    program = tool(name)
    assert program is not None
    env = {**os.environ, **environment}
    return subprocess.run(
        [program, *arguments], capture_output=True, text=True, check=False, timeout=timeout, env=env, cwd=CI
    )


def against_schema(name: str, path: Path) -> subprocess.CompletedProcess[str]:
    return ran("check-jsonschema", "--builtin-schema", *SCHEMAS[name], str(path))


@pytest.mark.needs("check-jsonschema")
@pytest.mark.parametrize("name", SCHEMAS)
def test_the_schema_holds(name: str) -> None:
    """The vendor's own schema, as shipped with the validator."""
    done = against_schema(name, CI / name)

    assert done.returncode == 0, done.stdout


@pytest.mark.needs("check-jsonschema")
@pytest.mark.parametrize(
    ("name", "old", "new", "said"),
    [
        ("github-actions.yml", "runs-on: ubuntu-24.04", "runs: ubuntu-24.04", "runs"),
        ("github-actions.yml", "contents: read", "contents: reed", "reed"),
        ("travis.yml", "os: linux", "os: plan9", "plan9"),
        ("gitlab-ci.yml", "when: on_failure", "when: sometimes", "sometimes"),
    ],
)
def test_the_schema_finds_a_fault(broken: Broken, name: str, old: str, new: str, said: str) -> None:
    """A schema that accepts anything would prove nothing."""
    done = against_schema(name, broken(name, old, new))

    assert done.returncode == 1
    assert said in done.stdout


@pytest.mark.needs("cfn-lint")
def test_the_template_is_sound() -> None:
    """CloudFormation's resource schemas, references and conditions: not even a warning."""
    done = ran("cfn-lint", "--include-checks", "W", "--", "codepipeline.yaml", timeout=120)

    assert (done.returncode, done.stdout) == (0, "")


@pytest.mark.needs("cfn-lint")
@pytest.mark.parametrize(
    ("old", "new", "rule"),
    [
        ("!GetAtt VerifyRole.Arn", "!GetAtt NobodysRole.Arn", "E1010"),
        ("Category: Approval", "Category: Aproval", "E3"),
        ("TimeoutInMinutes: 60", "TimeoutInMinute: 60", "E3002"),
        ("ExecutionMode: QUEUED", "ExecutionMode: SOMEHOW", "E3030"),
    ],
)
def test_the_template_linter_finds_a_fault(broken: Broken, old: str, new: str, rule: str) -> None:
    """A reference to nothing, a misspelt category, property and value."""
    path = broken("codepipeline.yaml", old, new)

    done = ran("cfn-lint", "--format", "json", "--", str(path), timeout=120)

    assert done.returncode != 0
    assert any(found["Rule"]["Id"].startswith(rule) for found in json.loads(done.stdout)), done.stdout


def groovy(path: Path) -> subprocess.CompletedProcess[str]:
    """Syntax only: rules of taste are switched off by looking at errors alone."""
    arguments = ["--noserver", "--failon", "error", "--loglevel", "error", "--no-insight", path.name]
    program = tool("npm-groovy-lint")
    assert program is not None
    return subprocess.run(
        [program, *arguments], capture_output=True, text=True, check=False, timeout=200, cwd=path.parent
    )


@pytest.mark.slow
@pytest.mark.needs("npm-groovy-lint")
def test_the_jenkinsfile_is_groovy(broken: Broken) -> None:
    """It parses; without one brace it does not, and the line is named."""
    sound = groovy(broken("Jenkinsfile", "// Jenkins, declarative.", "// Jenkins."))
    faulty = groovy(broken("Jenkinsfile", "stages {", "stages"))

    assert sound.returncode == 0, sound.stdout
    assert faulty.returncode == 1
    assert "Unexpected input" in faulty.stdout
