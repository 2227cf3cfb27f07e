"""Where the rows of the examples are in an activation."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

__all__ = ["LayerRows", "alike"]


@dataclass(frozen=True)
class LayerRows:
    """Where the rows of the examples are in an activation.

    A layer may be given several rows for each example (the choices of a question, the frames of a video, two
    texts that are encoded together), or have the batch in another dimension than the first.

    Attributes:
        dim: the dimension of the rows.
        pieces: number of rows of an example.
        together: whether the rows of an example follow each other; else all first rows come first, then all
            second ones, and so on.

    Example:
        >>> import torch
        >>> rows = LayerRows(pieces=2)
        >>> rows.unfolded(torch.tensor([[1], [2], [3], [4]]), 2).tolist()
        [[[1], [2]], [[3], [4]]]
    """

    dim: int = 0
    pieces: int = 1
    together: bool = True

    @classmethod
    def of(cls, whole: Tensor, n_whole: int, part: Tensor, n_part: int) -> LayerRows | None:
        """Compare the activation of some examples with that of the first of them alone.

        Args:
            whole: of `n_whole` examples.
            n_whole: number of examples.
            part: of the first of them, `n_part` times.
            n_part: another number.

        Returns:
            None if the number of rows does not go with that of examples, or the rows are in another order.
        """
        if whole.dim() != part.dim():
            return None
        sizes = zip(whole.shape, part.shape, strict=True)
        changed = [dim for dim, (one, other) in enumerate(sizes) if one != other]
        if len(changed) != 1:
            return None
        (dim,) = changed
        pieces = whole.shape[dim] // n_whole
        if whole.shape[dim] != pieces * n_whole or part.shape[dim] != pieces * n_part:
            return None
        orders = (True,) if pieces == 1 else (True, False)
        found = (cls(dim, pieces, together) for together in orders)
        return next(
            (rows for rows in found if pieces == 1 or rows._explain(whole, n_whole, part, n_part)), None
        )

    def _explain(self, whole: Tensor, n_whole: int, part: Tensor, n_part: int) -> bool:
        expected = self.unfolded(whole, n_whole)[0]
        return all(alike(one, expected) for one in self.unfolded(part, n_part))

    def unfolded(self, activation: Tensor, n: int) -> Tensor:
        """An activation of `n` examples with a row for each, [n, ...] or [n, pieces, ...]."""
        rows = activation.movedim(self.dim, 0)
        if self.pieces > 1 and self.together:
            rows = rows.reshape(n, self.pieces, *rows.shape[1:])
        elif self.pieces > 1:
            rows = rows.reshape(self.pieces, n, *rows.shape[1:]).transpose(0, 1)
        return rows.contiguous()

    def folded(self, rows: Tensor) -> Tensor:
        """The opposite of `unfolded`."""
        if self.pieces > 1:
            rows = (rows if self.together else rows.transpose(0, 1)).flatten(0, 1)
        return rows.movedim(0, self.dim).contiguous()


def alike(one: Tensor, other: Tensor, tolerance: float = 1e-2) -> bool:
    """Whether tensors of one shape are the same but for rounding, which depends on the number of rows.

    Args:
        one: any tensor.
        other: what it is compared with.
        tolerance: of the distance, relative to the size of `other`; half precision rounds much.
    """
    one, other = one.double(), other.double()
    return bool((one - other).norm() <= tolerance * other.norm())
