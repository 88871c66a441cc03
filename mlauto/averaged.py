"""What is known of a model that averages several histories, and of one that was made of another one's fits."""

from dataclasses import dataclass

__all__ = ["Averaged", "Renewal"]


@dataclass(frozen=True, kw_only=True)
class Averaged:
    """What a model averages: histories by name, their shares, and what decided them: each one's losses in batches.

    `losses` are means as they count for shares, `batches` the digests of those batches. The average is moved by
    `amount`, a part of `offset`, as the newest of them have shown (`tried`): mean loss without, mean loss moved by all
    of the offset there was, what was asked for.

    Shares of a renewed one, where labels are late, are between those that its fits were trained with (`kept`) and those
    that the losses ask for (`asked`), as batches that such ones answered have `shown`: mean loss by the ones, and by
    the others.

    Those who answered such a batch were fitted on batches up to so many before it (`ahead`). `strange` ones, by their
    digests, are left out of all fits that were made since they were found. Of a renewed one's own fits that is not so:
    they were made on those that `spoiled` them.
    """

    histories: tuple[str, ...]
    shares: tuple[float, ...]
    losses: tuple[tuple[float, ...], ...] = ()
    batches: tuple[str, ...] = ()
    offset: float = 0.0
    amount: float = 0.0
    tried: tuple[tuple[float, float, float], ...] = ()
    kept: tuple[float, ...] = ()
    asked: tuple[float, ...] = ()
    shown: tuple[tuple[float, float], ...] = ()
    ahead: tuple[int, ...] = ()
    strange: tuple[str, ...] = ()
    spoiled: tuple[str, ...] = ()


@dataclass(frozen=True, kw_only=True)
class Renewal:
    """What tells a model that was made of an older one's fits from that one: `line` is the version that was fitted.

    `training_set` is the digest of the one that its shares and correction were learned from, `attempted` the batches of
    the newest training by then, by digest, whether or not that went live.
    """

    line: str
    training_set: str
    attempted: tuple[str, ...]
