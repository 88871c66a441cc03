"""What no validator looks at in the vendors' files: order, commands, secrets, pins, time limits, rights."""

import re
import subprocess
from typing import Any

import click
import pytest

from mlauto.ci_cli import ci
from mlauto_tests.conftest import CHECKOUT
from mlauto_tests.ops.conftest import CI, VENDORS, Document, parsed, shell_of, written

WITH_SHELL = [name for name in VENDORS if name != "codepipeline.yaml"]
SECRETS = ("REGISTRY_PASSWORD", "MLAUTO_SSH_KEY")
# https://docs.travis-ci.com: what may stand at the top of .travis.yml; the schema lets anything pass there.
TRAVIS = {
    "language",
    "python",
    "os",
    "dist",
    "git",
    "install",
    "stages",
    "jobs",
    "env",
    "cache",
    "branches",
    "services",
}


def targets() -> set[str]:
    """The Makefile's."""
    return set(re.findall(r"(?m)^([a-z]+):", (CHECKOUT / "Makefile").read_text()))


def made(text: str) -> list[str]:
    """Targets in the order in which make is called with them."""
    return re.findall(r"\bmake ([a-z]+)\b", text)


@pytest.mark.parametrize("name", [*VENDORS, "report"])
def test_nothing_is_missing_or_forgotten(name: str) -> None:
    """One file each, and no other; each says who copies it where."""
    header = written(name).partition("\n\n")[0]

    assert {path.name for path in CI.iterdir()} == {*VENDORS, "report"}
    if name != "report":
        assert "mlauto itself" in header
        assert "team's model repository" in header
        assert "Secrets" in header or "Credentials" in header


@pytest.mark.parametrize("name", WITH_SHELL)
def test_the_project_is_linted_tested_built_and_pushed_in_that_order(name: str) -> None:
    """By its own commands, every one of which is a target of the Makefile."""
    called = [target for piece in shell_of(name) for target in made(piece)]

    assert called == ["check", "test", "images", "push"]
    assert set(called) <= targets()


@pytest.mark.parametrize("name", WITH_SHELL)
def test_the_verdict_is_reported(name: str) -> None:
    """Both of them, by the script, with the full SHA and the page of the run."""
    calls = [piece for piece in shell_of(name) if "ops/ci/report" in piece]

    assert calls
    text = written(name)
    assert "passed" in text
    assert "failed" in text
    assert "mlauto ci report" in text
    words = r"ops/ci/report (passed|failed|\"\$\w+\") \"\$(\w*COMMIT\w*|\w*SHA|\w*SOURCE_VERSION)\" \"\$\w+[^\"]*\""
    assert all(re.search(words, call) for call in calls), calls


def test_the_script_uses_options_that_exist() -> None:
    """`mlauto ci report` knows every one of them, and the last --product is the one that counts."""
    text = written("report")
    command = ci.commands["report"]
    known = {name for option in command.params for name in (*option.opts, *option.secondary_opts)}

    used = set(re.findall(r"(?<![\w-])--[a-z]+(?=[ =\"])", text))
    assert {"--commit", "--url", "--command", "--product"} <= used <= known
    assert {"--passed", "--failed"} <= known
    assert all(not option.multiple for option in command.params if isinstance(option, click.Option))


@pytest.mark.parametrize("name", [*WITH_SHELL, "report"])
def test_the_shell_is_shell(name: str) -> None:
    """Every piece parses; a piece that does not is found."""
    pieces = [written(name)] if name == "report" else shell_of(name)

    assert pieces
    for piece in pieces:
        assert parses(piece), piece
    assert not parses("if true; then")


def parses(piece: str) -> bool:
    return subprocess.run(["bash", "-n"], input=piece, text=True, capture_output=True, check=False).returncode == 0


@pytest.mark.parametrize("name", [*VENDORS, "report"])
def test_secrets_are_never_shown(name: str) -> None:
    """No secret on a command line or in a log, none written into a file of the repository."""
    text = written(name)
    for piece in [*(shell_of(name) if name in WITH_SHELL else []), text if name == "report" else ""]:
        assert not re.search(r"set -[a-z]*x|\bprintenv\b|(?m:^\s*env\s*$)", piece)
        for line in re.split(r"\n|;|&&", piece):
            if re.search(rf"\$\{{?({'|'.join(SECRETS)})\b", line):
                kept = r"printf (%s|'%s(\\n)?') \"\$\w+\" ?(\| ?(\\\n)?(docker login .*--password-stdin|base64 -d)|>\")"
                assert re.search(kept, line) or re.search(r"\[\[ .*\]\]", line) or line.strip().endswith("|"), line
    for login in re.findall(r"docker login [^\n]*", text):
        assert "--password-stdin" in login
        assert not re.search(r"(-p|--password) ", login)
    assert not re.search(r"BEGIN [A-Z ]*PRIVATE KEY-----\n|AKIA[0-9A-Z]{16}|ghp_\w{20}|glpat-\w{10}", text)


