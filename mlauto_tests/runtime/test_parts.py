"""Parts of layers: made once, kept, checked, and made anew where they are damaged."""

import importlib.util
import json
import os
import sys
from pathlib import Path

import pytest

from mlauto.errors import DeliveryError
from mlauto.runtime.engine import HOME_LABEL, EngineError, EngineImage
from mlauto.runtime.fake_engine import FakeEngine
from mlauto.runtime.parts import Parts, bill
from mlauto.runtime.recipe import Checkout, locked
from mlauto.runtime.wheels import Python, Wheels
from mlauto.settings import Settings
from mlauto_tests.conftest import CHECKOUT
from mlauto_tests.runtime.conftest import PartsEngine

PYTHON = Python("3.11.2", "x86_64", "glibc 2.36")
PLACE = "/opt/venv"


@pytest.fixture
def parts(parting: PartsEngine, contained: Settings, checkout: Path) -> Parts:
    """Of the small checkout."""
    return parts_on(parting, contained, checkout)


def parts_on(engine: FakeEngine, settings: Settings, checkout: Path) -> Parts:
    return Parts(settings, engine, Checkout(checkout), Wheels(settings.cache / "wheels"))


def runs(engine: FakeEngine) -> int:
    return sum(name == "run" for name, _ in engine.calls)


@pytest.fixture
def base(parting: PartsEngine) -> EngineImage:
    """The engine's base, which has pip as well."""
    found = parting.image("base:1")
    assert found is not None
    return found


def test_only_what_is_new_is_made(parts: Parts, parting: PartsEngine, base: EngineImage, checkout: Path) -> None:
    """The second lock has one wheel more: that alone is given to the container; the third time none runs."""
    lock = checkout / "requirements-serving.lock"
    one = parts.installed(locked(lock.read_text()), PLACE, PYTHON, base, base)
    both = locked((checkout / "requirements-sklearn.lock").read_text())
    two = parts.installed(both, PLACE, PYTHON, base, base)

    assert [part.components[0]["name"] for part in two] == [
        "environment",
        "one-1.0-py3-none-any.whl",
        "two-1.0-py3-none-any.whl",
    ]
    assert two[:2] == one
    assert runs(parting) == 2
    assert parts.installed(both, PLACE, PYTHON, base, base) == two
    assert runs(parting) == 2
    newest = list(parting.specs.values())[-1]
    assert [mount.target for mount in newest.mounts if mount.writable] == ["/out"]
    assert newest.network == "none"


def test_what_they_depend_on(parts: Parts, parting: PartsEngine, base: EngineImage, checkout: Path) -> None:
    """Another base, place or program makes them anew."""
    entries = locked((checkout / "requirements-serving.lock").read_text())
    parts.installed(entries, PLACE, PYTHON, base, base)
    parts.installed(entries, "/opt/workshop", PYTHON, base, base)
    parts.installed(entries, PLACE, PYTHON, parting.put("base:2"), base)
    (checkout / "ops" / "image" / "parts.py").write_text("print('other')\n")
    parts.installed(entries, PLACE, PYTHON, base, base)

    assert runs(parting) == 4


def test_a_damaged_one_is_made_anew(
    parts: Parts, parting: PartsEngine, base: EngineImage, contained: Settings, checkout: Path
) -> None:
    """Its digest says so; what was left in the state directory meanwhile is gone."""
    entries = locked((checkout / "requirements-serving.lock").read_text())
    part = parts.installed(entries, PLACE, PYTHON, base, base)[1]
    good = part.archive.read_bytes()
    part.archive.write_bytes(good[:-1] + b"x")
    again = parts.installed(entries, PLACE, PYTHON, base, base)[1]

    assert again == part
    assert again.archive.read_bytes() == good
    assert runs(parting) == 2
    assert list((contained.home / "tmp").iterdir()) == []


def test_one_that_nobody_uses_is_forgotten(
    parts: Parts, base: EngineImage, contained: Settings, checkout: Path
) -> None:
    """When others are made; one that is used stays, however long ago it was made."""
    entries = locked((checkout / "requirements-sklearn.lock").read_text())
    environment, one, two = parts.installed(entries, PLACE, PYTHON, base, base)
    for part in (environment, one, two):
        os.utime(part.archive, (1, 1))
    parts.installed(entries[:1], PLACE, PYTHON, base, base)
    parts.installed(entries[:1], "/opt/workshop", PYTHON, base, base)

    assert [part.archive.exists() for part in (environment, one, two)] == [True, True, False]


def test_code_is_there_for_a_moment(parts: Parts, base: EngineImage, checkout: Path) -> None:
    """It is made for one layer, and not kept."""
    with parts.code(("mlauto/__init__.py", "mlauto/serving"), "/opt/mlauto", base) as part:
        assert part.archive.read_bytes()
        assert part.folders == ("opt",)
    assert not part.archive.exists()
    with (
        pytest.raises(DeliveryError, match="mlauto/nothing is missing"),
        parts.code(("mlauto/nothing",), "/opt/mlauto", base),
    ):
        pass


def test_an_engine_that_shares_no_folder(fake: FakeEngine, contained: Settings, checkout: Path) -> None:
    """Its container ends well, and nothing arrives here: whoever asked must go another way."""
    base = fake.image("base:1")
    assert base is not None
    found = parts_on(fake, contained, checkout)
    entries = locked((checkout / "requirements-serving.lock").read_text())
    with pytest.raises(EngineError, match="does the engine share this machine's folders"):
        found.installed(entries, PLACE, PYTHON, base, base)
    with pytest.raises(EngineError, match="does the engine"), found.code(("mlauto/serving",), "/opt/mlauto", base):
        pass
    assert fake.containers({HOME_LABEL: str(contained.home)}) == []


def test_the_bill_is_the_installers() -> None:
    """Byte for byte, whatever the order of its components."""
    spec = importlib.util.spec_from_file_location("install", CHECKOUT / "ops" / "image" / "install.py")
    assert spec is not None
    assert spec.loader is not None
    installer = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(installer)
    components = [installer._component("pypi", name, "1") for name in "bac"]

    assert bill(components).decode() == json.dumps(installer.sbom(components[::-1]), indent=1)


def test_the_program_that_makes_them(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Run on a folder of code: files alone, equal each time, with bytecode that names no folder of this machine."""
    monkeypatch.syspath_prepend(str(CHECKOUT / "ops" / "image"))
    import parts as program  # type: ignore[import-not-found]

    (tmp_path / "given" / "package").mkdir(parents=True)
    (tmp_path / "given" / "package" / "module.py").write_text("x = 1\n")
    (tmp_path / "given" / "package" / "run").write_text("#!/bin/sh\n")
    (tmp_path / "given" / "package" / "run").chmod(0o755)
    said = []
    for name in ("first", "second"):
        (tmp_path / name).mkdir()
        assert program.main(["code", "/opt/code", str(tmp_path / "given"), str(tmp_path / name)]) == 0
        said.append(((tmp_path / name / "code.tar").read_bytes(), (tmp_path / name / "code.json").read_bytes()))
    assert said[0] == said[1]
    content, described = said[0]

    assert json.loads(described)["folders"] == ["opt", "opt/code", "opt/code/package", "opt/code/package/__pycache__"]
    assert str(tmp_path).encode() not in content
    assert f"module.{sys.implementation.cache_tag}.pyc".encode() in content
    assert b"/opt/code/package/module.py" in content
    del sys.modules["parts"], sys.modules["install"]
