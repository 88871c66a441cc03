"""The model card: what a person who meets this model should know, in Markdown (after Mitchell et al. 2019)."""

from collections.abc import Iterable, Sequence
from datetime import UTC, datetime

from mlauto.product import ModelProduct
from mlauto.records import CheckOutcome, Commit, Score, TrainingSet
from mlauto.training.exchange import Evaluation
from mlauto.training.weighting import members_of

__all__ = ["model_card"]

SHOWN = 12


def model_card(
    product: ModelProduct,
    *,
    commit: Commit,
    training_set: TrainingSet,
    evaluation: Evaluation,
    checks: Sequence[CheckOutcome],
    key: str,
    reason: str,
    trained: float,
    searched: str = "",
    line: str = "",
) -> str:
    """The card as Markdown; `searched` says what a search of parameters found, if there was one.

    `line` is the version whose fits it averages anew, if it was not fitted itself.
    """
    data = product.data
    when = datetime.fromtimestamp(trained, UTC).strftime("%Y-%m-%d %H:%M UTC")
    sections = [
        f"# {product.name}",
        f"{evaluation.estimator} for {data.task} of `{data.target}`, trained {when}. Why: {reason}.",
        "## Intended use",
        product.description or f"Predictions of `{data.target}` from the columns below. Nothing else was considered.",
        *([f"Owners: {', '.join(product.owners)}."] if product.owners else []),
        "## Quality",
        _protocol(evaluation, line),
        _scores(evaluation.scores, evaluation.baseline),
        "\n".join(f"- {'passed' if check.passed else 'FAILED'} `{check.name}`: {check.summary}" for check in checks),
        "## Data",
        _data(product, training_set, evaluation),
        *([f"Never features: {', '.join(f'`{name}`' for name in data.exclude)}."] if data.exclude else []),
        "## What it relies on",
        _importances(evaluation),
        "## Limits",
        _limits(evaluation),
        "## How to reproduce",
        _reproduction(product, commit, evaluation, key),
        *([f"Search of parameters: {searched}."] if searched else []),
    ]
    return "\n\n".join(sections) + "\n"


def _protocol(evaluation: Evaluation, line: str) -> str:
    after = f"afterwards it was fitted again on all {evaluation.rows:,} rows"
    if line:
        after = f"its fits are those of version {line}, on {evaluation.rows:,} older rows, averaged anew"
    return f"On the newest {evaluation.scores[0].rows:,} rows, which it was not fitted on; {after}. Intervals: 95 %."


def _data(product: ModelProduct, training_set: TrainingSet, evaluation: Evaluation) -> str:
    found = evaluation.averaged.strange if evaluation.averaged else ()
    keys = ", ".join(f"`{batch.key}`" for batch in training_set.batches if batch.digest in found)
    strange = f" Strange by themselves, so left out of fits since this was found: {keys}." if keys else ""
    return (
        f"{len(training_set.batches)} batches, {training_set.rows:,} rows, digest `{training_set.digest[:16]}`. "
        f"{_history(product, evaluation)}: {evaluation.weights}.{strange}"
    )


def _history(product: ModelProduct, evaluation: Evaluation) -> str:
    if evaluation.averaged is None:
        return f"Fitted on {' and '.join(str(one.history) for one in members_of(product.training))}, sample weights"
    parts = zip(evaluation.averaged.histories, evaluation.averaged.shares, strict=True)
    moved = ""
    if evaluation.averaged.amount:
        what = "log-odds of the second class" if product.data.task == "classification" else "predictions"
        moved = f"; {what} {evaluation.averaged.amount:+.3g}, as the newest labelled batches ask for"
    return (
        "Average of fits on " + ", ".join(f"{name} ({share:.0%})" for name, share in parts) + moved + "; sample weights"
    )


def _scores(scores: Iterable[Score], baseline: Iterable[Score]) -> str:
    floor = {score.metric: score.value for score in baseline}
    rows = [
        f"| {score.metric} | {score.value:.4g} | {score.low:.4g} to {score.high:.4g} | {floor[score.metric]:.4g} |"
        for score in scores
        if score.metric in floor
    ]
    return "\n".join(["| metric | value | interval | constant prediction |", "|---|---|---|---|", *rows])


def _importances(evaluation: Evaluation) -> str:
    if not evaluation.importances:
        return "Not measured."
    rows = [f"| `{i.column}` | {i.mean:.4g} ± {i.deviation:.2g} |" for i in evaluation.importances[:SHOWN]]
    hidden = len(evaluation.importances) - len(rows)
    note = [f"\n{hidden} more columns matter less."] if hidden else []
    return "\n".join(["| column | growth of the loss when shuffled |", "|---|---|", *rows, *note])


def _limits(evaluation: Evaluation) -> str:
    kinds = {"missing": "rows with missing values", "unseen": "rows with a category that never occurred"}
    refused = [f"- It cannot answer {kinds[name]}: {why}." for name, why in evaluation.refused.items()]
    return "\n".join(
        [
            "- It knows the world of its training data. Live quality is measured; when it suffers, it is replaced.",
            *(refused or ["- Missing values and unseen categories were tried and are answered."]),
        ]
    )


def _reproduction(product: ModelProduct, commit: Commit, evaluation: Evaluation, key: str) -> str:
    seeds = ", ".join(f"`{name}`" for name in evaluation.seeded) or "nothing took one"
    return "\n".join(
        [
            f"- Code: commit `{commit.sha}` ({_plain(commit.subject)}), estimator `{product.code.estimator}`",
            f"- Key of code, data, parameters and dependencies: `{key[:16]}`",
            f"- Seed {product.training.seed}, given to: {seeds}",
            f"- Installed: {', '.join(f'`{pin}`' for pin in evaluation.requirements)}",
        ]
    )


def _plain(subject: str) -> str:
    """A commit's subject without what Markdown would take for markup."""
    return "".join(f"\\{letter}" if letter in "\\`*_[]<>|" else letter for letter in subject)