def test_github_actions_are_pinned_limited_and_allowed_little() -> None:
    """Actions by commit with their version beside it; no text of strangers in shell; a verdict unless cancelled."""
    text = written("github-actions.yml")
    document = parsed(text)
    jobs: Document = document["jobs"]

    uses = re.findall(r"uses: (.*)", text)
    assert uses
    assert all(re.fullmatch(r"[\w-]+/[\w-]+@[0-9a-f]{40} # v\d+\.\d+\.\d+", use) for use in uses)
    assert document["permissions"] == {"contents": "read"}
    assert all("permissions" not in job for job in jobs.values())
    assert all(0 < job["timeout-minutes"] <= 60 for job in jobs.values())
    assert all("latest" not in job["runs-on"] for job in jobs.values())
    assert not [piece for piece in shell_of("github-actions.yml") if "${{" in piece]
    assert set(jobs["report"]["needs"]) == {"lint", "test"}
    assert "!cancelled()" in jobs["report"]["if"]
    assert jobs["test"]["needs"] == "lint"
    assert jobs["images"]["needs"] == "test"
    assert {name: job["environment"] for name, job in jobs.items() if "secrets." in str(job)} == {
        "report": "mlauto",
        "images": "registry",
    }
    assert "pull_request_target" not in text


def test_gitlab_stages_are_in_order() -> None:
    """Each job in a declared stage; the two reports exclude each other; images are pinned."""
    text = written("gitlab-ci.yml")
    document = parsed(text)
    jobs = {name: job for name, job in document.items() if isinstance(job, dict) and "script" in job}

    assert document["stages"] == ["lint", "test", "report", "images"]
    stage = {name: job.get("stage") or document[job["extends"]]["stage"] for name, job in jobs.items()}
    assert sorted(jobs, key=lambda name: document["stages"].index(stage[name])) == list(jobs)
    assert [rule["when"] for name in jobs if name.startswith("report") for rule in jobs[name]["rules"]] == [
        "on_success",
        "on_failure",
    ]
    assert "timeout" in document["default"]
    assert re.findall(r"image: (\S+)", text) == ["python:3.11-bookworm", "docker:27.5.1-cli"]
    assert "allow_failure" not in text


def test_travis_knows_every_key() -> None:
    """The schema passes unknown ones at the top; a stage that is not declared would run last."""
    document = parsed(written("travis.yml"))
    jobs: list[dict[str, Any]] = document["jobs"]["include"]

    assert set(document) <= TRAVIS
    assert [job["stage"] for job in jobs] == [stage["name"] for stage in document["stages"]]
    assert [job["stage"] for job in jobs] == ["lint", "test", "report", "images"]
    for job in jobs[:2]:  # a later stage does not run after a failure, so these tell by themselves
        assert "ops/ci/report failed" in str(job["after_failure"])
        assert "ops/ci/report passed" not in str(job)
    assert all("timeout" in str(job["script"]) for job in jobs if "make" in str(job))
    assert all("type = push" in stage["if"] for stage in document["stages"][2:])


def test_the_jenkinsfile_has_limits_and_credentials() -> None:
    """Time, builds kept, and secrets by their names in the store; nothing interpolated into shell by Groovy."""
    text = written("Jenkinsfile")

    assert text.count("timeout(time:") == 2
    assert "buildDiscarder(" in text
    assert set(re.findall(r"credentialsId: '([\w-]+)'", text)) == {"mlauto-registry", "mlauto-report"}
    assert not re.search(r"\bsh(\(| )(script: )?\"", text)


def template() -> Document:
    return parsed(written("codepipeline.yaml"))


def test_the_pipeline_asks_a_person_before_it_publishes() -> None:
    """Source, verification, approval, images: in that order, the last two together or not at all."""
    stages = template()["Resources"]["Pipeline"]["Properties"]["Stages"]
    flat = [stage["If"][1] if "If" in stage else stage for stage in stages]

    assert [stage["Name"] for stage in flat] == ["Source", "Verify", "Approve", "Publish"]
    assert [action["ActionTypeId"]["Category"] for stage in flat for action in stage["Actions"]] == [
        "Source",
        "Build",
        "Approval",
        "Build",
    ]
    assert [stage["If"][0] for stage in stages if "If" in stage] == ["Publishes", "Publishes"]
    assert flat[0]["Actions"][0]["Configuration"]["OutputArtifactFormat"] == "CODEBUILD_CLONE_REF"


