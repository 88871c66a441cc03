"""What each asset does, across the rooms, without Dagster: one function per asset, idempotent, keyed by content.

Rooms never import one another; what one needs of another is handed over here.
"""

import time
from collections.abc import Callable, Mapping, Sequence

from mlauto.delivery.decisions import approve
from mlauto.errors import DeliveryError, TrainingError
from mlauto.orchestration import rollouts
from mlauto.orchestration.known import keep_known
from mlauto.orchestration.label_lag import label_lag
from mlauto.orchestration.live_model import live_model
from mlauto.orchestration.platform import Platform
from mlauto.orchestration.problems import keeps_problem
from mlauto.orchestration.profiles import keep_profile
from mlauto.orchestration.workshops import check_tested
from mlauto.product import ModelProduct
from mlauto.records import Batch, CiReport, Deployment, Image, TrainedModel, TrainingSet, VerifiedCommit
from mlauto.runtime.base import Answer

__all__ = [
    "LogLine",
    "abort_rollout",
    "assemble_training_set",
    "build_model_image",
    "deploy_to_test",
    "release",
    "report_commit",
    "roll_back_release",
    "take_batch",
    "train_model",
    "verify_newest_commit",
]

LogLine = Callable[[str], None]


@keeps_problem("ci_report")
def report_commit(platform: Platform, product: ModelProduct, sha: str, log: LogLine) -> CiReport:
    """The verdict on one commit; it is not tested twice, nor when it was tested outside."""
    from mlauto.orchestration.reports import report_on

    return report_on(platform, product, sha, log)


def verify_newest_commit(platform: Platform, product: ModelProduct) -> VerifiedCommit:
    """The newest green commit in branch order. Raises `TrainingError` when there is none yet."""
    from mlauto.integration.tracking import verify

    verified = verify(platform.store, product.name, platform.mirror(product))
    if verified is None:
        raise TrainingError(f"{product.name}: no commit on {product.code.branch} has passed its checks yet")
    return verified


@keeps_problem("batch")
def take_batch(platform: Platform, product: ModelProduct, key: str) -> Batch:
    """Read, type, validate and store one arrival; what does not pass goes to quarantine."""
    from mlauto.training.batches.ingest import ingest
    from mlauto.training.batches.landing import FolderLanding
    from mlauto.training.batches.quality import validate

    suite = platform.settings.defs / product.name / product.data.expectations
    return ingest(
        product,
        key,
        store=platform.store,
        landing=FolderLanding(platform.settings.resolve(product.data.landing)),
        validate=lambda frame: validate(frame, suite),
    )


@keeps_problem("training_set")
def assemble_training_set(platform: Platform, product: ModelProduct, log: LogLine) -> TrainingSet:
    """The manifest of the accepted batches and their weights; the new ones are scored by the live version first."""
    from mlauto.training.prequential import score_arrivals
    from mlauto.training.training_set import assemble
    from mlauto.training.weighting import members_of

    training_set = assemble(platform.store, product.name, members_of(product.training))
    champion = live_model(platform.store, product)
    predict = _champion_predict(platform, product, champion)
    lag = label_lag(platform.store, product)
    for problem in score_arrivals(platform.store, product, training_set, champion, predict, lag=lag):
        log(problem)
    return training_set


def _verified(platform: Platform, product: ModelProduct) -> VerifiedCommit:
    verified = platform.store.read_record(product.name, "verified_commit", VerifiedCommit)
    if verified is None:
        raise TrainingError(f"{product.name}: no verified commit yet: materialize {product.name}/verified_commit first")
    return verified


def _training_set(platform: Platform, product: ModelProduct) -> TrainingSet:
    training_set = platform.store.read_record(product.name, "training_set", TrainingSet)
    if training_set is None or not training_set.batches:
        raise TrainingError(f"{product.name}: no training set yet: land a data file, or materialize its batch")
    return training_set


@keeps_problem("model")
def train_model(
    platform: Platform, product: ModelProduct, reason: str, log: LogLine, *, renew: bool = False
) -> TrainedModel:
    """Fit at the verified commit on the training set; the same inputs give the model that is there already.

    To `renew` is to average the live version's fits anew instead.
    """
    from mlauto.training.train import train

    commit = _verified(platform, product).commit
    training_set = _training_set(platform, product)
    champion = live_model(platform.store, product)
    check_tested(platform, product, commit, log)
    workshop, tree = platform.workshop, platform.tree(product, commit)
    trained = train(
        product,
        commit,
        tree,
        training_set,
        store=platform.store,
        registry=platform.registry,
        run_python=workshop.python(tree),
        environment=workshop.environment(),
        image=workshop.image(),
        address=platform.settings.engine_address(product.training.backend),
        lag=label_lag(platform.store, product),
        champion=champion,
        champion_predict=_champion_predict(platform, product, champion),
        reason=reason,
        renew=renew,
        now=time.time(),
        on_line=log,
    )
    keep_profile(platform, product, trained)
    keep_known(platform, product, trained)
    return trained


