"""JUnit reports, hostile ones included."""

import os
from pathlib import Path

import pytest

from mlauto.integration.junit import MOST_BYTES, read_junit


def written(tmp_path: Path, text: str) -> Path:
    path = tmp_path / "junit.xml"
    path.write_text(text)
    return path


def test_counts_and_failures(tmp_path: Path) -> None:
    """Tests are counted over all suites; failures and errors are named with their message on one line."""
    junit = read_junit(
        written(
            tmp_path,
            "<testsuites><testsuite><testcase classname='tests.test_a' name='test_x'/>"
            "<testcase classname='tests.test_a' name='test_y'><failure message='assert 1\n == 2'>trace</failure>"
            "</testcase><testcase name='test_z'><skipped/></testcase></testsuite>"
            "<testsuite><testcase name='broken'><error>boom</error></testcase></testsuite></testsuites>",
        )
    )

    assert junit is not None
    assert junit.tests == 4
    assert junit.failures == ("tests.test_a::test_y: assert 1 == 2", "broken: boom")


def test_failures_are_bounded(tmp_path: Path) -> None:
    """Neither many failures nor a long message make a long report."""
    case = f"<testcase name='t'><failure message='{'x' * 10_000}'/></testcase>"

    junit = read_junit(written(tmp_path, f"<testsuite>{case * 100}</testsuite>"))

    assert junit is not None
    assert (junit.tests, len(junit.failures), len(junit.failures[0])) == (100, 20, 500)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "<testsuite>",
        "<!DOCTYPE x [<!ENTITY a 'b'>]><testsuite>&a;</testsuite>",
        "<testsuite>" + " " * MOST_BYTES + "</testsuite>",
    ],
    ids=["empty", "cut off", "entities", "huge"],
)
def test_useless_reports_say_nothing(text: str, tmp_path: Path) -> None:
    """What is not whole, has a DTD or is too large is not read."""
    assert read_junit(written(tmp_path, text)) is None


def test_entities_in_another_encoding_are_not_expanded(tmp_path: Path) -> None:
    """UTF-16 would hide a DTD from a search for it."""
    path = tmp_path / "junit.xml"
    path.write_bytes("<?xml version='1.0'?><!DOCTYPE x [<!ENTITY a 'b'>]><t>&a;</t>".encode("utf-16"))

    assert read_junit(path) is None
    assert read_junit(tmp_path / "missing.xml") is None


def test_a_pipe_in_its_place_is_none(tmp_path: Path) -> None:
    """It would never end."""
    os.mkfifo(tmp_path / "junit.xml")

    assert read_junit(tmp_path / "junit.xml") is None
