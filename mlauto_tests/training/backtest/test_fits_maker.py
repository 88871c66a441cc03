"""Many fits made by children: shared out, judged before they are kept, and ended when one goes wrong."""

import io
import threading
import zipfile
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pandas as pd
import pytest
from sklearn.dummy import DummyRegressor

from mlauto.errors import MlautoError, TrainingError
from mlauto.product import ModelProduct
from mlauto.runtime.process import Finished
from mlauto.store import Store
from mlauto.training.backtest.asked_fits import AskedFits
from mlauto.training.backtest.fit_many import FitsRequest, Unit
from mlauto.training.backtest.fits import Fits
from mlauto.training.backtest.fits_maker import Maker
from mlauto.training.backtest.models import Model
from mlauto.training.weighting import ALL

EDGES = tuple(range(0, 501, 50))
UNITS = [Unit(model=Model(batches=count, members=ALL)) for count in range(1, 10)]
Make = Callable[..., ModelProduct]
Leave = Callable[[FitsRequest, Unit, Path], None]


def honest(request: FitsRequest, unit: Unit, path: Path) -> None:
    """What a real child leaves of a fit."""
    frame = pd.DataFrame({"x": np.arange(500.0)})
    where = path.parents[1]
    fits = Fits(
        frame, np.arange(500.0), edges=request.edges, metric="mae", estimator=DummyRegressor(), cache=where,
        inputs=request.inputs,
    )  # fmt: skip
    fits.fit(unit.model)


class Child:
    """A RunPython that leaves for each fit what `leave` writes, ends as `ended` says, and remembers the requests."""

    def __init__(self, names: Callable[[Unit], Path], leave: Leave, ended: Finished | None = None) -> None:
        self.names = names
        self.leave = leave
        self.ended = ended or Finished(0, "all is said\n", 1.0, timed_out=False)
        self.requests: list[FitsRequest] = []
        self.environments: list[Mapping[str, str]] = []

    def __call__(
        self,
        module: str,
        argument: Path,
        *,
        cwd: Path,
        env: Mapping[str, str],
        timeout: float,
        on_line: Callable[[str], None] | None = None,
        reads: Sequence[Path] = (),
        fetch: Sequence[str] = (),
    ) -> Finished:
        request = msgspec.json.decode(argument.read_bytes(), type=FitsRequest)
        self.requests.append(request)
        self.environments.append(env)
        assert (module, cwd) == ("mlauto.training.backtest.fit_many", Path(request.output))
        assert Path(request.frame).parent == cwd
        assert "losses" in fetch
        assert timeout == request.limit * (len(request.units) + 1)
        assert on_line is not None
        for number, unit in enumerate(request.units, start=1):
            self.leave(request, unit, cwd / "losses" / self.names(unit))
            on_line(f"{number} of {len(request.units)} fits")
        return self.ended


@pytest.fixture
def fits(tmp_path: Path) -> AskedFits:
    frame = pd.DataFrame({"x": np.arange(500.0)})
    return AskedFits(frame, np.arange(500.0), edges=EDGES, metric="mae", cache=tmp_path / "kept", inputs="one")


@pytest.fixture
def maker(fits: AskedFits, product: Make, store: Store, tree: Path, tmp_path: Path) -> Callable[..., Maker]:
    """`maker(leave, ended)`: two children at a time, of that kind."""
    pd.DataFrame({"x": np.arange(500.0), "y": np.arange(500.0)}).to_parquet(tmp_path / "frame.parquet")

    def made(leave: Leave = honest, ended: Finished | None = None) -> Maker:
        child = Child(lambda unit: fits.path_of(unit.model, unit.holdout).relative_to(fits.cache), leave, ended)
        return Maker(fits, product(), tree, tmp_path / "frame.parquet", store, child, processes=2)

    return made


def test_the_work_is_shared_out(maker: Callable[..., Maker], fits: AskedFits, store: Store) -> None:
    """Two children with as much each; afterwards every fit is there, was told of, and nothing else is left."""
    told: list[int] = []
    made = maker()
    assert isinstance(made.run_python, Child)

    made.make(UNITS, lambda: told.append(1))

    asked = [[unit.model.batches for unit in request.units] for request in made.run_python.requests]
    assert sorted(asked) == [[1, 3, 5, 7, 9], [2, 4, 6, 8]]
    assert len(told) == 9
    assert [len(fits.fit(unit.model).later) for unit in UNITS] == [9, 8, 7, 6, 5, 4, 3, 2, 1]
    assert {env["OMP_NUM_THREADS"] for env in made.run_python.environments} == {"1"}
    assert not list((store.home / "tmp").iterdir())


@pytest.mark.parametrize(("metric", "asked"), [("auc", "log_loss"), ("error_rate", "error_rate")])
def test_children_are_asked_for_losses_that_single_rows_have(
    fits: AskedFits, product: Make, store: Store, tree: Path, tmp_path: Path, metric: str, asked: str
) -> None:
    """Those of log loss for auc."""
    pd.DataFrame({"x": np.arange(500.0)}).to_parquet(tmp_path / "frame.parquet")
    child = Child(lambda unit: fits.path_of(unit.model, unit.holdout).relative_to(fits.cache), honest)
    made = product(data={"task": "classification"}, monitoring={"metric": metric})

    Maker(fits, made, tree, tmp_path / "frame.parquet", store, child, processes=1).make(UNITS[:1])

    assert [request.metric for request in child.requests] == [asked]