def _champion_predict(
    platform: Platform, product: ModelProduct, champion: TrainedModel | None
) -> Callable[[Sequence[Mapping[str, object]]], Answer] | None:
    """The live champion's own predictions, asked of its own process; started again if it does not run."""
    if champion is None:
        return None
    image = _image(platform, product, champion.version)

    def predict(rows: Sequence[Mapping[str, object]]) -> Answer:
        platform.runtime.start(product.name, image)
        return platform.runtime.predict(product.name, champion.version, rows)

    return predict


def _image(platform: Platform, product: ModelProduct, version: str) -> Image:
    image = platform.store.read_record(product.name, f"images/{version}", Image)
    if image is None:
        raise DeliveryError(f"{product.name}: version {version} has no image: materialize {product.name}/image")
    return image


def _model(platform: Platform, product: ModelProduct) -> TrainedModel:
    model = platform.store.read_record(product.name, "model", TrainedModel)
    if model is None:
        raise DeliveryError(f"{product.name}: no model yet: materialize {product.name}/model")
    if not model.passed:
        failed = ", ".join(check.name for check in model.checks if not check.passed)
        raise DeliveryError(f"{product.name}: model {model.version} failed {failed} and is not delivered")
    return model


@keeps_problem("image")
def build_model_image(platform: Platform, product: ModelProduct) -> Image:
    """The newest model and its code as something a runtime can start."""
    from mlauto.delivery.image import build_image

    model = _model(platform, product)
    return build_image(product.name, model, platform.tree(product, model.commit), platform.runtime, platform.store)


@keeps_problem("test_deployment")
def deploy_to_test(platform: Platform, product: ModelProduct) -> Deployment:
    """The newest image, started without users' traffic and verified."""
    from mlauto.delivery.verification import verify
    from mlauto.orchestration.recent import recent_requests

    model = _model(platform, product)
    return verify(
        product.name,
        _image(platform, product, model.version),
        model,
        platform.runtime,
        platform.store,
        latency_ms=product.delivery.latency_ms,
        now=time.time(),
        requests=recent_requests(platform, product) if product.delivery.replay else None,
    )


@keeps_problem("production")
def release(platform: Platform, product: ModelProduct, run_id: str, *, by_hand: bool = False) -> Deployment:
    """Take the verified test deployment, or else the rollout that is under way, one stage further towards all users.

    Notes which run did it. A run that a person asked for is an approval, where one is awaited.
    """
    from mlauto.delivery.rollout import continue_rollout, roll_out

    now, way = time.time(), rollouts.way(platform, product)
    candidate = _verified_candidate(platform, product)
    if candidate is None:
        return continue_rollout(
            product.name, platform.runtime, platform.store, _promote(platform, product), way=way, now=now
        )
    version, test = candidate
    if by_hand and product.delivery.mode == "approve":
        approve(product.name, version, platform.store, by="a run asked for by hand", now=now)
    production = platform.store.read_record(product.name, "production", Deployment)
    if production is None or production.version != version:  # a run that finds it live did not put it there
        platform.store.write_record(product.name, f"runs/{version}", {"run_id": run_id})
    return roll_out(
        product.name,
        _image(platform, product, version),
        test,
        platform.runtime,
        platform.store,
        _promote(platform, product),
        mode=product.delivery.mode,
        way=way,
        now=now,
    )


def _verified_candidate(platform: Platform, product: ModelProduct) -> tuple[str, Deployment] | None:
    """The newest model's version with its test deployment; None while an older one is under way instead.

    Raises `DeliveryError` when there is neither.
    """
    test = platform.store.read_record(product.name, "test_deployment", Deployment)
    beside = rollouts.candidates(platform, product)
    model = platform.store.read_record(product.name, "model", TrainedModel) if beside else _model(platform, product)
    fits = model is not None and test is not None and test.version == model.version and model.passed
    if test is not None and fits and (not beside or all(check.passed for check in test.checks)):
        return test.version, test
    if beside:
        return None
    raise DeliveryError(
        f"{product.name}: version {model.version if model else 'none'} was not verified: materialize test_deployment"
    )


def _promote(platform: Platform, product: ModelProduct) -> Callable[[str], None]:
    return lambda version: platform.registry.promote(product.name, version)


def roll_back_release(platform: Platform, product: ModelProduct, reason: str, to: str | None = None) -> Deployment:
    """Put the previous good version (or `to`) back, and prove it by asking the live server."""
    from mlauto.delivery.rollback import roll_back

    return roll_back(
        product.name,
        platform.runtime,
        platform.store,
        _promote(platform, product),
        to=to,
        reason=reason,
        now=time.time(),
    )


def abort_rollout(platform: Platform, product: ModelProduct, reason: str) -> Deployment | None:
    """Give up the candidate that runs beside the champion; None where none does."""
    from mlauto.delivery.rollback import abort

    return abort(
        product.name, platform.runtime, platform.store, _promote(platform, product), reason=reason, now=time.time()
    )
