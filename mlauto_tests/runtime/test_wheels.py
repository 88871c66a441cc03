"""Wheels are fetched once, checked, and chosen for the image's Python."""

import subprocess
from pathlib import Path

import pytest

from mlauto.errors import DeliveryError
from mlauto.runtime.wheels import Python, Wheels
from mlauto_tests.runtime.conftest import entry
from mlauto_tests.runtime.conftest import wheel as made

PYTHON = Python("3.11.2", "x86_64", "glibc 2.36")


def test_they_are_fetched_once(index: Path, tmp_path: Path) -> None:
    """The second build takes what is kept, though the index is gone."""
    wheels = Wheels(tmp_path / "cache")
    one, two = made(index, "one"), made(index, "two")
    entries = [entry(one), entry(two)]
    (tmp_path / "a").mkdir()
    (tmp_path / "b").mkdir()
    wheels.take(entries, PYTHON, tmp_path / "a")
    one.unlink()
    two.unlink()
    taken = wheels.take(entries, PYTHON, tmp_path / "b")

    assert [path.name for path in taken] == [one.name, two.name]
    assert sorted(path.name for path in (tmp_path / "a").iterdir()) == [one.name, two.name]
    assert [path.name for path in (tmp_path / "cache").iterdir()] == ["cp3.11-glibc-2.36-x86_64"]


def test_markers_are_judged_for_the_image(index: Path, tmp_path: Path) -> None:
    """Not for the Python that runs this."""
    old = made(index, "one")
    entries = [entry(old, "python_full_version < '3.12'"), entry(made(index, "two"), "sys_platform == 'win32'")]
    wheels = Wheels(tmp_path / "cache")

    assert [path.name for path in wheels.take(entries, PYTHON, tmp_path)] == [old.name]
    assert wheels.take(entries, Python("3.12.1", "x86_64", "glibc 2.36"), tmp_path) == []


def test_platforms_are_the_images(index: Path, tmp_path: Path) -> None:
    """A wheel for a newer C library, or another Python, is none for this image."""
    (tmp_path / "target").mkdir()
    wheels = Wheels(tmp_path / "cache")
    fits = made(index, "one", tags="cp311-cp311-manylinux_2_36_x86_64")
    assert [path.name for path in wheels.take([entry(fits)], PYTHON, tmp_path / "target")] == [fits.name]
    for tags in ("cp311-cp311-manylinux_2_37_x86_64", "cp312-cp312-manylinux_2_17_x86_64"):
        with pytest.raises(DeliveryError, match=r"cannot be fetched for Python 3\.11:(.|\n)*two"):
            wheels.take([entry(made(index, "two", tags=tags))], PYTHON, tmp_path / "target")


def test_a_wheel_with_another_content_is_refused(index: Path, tmp_path: Path) -> None:
    """By pip when it is fetched; a kept one that was changed is fetched again."""
    wheels = Wheels(tmp_path / "cache")
    path = made(index, "one")
    good = entry(path)
    wheels.take([good], PYTHON, tmp_path)
    (kept,) = (tmp_path / "cache").rglob("*.whl")
    (tmp_path / kept.name).unlink()
    kept.unlink()
    kept.write_bytes(b"evil")
    wheels.take([good], PYTHON, tmp_path)
    assert (tmp_path / path.name).read_bytes() == path.read_bytes()

    kept.unlink()
    path.write_bytes(path.read_bytes() + b"more")
    with pytest.raises(DeliveryError, match=r"(?s)cannot be fetched.*HASHES"):
        wheels.take([good], PYTHON, tmp_path)
    assert list((tmp_path / "cache").glob(".fetch-*")) == []


def test_an_image_says_what_its_python_is() -> None:
    """Asked with the question, this Python itself gives such an answer."""
    import sys

    said = subprocess.run([sys.executable, "-c", Python.QUESTION], capture_output=True, text=True, check=True)
    found = Python.said(said.stdout)

    assert found.minor == f"{sys.version_info[0]}.{sys.version_info[1]}"
    assert Python.said("3.11.2 x86_64 glibc 2.36\n") == PYTHON
    assert PYTHON.platforms[-1] == "manylinux_2_36_x86_64"


@pytest.mark.parametrize("said", ["", "3.11.2 x86_64", "2.7.18 x86_64 glibc 2.36", "sh: python3: not found"])
def test_an_image_without_a_usable_python_is_named(said: str) -> None:
    """Alpine's C library, say, has other wheels."""
    with pytest.raises(DeliveryError, match="take one with Python 3 and the GNU C library"):
        Python.said(said)