def packed(**arrays: Any) -> bytes:
    buffer = io.BytesIO()
    np.savez_compressed(buffer, **arrays)
    return buffer.getvalue()


def promising() -> bytes:
    """A file whose head promises more numbers than any machine holds."""
    buffer, head = io.BytesIO(), io.BytesIO()
    np.lib.format.write_array_header_1_0(head, {"descr": "<f8", "fortran_order": False, "shape": (1 << 50,)})
    with zipfile.ZipFile(buffer, "w") as file:
        file.writestr("losses.npy", head.getvalue())
        file.writestr("seconds.npy", head.getvalue())
    return buffer.getvalue()


BAD = {
    "other rows": packed(losses=np.zeros(3), seconds=np.float64(1)),
    "no number": packed(losses=np.full(450, np.nan), seconds=np.float64(1)),
    "below zero": packed(losses=np.full(450, -1.0), seconds=np.float64(1)),
    "objects": packed(losses=np.array([{}] * 450, dtype=object), seconds=np.float64(1)),
    "more than asked": packed(losses=np.zeros(450), seconds=np.float64(1), more=np.zeros(1)),
    "a bomb": packed(losses=np.zeros(50_000_000), seconds=np.float64(1)),
    "promises": promising(),
    "large": b"1" * 100_000,
    "nonsense": b"nonsense",
    "nothing": b"",
}


@pytest.mark.parametrize("kind", BAD)
def test_what_is_no_losses_is_not_kept(maker: Callable[..., Maker], fits: AskedFits, kind: str) -> None:
    """Whatever a child leaves in their place, it is named, and nothing of it comes into the cache."""

    def leave(request: FitsRequest, unit: Unit, path: Path) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(BAD[kind])

    with pytest.raises(TrainingError, match="the fit on the first 1 batches left no losses of 450 rows"):
        maker(leave).make(UNITS[:1])
    assert not list(fits.cache.rglob("*.npz"))


def test_what_was_made_before_a_fault_is_kept(maker: Callable[..., Maker], fits: AskedFits, store: Store) -> None:
    """The next run goes on there; the fit in hand is named, with the last lines."""

    def leave(request: FitsRequest, unit: Unit, path: Path) -> None:
        if unit.model.batches < 3:
            honest(request, unit, path)

    ended = Finished(139, "".join(f"line {n}\n" for n in range(100)), 1.0, timed_out=False)
    with pytest.raises(TrainingError) as caught:
        maker(leave, ended).make(UNITS)

    lines = str(caught.value).splitlines()
    assert lines[0] in {f"the fit on the first {n} batches ended its process with exit code 139" for n in (3, 4)}
    assert lines[1:] == [f"line {n}" for n in range(80, 100)]
    assert 1 <= len(list(fits.cache.rglob("*.npz"))) <= 2
    assert not list((store.home / "tmp").iterdir())


def test_a_fit_that_failed_is_an_answer(maker: Callable[..., Maker], fits: AskedFits) -> None:
    """It is told as often as it is asked for; the child was right to go on."""

    def leave(request: FitsRequest, unit: Unit, path: Path) -> None:
        said = {path.stem: "the solver did not converge"}
        Path(request.output, "failed.json").write_bytes(msgspec.json.encode(said))

    maker(leave).make(UNITS[:1])

    with pytest.raises(TrainingError, match="the solver did not converge"):
        fits.fit(UNITS[0].model)


@pytest.mark.parametrize(
    ("ended", "said"),
    [
        (Finished(None, "", 9.0, timed_out=True), "took longer than 1800 s: raise training.timeout"),
        (Finished(1, "", 9.0, timed_out=False, why="the memory limit of 9 MB was reached"), "the memory limit of 9 MB"),
    ],
)
def test_what_stopped_a_child_is_told(maker: Callable[..., Maker], ended: Finished, said: str) -> None:
    """By the fit that it was at."""
    with pytest.raises(TrainingError, match=f"^the fit on the first 1 batches .*{said}"):
        maker(lambda *_: None, ended).make(UNITS[:1])


def test_when_one_child_goes_wrong_the_other_ends_soon(maker: Callable[..., Maker], fits: AskedFits) -> None:
    """After the fit in hand, which is kept."""
    begun, wrong = threading.Event(), threading.Event()

    def leave(request: FitsRequest, unit: Unit, path: Path) -> None:
        if unit.model.batches % 2:
            assert begun.wait(10)
            wrong.set()
            raise MlautoError("there is no room")
        begun.set()
        assert wrong.wait(10)
        threading.Event().wait(0.3)
        honest(request, unit, path)

    with pytest.raises(MlautoError, match="there is no room"):
        maker(leave).make(UNITS)
    assert 0 < len(list(fits.cache.rglob("*.npz"))) < 4
