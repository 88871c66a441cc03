"""The Jenkinsfile as a controller would judge it, and mistakes that Groovy lets pass."""

import pytest

from mlauto_tests.ops.conftest import written
from mlauto_tests.ops.declarative import faults, pipeline, stage_names


def test_the_jenkinsfile_is_declarative() -> None:
    """Nothing that a controller would refuse; lint before tests before images before the push."""
    found = pipeline(written("Jenkinsfile"))

    assert faults(found) == []
    assert stage_names(found) == ["Verify", "Lint", "Test", "Images", "Push"]


def test_the_verdict_is_reported_after_the_tests_only() -> None:
    """Every end of the verification but an abortion is a verdict; a push that fails is none."""
    verify, images, push = (pipeline(written("Jenkinsfile")).block("stages") or pipeline("")).blocks

    post = verify.block("post")
    assert post is not None
    said = {block.name: (block.block("script") or block).statements for block in post.blocks}
    assert said == {
        "success": ["report(<passed>)"],
        "unstable": ["report(<failed>)"],
        "failure": ["report(<failed>)"],
    }
    assert images.block("post") is None
    assert "report" not in str(push)


@pytest.mark.parametrize(
    ("old", "new", "fault"),
    [
        ("agent { label 'docker' }", "", "pipeline: no agent"),
        ("stages {\n        stage('Verify')", "phases {\n        stage('Verify')", "pipeline: phases is no section"),
        ("sh 'make check'", "def code = sh('make check')", "stage Lint: def is no step"),
        ("sh 'make check'", "", "stage Lint: no step"),
        ("unstable {", "unsteady {", "stage Verify: unsteady is no condition of post"),
        (
            "success { script { report('passed') } }",
            "success { if (true) { echo 'x' } }",
            "post success: if is no step",
        ),
        ("success { script { report('passed') } }", "script { report('passed') }", "script is no condition of post"),
        ("stage('Test')", "stage('Lint')", "stage Lint: twice"),
        ("stage('Images') {", "stage('Images') {\n sh 'true'\n", "stage Images: sh is no section"),
        ("stage('Lint') {", "stage('Lint') { steps { sh 'true' } ", "stage Lint: 2 bodies"),
        ("options { timeout(time: 40", "option { timeout(time: 40", "stage Test: option is no section"),
    ],
)
def test_mistakes_that_groovy_lets_pass(old: str, new: str, fault: str) -> None:
    """Each is found, and named with its stage."""
    text = written("Jenkinsfile")
    assert old in text

    found = faults(pipeline(text.replace(old, new, 1)))

    assert any(fault in one for one in found), found


@pytest.mark.parametrize("text", ["pipeline {", "pipeline { } }", "node { }", "pipeline { } pipeline { }"])
def test_what_is_no_pipeline(text: str) -> None:
    """Braces that do not match, and none or two pipelines."""
    with pytest.raises(ValueError, match=r"brace|pipelines"):
        pipeline(text)


def test_braces_in_strings_and_comments_are_none() -> None:
    """Shell holds many of them."""
    text = """pipeline { agent any // }
    stages { stage("a {") { steps { sh 'echo ${X}' /* } */ } } } }"""

    assert faults(pipeline(text)) == []
    assert stage_names(pipeline(text)) == ["a _"]
