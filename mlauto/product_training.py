"""The `training` section of a product's YAML: when it is retrained, and on which history."""

from typing import Literal

from pydantic import Field, model_validator

from mlauto.sections import Duration, Search, Section

__all__ = ["HistoryShare", "Policy", "Training"]


class HistoryShare(Section):
    """One of the histories that a model averages; `share` is where its part of the average begins."""

    half_life: float | None = Field(
        None, gt=0, description="batches after which a row's weight has halved; null: never"
    )
    window: int | None = Field(None, ge=1, description="newest batches to fit on; null: all")
    share: float = Field(1.0, gt=0, description="part of the average before anything is known, beside the others")


class Policy(Section):
    """A retraining policy's own knobs; docs/decisions/retraining.md says where the numbers come from."""

    on_degraded: bool = Field(True, description="retrain when the live quality check fails and triage agrees")
    every_batches: int | None = Field(None, ge=1, description="retrain after that many new batches")
    false_alarms: float | None = Field(
        None, gt=0, le=0.5, description="retrain when proven worse than before, at most so likely by chance"
    )
    excess: float = Field(0.3, ge=0, description="proven loss that is worth a training, in batches' worth of loss")
    reference: int = Field(3, ge=1, description="first batches of a live model that are its start")
    lookback: int = Field(
        10, ge=0, description="labelled batches before a model that it must not be worse than, either"
    )
    growth: float | None = Field(None, gt=1, description="retrain when history has grown by this factor")
    credit: float = Field(4.0, ge=0, description="trainings for an alarm or growth that are allowed from the beginning")
    share: float = Field(1 / 9, ge=0, le=1, description="of a further training, for each labelled batch")
    average: bool = Field(False, description="fit on several histories, and average them as each proves worth")
    renew: bool = Field(False, description="between trainings average the fits anew with each labelled batch")


POLICIES = {
    "never": Policy(on_degraded=False),
    "economy": Policy(false_alarms=0.01, growth=2.0, average=True, renew=True),
    "quality": Policy(every_batches=1, average=True),
    "every_batch": Policy(every_batches=1),
}


class Training(Section):
    """When and how the model is fitted."""

    retrain: Literal["never", "economy", "quality", "every_batch"] | Policy = "economy"
    half_life: float = Field(5.0, gt=0, description="batches after which a row's sample weight has halved")
    histories: tuple[HistoryShare, ...] | None = Field(
        None, min_length=1, max_length=8, description="fit on these and average them; null: as the policy does"
    )
    seed: int = Field(0, ge=0, description="random_state given to the estimator where it takes one")
    timeout: Duration = Field(1800.0, description="time limit of one training")
    not_worse_for: Literal["new_code", "every_model"] = Field(
        "new_code", description="which models are blocked when worse than the champion: those of other code, or all"
    )
    not_worse_sigmas: float = Field(5.0, gt=0, description="block when worse than the champion by more standard errors")
    backend: Literal["local", "joblib-dask", "joblib-ray"] = Field(
        "local", description="the engine that gets scikit-learn's parallel work: an existing cluster, or this machine"
    )
    search: Search | None = Field(None, description="look for better parameters in each training")

    @property
    def policy(self) -> Policy:
        """The policy's knobs, whichever way it was written."""
        return self.retrain if isinstance(self.retrain, Policy) else POLICIES[self.retrain]

    def limit(self, *, new_code: bool) -> float | None:
        """By how many standard errors a model may be worse than the champion on the newest rows; None: by any number.

        Those rows are of one batch, and its season may favour an old champion for long: retrained models that were held
        to it lost far more than was saved (docs/decisions/retraining.md). They are watched after their promotion.
        """
        return self.not_worse_sigmas if new_code or self.not_worse_for == "every_model" else None

    @property
    def corrected(self) -> bool:
        """Whether averages are moved by what the newest labelled batch asks for: where the next one makes a new model.

        It does not last: where new models are rare it helps for a batch and hurts in the others.
        """
        return self.policy.every_batches == 1 or self.policy.renew

    @property
    def leaps(self) -> bool:
        """Whether a sudden change gives the average to its newest fit: where a mistake lasts until the next batch."""
        return self.policy.every_batches == 1

    @model_validator(mode="after")
    def _search_leaves_time(self) -> "Training":
        if self.search is not None and self.search.budget >= self.timeout:
            raise ValueError(f"search.budget {self.search.budget:g} s must be below timeout {self.timeout:g} s")
        return self

    @model_validator(mode="after")
    def _histories_differ(self) -> "Training":
        seen = [(one.half_life, one.window) for one in self.histories or ()]
        if len(set(seen)) < len(seen):
            raise ValueError("histories: two of them are the same; give each its own half_life or window")
        return self
