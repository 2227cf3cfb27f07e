"""Choices: what the menus of the workbench offer."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor

from stg_attr.errors import ArgumentError
from stg_attr.gates import Baseline, references
from stg_attr.objective import Delete, Hybrid, Objective, OutputMatch, Preserve
from stg_attr.select import Budget, Sparsity, Sweep
from stg_attr.viz.parts import is_image, replace_invisible

__all__ = ["BUDGETS", "OBJECTIVES", "checked_names", "usual_baselines"]

BUDGETS: dict[str, Sparsity] = {
    "smallest that keeps 90%": Sweep(),
    **{f"{share:.0%} of the features": Budget(share) for share in (0.02, 0.05, 0.1, 0.2)},
}
OBJECTIVES: dict[str, Objective] = {
    "Hybrid": Hybrid(),
    "Preserve": Preserve(),
    "Preserve, match the output": Preserve(OutputMatch()),
    "Delete": Delete(),
}
_MOST_CHANNELS = 4  # of an image
_BLUR = 20  # the height or width of an image, the smaller one, over the standard deviation of its blur


def usual_baselines(examples: Tensor) -> dict[str, Baseline]:
    """Zeros, the mean of the examples, [batch, ...], and for images a blur."""
    found: dict[str, Baseline] = {"zeros": 0, "mean of the examples": examples.float().mean(0, keepdim=True)}
    is_chw = (
        examples.dim() == 4 and is_image(tuple(examples.shape[1:])) and examples.shape[1] <= _MOST_CHANNELS
    )
    if is_chw and examples.is_floating_point():
        found["blur"] = references.blur(max(1.0, min(examples.shape[2:]) / _BLUR))
    return found


def checked_names(names: Sequence[str] | None, count: int) -> list[str]:
    """One name for each example.

    Raises:
        ArgumentError: there are more or fewer.
    """
    if names is None:
        return [f"example {i}" for i in range(count)]
    if len(names) != count:
        raise ArgumentError(
            "names",
            expected=f"one for each of {count} examples",
            found=str(len(names)),
            mend="Name them all.",
        )
    return [replace_invisible(str(name)) for name in names]
