"""Pieces: what a model says of many samples of many examples, with the memory of one call of it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from typing import Generic, TypeVar

import torch
from torch import Tensor

__all__ = ["Kept", "Room"]

T = TypeVar("T")

#: Input elements in one call of the model, unless the user says how many samples: on a CPU, a call whose
#: activations leave its caches takes up to three times as long for a row, and on a GPU, many small calls do.
_MOST_ELEMENTS = {"cpu": 2**18}
_MOST_ELSEWHERE = 2**22
_LEAST_ROWS = 4  # however large they are
_LARGEST_LEARNED = 2**25 - 2**16  # bytes, just below the largest block from which glibc learns

#: Gate values [samples, examples, gates], the number of their first sample, and which examples of a batch
#: they are of -> a number for each, [samples, examples], that depends on its own gates only.
NumbersOf = Callable[[Tensor, int, slice], Tensor]


class Kept(Generic[T]):
    """What was worked out for some examples, since a solve asks for the same ones again and again.

    Args:
        work: for examples, long [examples] on the CPU.
        most: examples for which it is kept, all calls together.
    """

    def __init__(self, work: Callable[[Tensor], T], most: int) -> None:
        self._work, self._most, self._held = work, most, 0
        self._found: dict[int, tuple[Tensor, T]] = {}

    def __call__(self, examples: Tensor) -> T:
        """The same for the same tensor."""
        if id(examples) not in self._found:
            self._held += len(examples)
            if self._held > self._most:
                self._found, self._held = {}, len(examples)
            self._found[id(examples)] = examples, self._work(examples)  # holding it keeps its id its own
        return self._found[id(examples)][1]


@dataclass
class Room:
    """How much goes into one call of the model; less from then on where memory does not hold it.

    Attributes:
        samples: gate samples in a call.
        examples: examples in a call.
    """

    samples: int
    examples: int

    @classmethod
    def of(cls, elements: int, batch: int, samples: int | None, device: torch.device) -> Room:
        """For examples of so many input elements.

        Args:
            elements: of one example.
            batch: number of examples.
            samples: in a call, with all examples, if the user says so.
            device: where the model is run.
        """
        if device.type == "cpu":
            _keep_freed_memory()
        if samples is not None:
            return cls(samples, batch)
        rows = max(_LEAST_ROWS, _MOST_ELEMENTS.get(device.type, _MOST_ELSEWHERE) // elements)
        n_calls = -(-batch // rows)
        examples = -(-batch // n_calls)
        return cls(max(1, rows // examples), examples)

    @torch.no_grad()
    def numbers(self, numbers_of: NumbersOf, gates: Tensor) -> Tensor:
        """Numbers of gate values [samples, examples, gates], without a gradient."""
        (found,) = self.over(lambda s, e: (numbers_of(gates[s, e], s.start, e),), *gates.shape[:2])
        return found

    def numbers_with_slopes(self, numbers_of: NumbersOf, gates: Tensor) -> tuple[Tensor, Tensor | None]:
        """The same, and their slopes in the gates, [samples, examples, gates]; None where there are none.

        The slopes are found along with the numbers, so that the graph of one call is gone before that of the
        next is built.
        """
        has_slopes = True

        def work(some: slice, examples: slice) -> tuple[Tensor, Tensor]:
            nonlocal has_slopes
            with torch.enable_grad():
                leaf = gates[some, examples].detach().requires_grad_()
                found = numbers_of(leaf, some.start, examples)
            slope = None
            if found.requires_grad:
                (slope,) = torch.autograd.grad(found, leaf, torch.ones_like(found), allow_unused=True)
            has_slopes &= slope is not None
            return found.detach(), leaf.detach() if slope is None else slope

        numbers, slopes = self.over(work, *gates.shape[:2])
        return numbers, slopes if has_slopes else None

    def over(
        self, work: Callable[[slice, slice], tuple[Tensor, ...]], samples: int, examples: int
    ) -> list[Tensor]:
        """Results [samples, examples, ...] of work on some samples of some examples, put together again.

        Where memory runs out, the piece is halved and tried again.
        """
        done = 0
        whole: list[Tensor] = []  # filled piece by piece, so that results do not lie between freed graphs
        while done < samples:
            step = min(self.samples, samples - done)
            width = self.examples * (self.samples // step)  # with fewer samples, more examples
            some = slice(done, done + step)
            try:
                for i in range(0, examples, width):
                    parts = work(some, slice(i, i + width))
                    if step == samples and width >= examples:
                        return list(parts)
                    whole = whole or [x.new_empty(samples, examples, *x.shape[2:]) for x in parts]
                    for into, part in zip(whole, parts, strict=True):
                        into[some, i : i + width] = part
            except (RuntimeError, MemoryError) as error:
                if not (_is_out_of_memory(error) and self._halved(step, min(width, examples))):
                    raise
                error.__traceback__ = None  # its frames hold the tensors that were too many
                torch.cuda.empty_cache()
            else:
                done += step
        return whole

    def _halved(self, samples: int, examples: int) -> bool:
        """Make room in a call of so many samples and examples; not if it was one of one."""
        self.samples, self.examples = max(1, samples // 2), examples if samples > 1 else max(1, examples // 2)
        return samples > 1 or examples > 1


@cache
def _keep_freed_memory() -> None:
    """Let calls of the model find the memory that the last one freed, without a page fault for each page.

    The allocator of glibc gives free memory back to the system where it is more than twice the largest block
    that was ever freed, up to 32 MiB: mallopt(3), M_MMAP_THRESHOLD. Freeing one such block, whose pages are
    never touched, teaches it to keep up to 64 MiB. Other allocators do not mind.
    """
    torch.empty(_LARGEST_LEARNED, dtype=torch.uint8, device="cpu")


def _is_out_of_memory(error: BaseException) -> bool:
    said = str(error).lower()
    known = isinstance(error, (torch.cuda.OutOfMemoryError, MemoryError))
    return known or "out of memory" in said or "can't allocate memory" in said