def test_the_roles_may_do_little() -> None:
    """No action by wildcard, and every one on named resources but the one that knows none."""
    roles = {name: found for name, found in template()["Resources"].items() if found["Type"] == "AWS::IAM::Role"}
    statements = [
        statement["If"][1] if "If" in statement else statement
        for role in roles.values()
        for policy in role["Properties"]["Policies"]
        for statement in policy["PolicyDocument"]["Statement"]
    ]

    assert set(roles) == {"VerifyRole", "PublishRole", "PipelineRole"}
    for statement in statements:
        actions = [statement["Action"]] if isinstance(statement["Action"], str) else statement["Action"]
        assert not [action for action in actions if "*" in action]
        if statement["Resource"] == "*":
            assert actions == ["ecr:GetAuthorizationToken"]
    assert all("ManagedPolicyArns" not in role["Properties"] for role in roles.values())
    assert "ecr:" not in str(roles["VerifyRole"])
    assert "secretsmanager" not in str(roles["PublishRole"])
    assert all("aws:SourceAccount" in str(role["Properties"]["AssumeRolePolicyDocument"]) for role in roles.values())


def test_the_builds_have_limits_and_secrets_of_the_store() -> None:
    """Each task is one that the buildspec knows; only the build of images is privileged."""
    projects = {
        name: found["Properties"]
        for name, found in template()["Resources"].items()
        if found["Type"] == "AWS::CodeBuild::Project"
    }
    environment = {name: found["Environment"] for name, found in projects.items()}
    tasks = {name: found["EnvironmentVariables"][0] for name, found in environment.items()}

    assert tasks == {
        "Verify": {"Name": "TASK", "Value": "verify"},
        "Publish": {"Name": "TASK", "Value": "publish"},
    }
    assert all(f'"$TASK" = {task["Value"]}' in written("buildspec.yml") for task in tasks.values())
    assert all(found["TimeoutInMinutes"] <= 60 for found in projects.values())
    assert {name for name, found in environment.items() if found.get("PrivilegedMode")} == {"Publish"}
    key = [one for one in environment["Verify"]["EnvironmentVariables"] if "MLAUTO_SSH_KEY" in str(one)]
    assert "SECRETS_MANAGER" in str(key)
    assert all((CHECKOUT / found["Source"]["BuildSpec"]).is_file() for found in projects.values())


def test_the_buildspec_has_known_keys_only() -> None:
    """As AWS documents them, for no validator is at hand; the report comes after a failed build as well."""
    document = parsed(written("buildspec.yml"))
    phases: Document = document["phases"]

    assert set(document) == {"version", "env", "phases"}
    assert document["version"] == 0.2
    assert list(phases) == ["install", "pre_build", "build", "post_build"]
    assert all(set(phase) <= {"commands", "on-failure", "runtime-versions"} for phase in phases.values())
    assert all(isinstance(command, str) for phase in phases.values() for command in phase.get("commands", []))
    assert "on-failure" not in phases["build"]
    assert "ops/ci/report" in str(phases["post_build"])


def test_a_failed_task_is_reported_and_pushes_nothing() -> None:
    """The buildspec's last phase, run by a shell with commands that only say their names."""
    [command] = parsed(written("buildspec.yml"))["phases"]["post_build"]["commands"]
    stubs = 'make() { echo "make $*"; }\nreport() { echo "report $*"; }\n'
    script = stubs + command.replace("ops/ci/report", "report")

    def said(task: str, succeeding: str) -> str:
        env = {
            "TASK": task,
            "CODEBUILD_BUILD_SUCCEEDING": succeeding,
            "CODEBUILD_BUILD_ID": "verify:1-2",
            "REGISTRY": "r",
        }
        env |= {"CODEBUILD_RESOLVED_SOURCE_VERSION": "sha", "AWS_REGION": "eu-west-1"}
        return subprocess.run(["bash", "-c", script], env=env, capture_output=True, text=True, check=True).stdout

    page = "https://console.aws.amazon.com/codesuite/codebuild/projects/verify/build/verify:1-2?region=eu-west-1"
    assert said("verify", "1") == f"report passed sha {page}\n"
    assert said("verify", "0") == f"report failed sha {page}\n"
    assert said("publish", "1") == "make push REGISTRY=r\n"
    assert said("publish", "0") == ""
