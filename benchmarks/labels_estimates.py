"""Estimates without labels beside NannyML's, on the same rows; NannyML runs in an environment of its own."""

import json
import subprocess
import tempfile
from pathlib import Path

import numpy as np
import pandas as pd
from figures import Figure
from numpy.typing import NDArray
from serving_environments import environment

from mlauto.monitoring.comparison import Outcome, outcome_losses
from mlauto.monitoring.quality.estimated import Answered, estimate, estimator_of

Floats = NDArray[np.float64]
PINS = (
    "nannyml==0.13.1",
    "statsmodels==0.14.4",
    "pandas==2.2.3",
    "numpy==1.26.4",
    "scikit-learn==1.5.2",
    "scipy==1.13.1",
)
PEER = Path(__file__).parent / "peers" / "labels_nannyml.py"
REFERENCE, CHUNK = 3000, 1000
CLASSES = (0, 1)
SURE = 2.0  # times the right logits: probabilities that need calibration


def binary(random: np.random.Generator, centre: float, rows: int) -> pd.DataFrame:
    """A classifier that is too sure, on rows around that logit."""
    logits = random.normal(centre, 1.5, rows)
    odds = 1 / (1 + np.exp(-SURE * logits))
    truth = (random.random(rows) < 1 / (1 + np.exp(-logits))).astype(int)
    return pd.DataFrame({"x": logits, "odds": odds, "said": (odds > 0.5).astype(int), "truth": truth})


def numbers(random: np.random.Generator, centre: float, rows: int) -> pd.DataFrame:
    """A regression whose errors grow with x."""
    x = np.abs(random.normal(5 + centre, 2, rows))
    truth = 3 * x + random.normal(0, 0.5 + x / 2)
    return pd.DataFrame({"x": x, "noise": random.normal(size=rows), "said": 3 * x, "truth": truth})


def answered(frame: pd.DataFrame) -> list[Answered]:
    """Rows as the live loop has them."""
    odds = frame["odds"] if "odds" in frame else [None] * len(frame)
    rows = frame.drop(columns=["truth", "said", "odds"], errors="ignore").to_dict("records")
    said = zip(frame["truth"].tolist(), frame["said"].tolist(), odds, strict=True)
    told = [Outcome(truth, guess, None if p is None else [1 - p, p]) for truth, guess, p in said]
    return [({str(name): value for name, value in row.items()}, one) for row, one in zip(rows, told, strict=True)]


def ours(metric: str, reference: pd.DataFrame, chunks: list[pd.DataFrame]) -> tuple[Floats, Floats]:
    """What we estimate of each chunk, and what was realised."""
    classes = CLASSES if metric == "error_rate" else ()
    estimator = estimator_of(metric, answered(reference), classes)
    if estimator is None:
        raise ValueError(f"{metric} cannot be estimated from {len(reference)} rows")
    found, real = [], []
    for chunk in chunks:
        rows = answered(chunk)
        guess = estimate(estimator, rows, classes)
        found.append(np.nan if guess is None else guess.quality.value)
        real.append(float(outcome_losses(metric, [one for _, one in rows], classes).mean()))
    return np.array(found), np.array(real)


def figures(quick: bool) -> list[Figure]:
    """Mean absolute differences; `UnavailableError` when NannyML's environment cannot be made."""
    random, count = np.random.default_rng(11), 8 if quick else 40
    centres = np.linspace(-0.5, 2.0, count)
    python = environment(Path(tempfile.gettempdir()) / "mlauto-labels-peers", "nannyml", PINS)
    rows: list[Figure] = []
    with tempfile.TemporaryDirectory() as folder:
        worlds = {"binary": ("error_rate", binary), "numbers": ("mae", numbers)}
        told = {}
        for kind, (metric, made) in worlds.items():
            reference = made(random, 0.0, REFERENCE)
            chunks = [made(random, centre, CHUNK) for centre in centres]
            reference.to_csv(Path(folder) / f"{kind}_reference.csv", index=False)
            pd.concat(chunks).to_csv(Path(folder) / f"{kind}_analysis.csv", index=False)
            told[kind] = ours(metric, reference, chunks)
        command = [str(python), str(PEER), folder, str(CHUNK)]
        said = subprocess.run(command, check=True, capture_output=True, text=True, timeout=900).stdout
    theirs = json.loads(said)
    for kind, name, scale in (("binary", "CBPE error rate, points", 100.0), ("numbers", "DLE mae, %", 0.0)):
        mine, real = told[kind]
        other = np.array(theirs[kind])
        unit = scale or 100.0 / float(real.mean())
        us, them = unit * np.abs(mine - real).mean(), unit * np.abs(other - real).mean()
        rows += [
            (
                f"{name}: from NannyML's estimate",
                unit * float(np.abs(mine - other).mean()),
                "<=",
                0.5 if scale else 3.0,
            ),
            (f"{name}: from what was realised", float(us), "<=", 1.5 if scale else 3.0),
            (f"{name}: our distance over NannyML's", float(us / them), "<=", 1.25),
        ]
    return rows
