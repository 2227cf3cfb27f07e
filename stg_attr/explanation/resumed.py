"""Whether an explanation that is to be continued answers the question that is asked now."""

from __future__ import annotations

import re
from collections.abc import Sequence

import torch
from torch import Tensor

from stg_attr.errors import ArgumentError
from stg_attr.gates import FeatureGroups, GateDistribution
from stg_attr.objective import Objective
from stg_attr.solve import Learned

from .columns import Column
from .explanation import Explanation

__all__ = ["check_same_scores", "in_words", "learned_before"]

_SCORE = 0.01  # scores that differ by less may be those of one model, since models round


def in_words(objective: Objective) -> str:
    """An objective as text; without the places in memory that Python names for objects without fields."""
    return re.sub(r" at 0x[0-9a-fA-F]+", "", repr(objective))


def learned_before(
    earlier: Explanation,
    inputs: Sequence[Tensor],
    baselines: Sequence[Tensor],
    groups: FeatureGroups,
    objective: Objective,
    gates: GateDistribution,
    n_restarts: int,
    columns: tuple[Column, ...] | None = None,
) -> tuple[Learned, Tensor]:
    """What an earlier explanation of the same examples has learned, and its loss trace, [steps, batch].

    This checks what can be known before the model is run.

    Args:
        earlier: the explanation.
        inputs: what is explained now, one tensor per input.
        baselines: what closed gates show now, one tensor per input.
        groups: the gates of now.
        objective: what the gates have to do now.
        gates: their distribution.
        n_restarts: how many seeds are solved now.
        columns: of the table that is explained now, if it is one.

    Returns:
        Both on the device of the inputs.

    Raises:
        ArgumentError: the explanation is of something else, holds nothing to continue from, or several
            restarts are asked for.
    """
    mend = "Give the arguments of the earlier call, and one restart; or leave resume out."
    if not isinstance(earlier, Explanation) or earlier.learned is None:
        found = "one without its state" if isinstance(earlier, Explanation) else type(earlier).__name__
        raise ArgumentError("resume", expected="an explanation of this release", found=found, mend=mend)
    batch, device, ids = len(inputs[0]), inputs[0].device, groups.feature_ids
    same = len(earlier) == batch and torch.equal(earlier.feature_ids.to(device), ids.expand(batch, -1))
    if not same or earlier.gates != gates:
        raise ArgumentError(
            "resume",
            expected=f"an explanation of {batch} examples with {ids.shape[1]} features by {gates}",
            found=f"{len(earlier)} with {earlier.feature_ids.shape[1]} by {earlier.gates}, or other ids",
            mend=mend,
        )
    if n_restarts > 1:
        raise ArgumentError("n_restarts", expected="1 with resume", found=str(n_restarts), mend=mend)
    if earlier.columns != columns:
        raise _other("a table with the same columns and cells", "other columns, or other cells in them")
    _check_same_question(earlier, inputs, baselines, groups.index, objective)
    return earlier.learned.to(device), earlier.loss_trace.to(device)


def _check_same_question(
    earlier: Explanation,
    inputs: Sequence[Tensor],
    baselines: Sequence[Tensor],
    feature_mask: Sequence[Tensor],
    objective: Objective,
) -> None:
    pairs = {
        "inputs": (earlier.inputs, inputs),
        "baselines": (earlier.baselines, baselines),
        "feature_mask": (earlier.feature_mask, feature_mask),
    }
    for name, (before, now) in pairs.items():
        if len(before) != len(now) or not all(map(_alike, before, now)):
            raise _other(f"the same {name}", "others")
    if earlier.objective not in (None, in_words(objective)):
        raise _other(f"the same objective, {in_words(objective)}", str(earlier.objective))


def check_same_scores(earlier: Explanation, target: Tensor | None, full: Tensor) -> None:
    """Check what the model says of the inputs.

    Args:
        earlier: the explanation.
        target: what is explained now, long [batch, dims].
        full: the scores of the inputs now, [batch].

    Raises:
        ArgumentError: another output is explained, or the scores are not those of the explanation.
    """
    before, device = earlier.scores.full, earlier.scores.full.device
    known = before.isfinite()  # where the model failed, nothing is known
    if not _same_target(earlier.target, target, known):
        raise _other("the same target", "another one")
    rounding = torch.finfo(before.dtype).eps ** 0.5 * before.abs()
    same = torch.maximum(_SCORE * (before - earlier.scores.baseline).abs(), rounding)
    if bool(((full.to(device) - before).abs() > same)[known].any()):
        raise _other("the same model, with the same arguments", "one that scores the inputs differently")


def _same_target(before: Tensor | None, now: Tensor | None, known: Tensor) -> bool:
    if before is None or now is None:
        return before is now
    return before.shape == now.shape and torch.equal(now.to(before.device)[known], before[known])


def _alike(before: Tensor, now: Tensor) -> bool:
    """Whether two tensors are equal up to rounding, as activations are that are computed again."""
    now = now.to(before.device)
    if before.dtype != now.dtype or before.shape[1:] != now.shape[1:] or 1 < len(before) != len(now) > 1:
        return False
    if not before.is_floating_point():
        return bool((before == now).all())  # a mask of one row may stand for all examples
    if bool((before.isnan() != now.isnan()).any()):  # missing cells of a table
        return False
    difference = (before.double() - now.double()).abs().nan_to_num().amax() if before.numel() else 0
    return bool(difference <= torch.finfo(before.dtype).eps ** 0.5 * _largest(before))


def _largest(x: Tensor) -> float:
    return float(x.double().abs().nan_to_num().amax()) if x.numel() else 0.0


def _other(expected: str, found: str) -> ArgumentError:
    return ArgumentError(
        "resume",
        expected=f"an explanation of {expected}",
        found=found,
        mend="Give the arguments of the earlier call, or leave resume out.",
    )
