"""Asking the model: the scores of the features that a reader has switched on."""

from __future__ import annotations

import threading
from collections.abc import Collection, Mapping

import torch
from torch import Tensor

from stg_attr.attribution import Explanation
from stg_attr.errors import ArgumentError

from .packing import rounded_numbers

__all__ = ["MODEL", "KnownScores", "answer", "near_curve", "scores_of", "set_key"]

#: Held while a widget runs the model: a click must not run it during a solve in another thread.
MODEL = threading.Lock()

_MOST_ELEMENTS = 2**24  # of the sets near a curve

#: Scores by the key of the set that is kept.
KnownScores = dict[str, float | None]


def set_key(kept: Tensor) -> str:
    """A set of features as text, four in each digit, as the browser writes it.

    Args:
        kept: bool [gates].

    Example:
        >>> set_key(torch.tensor([True, False, False, False, True, True]))
        '13'
    """
    padded = torch.nn.functional.pad(kept.cpu().long(), (0, -len(kept) % 4)).reshape(-1, 4)
    digits = (padded * torch.tensor([1, 2, 4, 8], device="cpu")).sum(1).tolist()
    return "".join(f"{digit:x}" for digit in digits)


def scores_of(explanation: Explanation, place: int, sets: Tensor, known: Mapping[str, object]) -> KnownScores:
    """The scores of some sets, and of what they leave out; those that are known are not measured again.

    Args:
        explanation: with its model.
        place: of the example in the batch.
        sets: features that are kept, bool [sets, gates].
        known: keys of sets whose scores are known.

    Raises:
        ArgumentError: the explanation has no model, or the sets are not of its gates.
    """
    exists = (explanation.feature_ids[place] >= 0).cpu()
    if sets.dtype != torch.bool or sets.dim() != 2 or sets.shape[1] != len(exists):
        raise ArgumentError(
            "sets",
            expected=f"bool of [sets, gates], with {len(exists)} gates",
            found=f"{sets.dtype} of {list(sets.shape)}",
            mend="For example explanation.selected.",
        )
    both = torch.cat([sets.cpu() & exists, ~sets.cpu() & exists])
    wanted = {key: kept for kept in both if (key := set_key(kept)) not in known}
    if not wanted:
        return {}
    scores = explanation.score_of(torch.stack(list(wanted.values())).unsqueeze(1), examples=[place])
    return dict(zip(wanted, rounded_numbers(scores[:, 0].double().cpu().numpy()), strict=True))


def answer(explanation: Explanation, place: int, on: Collection[int], known: KnownScores) -> str:
    """Measure what a reader has switched on, and add it to what is known; what went wrong, in words.

    Args:
        explanation: what is shown.
        place: of the example in the batch.
        on: columns of the features that are on.
        known: scores that are known; new ones are added.
    """
    kept = torch.zeros(1, explanation.feature_ids.shape[1], dtype=torch.bool, device="cpu")
    kept[0, sorted(on)] = True
    if not MODEL.acquire(blocking=False):
        return "the model is busy with a solve; switch again when it is done"
    try:
        known |= scores_of(explanation, place, kept, known)
    except ArgumentError as error:
        return str(error)
    except Exception as error:  # of the model; a message of the kernel has no other place to show it
        return f"{type(error).__name__}: {error}"
    finally:
        MODEL.release()
    return ""


def near_curve(explanation: Explanation, place: int) -> Tensor:
    """The sets along the curve of one example, and all that differ from one of them by one feature.

    Returns:
        bool [sets, gates], on the CPU.

    Raises:
        ArgumentError: there are too many features for this.
    """
    n_gates, n_points = explanation.feature_ids.shape[1], explanation.curve.n_open.shape[1]
    if n_points * n_gates**2 > _MOST_ELEMENTS:
        raise ArgumentError(
            "sets",
            expected=f"sets to measure, because {n_gates} features have too many within one click",
            found="None",
            mend="Pass them as bool [sets, gates], or use a feature_mask with fewer features.",
        )
    exists = (explanation.feature_ids[place] >= 0).cpu()
    selected = torch.stack([reading.selected[place].cpu() for reading in explanation.readings()])
    one = torch.eye(len(exists), dtype=torch.bool, device="cpu")[exists]
    switched = (selected.unsqueeze(1) ^ one).flatten(0, 1)
    return torch.cat([selected, switched])
