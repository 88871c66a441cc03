"""The Dockerfile cut to what a target needs, and the locks."""

from pathlib import Path

import pytest

from mlauto.errors import DeliveryError
from mlauto.runtime.recipe import Checkout, configured, locked, needed
from mlauto.settings import PACKAGE

DOCKERFILE = """# what it is
ARG BASE=python:3.11-slim
ARG LOWER=lower

FROM ${BASE} AS tools
RUN make tools

# below
FROM ${BASE} AS lower
COPY --from=tools /a /a

FROM ${BASE} AS beside
RUN something else

FROM ${LOWER} AS upper
COPY code /code
"""
HASH = "a" * 64
LOCK = f"""h11==0.16.0 \\
    --hash=sha256:{HASH} \\
    --hash=sha256:{"b" * 64}
Num_Py==2.4.6 ; python_full_version < '3.12' \\
    --hash=sha256:{HASH}
"""


def stages(text: str) -> list[str]:
    return [line.rpartition(" ")[2] for line in text.splitlines() if line.startswith("FROM")]


def test_only_the_needed_stages_are_left() -> None:
    """What a stage stands on, and what it copies from; nothing else, and no comment."""
    assert stages(needed(DOCKERFILE, "upper", {})) == ["tools", "lower", "upper"]
    assert stages(needed(DOCKERFILE, "beside", {})) == ["beside"]
    assert "#" not in needed(DOCKERFILE, "upper", {})
    assert needed(DOCKERFILE, "beside", {}).startswith("ARG BASE=python:3.11-slim\nARG LOWER=lower\nFROM")


def test_an_argument_replaces_a_stage() -> None:
    """An image that is there already stands in for the stages that make it."""
    assert stages(needed(DOCKERFILE, "upper", {"LOWER": "sha256:1234"})) == ["upper"]


def test_other_stages_and_comments_do_not_change_it() -> None:
    """An image is not built again for what it does not hold."""
    other = DOCKERFILE.replace("something else", "something new").replace("# below", "# another comment")

    assert needed(other, "upper", {}) == needed(DOCKERFILE, "upper", {})
    assert needed(other, "beside", {}) != needed(DOCKERFILE, "beside", {})


def test_a_missing_or_nameless_stage_is_named() -> None:
    """With what there is, or what to do."""
    with pytest.raises(DeliveryError, match="no stage serving: it has tools, lower, beside, upper"):
        needed(DOCKERFILE, "serving", {})
    with pytest.raises(DeliveryError, match="'FROM scratch' names no stage: add AS name"):
        needed("ARG A=b\nFROM scratch\n", "serving", {})


def test_our_own_targets_stand_alone() -> None:
    """Each flavour gets its own stages only."""
    ours = (PACKAGE.parent / "Dockerfile").read_text()

    assert stages(needed(ours, "serving", {})) == ["pip", "installed-serving", "dependencies-serving", "serving"]
    assert stages(needed(ours, "serving", {"SERVING": "x"})) == ["serving"]
    assert stages(needed(ours, "dependencies-workshop", {"SKLEARN": "x"})) == [
        "pip",
        "installed-workshop",
        "dependencies-workshop",
    ]
    assert stages(needed(ours, "orchestrator", {})) == ["tools", "walker", "installed-orchestrator", "orchestrator"]


def test_what_a_stage_says_of_its_image() -> None:
    """As the builder has it: variables are added or replaced, and a new entrypoint drops the command before."""
    before = {"Env": ["PATH=/bin", "A=1"], "Cmd": ["sh"], "User": "0", "Labels": {"a": "b"}}
    text = "ARG A=b\nFROM x AS other\nUSER 1\nFROM ${A} AS wanted\nCOPY a /a\n"
    ours = f'{text}ENV PATH=/opt/bin:/bin B="two words"\nUSER 2:2\nENTRYPOINT ["python", "-P"]\n'

    assert configured(ours, "wanted", before) == {
        "Env": ["PATH=/opt/bin:/bin", "A=1", "B=two words"],
        "Cmd": None,
        "User": "2:2",
        "Entrypoint": ["python", "-P"],
        "Labels": {"a": "b"},
    }
    assert configured(f'{ours}CMD ["x"]\n', "wanted", before)["Cmd"] == ["x"]
    assert configured(ours, "other", before) == {**before, "User": "1"}
    assert configured(text, "wanted", {}) == {}


def test_a_lock_is_read() -> None:
    """Names as indexes spell them, versions, markers, hashes."""
    h11, numpy = locked(LOCK)

    assert (h11.name, h11.version, h11.marker) == ("h11", "0.16.0", "")
    assert h11.hashes == (HASH, "b" * 64)
    assert (numpy.name, numpy.version, numpy.marker) == ("num-py", "2.4.6", "python_full_version < '3.12'")
    assert "\n".join([h11.text, numpy.text]) == LOCK.strip()


@pytest.mark.parametrize("line", ["numpy>=2", "numpy==2.4.6", "-r other.lock"])
def test_a_lock_must_be_exact(line: str) -> None:
    """A version and hashes, or it is none."""
    with pytest.raises(DeliveryError, match="is no entry of a lock"):
        locked(line)


def test_a_checkout_gives_texts_digests_and_copies(tmp_path: Path) -> None:
    """Folders are copied without bytecode, which does not count for their digest either."""
    source, context = tmp_path / "source", tmp_path / "context"
    (source / "package" / "__pycache__").mkdir(parents=True)
    (source / "package" / "one.py").write_text("1")
    (source / "lock").write_text("locked")
    checkout = Checkout(source)
    before = checkout.digest("package")
    (source / "package" / "__pycache__" / "one.pyc").write_text("bytecode")
    checkout.copy(("package", "lock"), context)

    assert checkout.read("lock") == "locked"
    assert checkout.digest("package") == before
    assert checkout.digest("lock") != before
    assert sorted(p.relative_to(context).as_posix() for p in context.rglob("*")) == [
        "lock",
        "package",
        "package/one.py",
    ]
    with pytest.raises(DeliveryError, match="nothing is missing: images are built from a checkout"):
        checkout.read("nothing")
