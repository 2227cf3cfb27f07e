"""Chunks: run the model on samples x examples in calls that fit in memory."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from types import TracebackType

import torch
from torch import Tensor

__all__ = ["ChunkSettings", "Chunks", "is_out_of_memory"]

_LARGEST_LEARNED = 2**25 - 2**16  # bytes, just below the largest block from which glibc learns


@dataclass(frozen=True)
class ChunkSettings:
    """How much goes into one call of the model, unless the user says how many samples.

    Attributes:
        cpu_elements: input elements in one call on a CPU: a call whose activations leave the CPU's caches
            takes up to three times as long for a row.
        elements: the same on other devices, where many small calls are slow.
        least_rows: rows in one call at least, however large they are.
    """

    cpu_elements: int = 2**18
    elements: int = 2**22
    least_rows: int = 4


@dataclass(eq=False)
class Chunk:
    """A part of the samples and examples, for one call of the model.

    Used as a context manager: where memory runs out inside, the error is kept back, and the part comes again
        in
    smaller chunks.

    Attributes:
        samples: which samples.
        examples: which examples.
        size: number of all samples and of all examples.
        is_out: whether memory ran out.
    """

    samples: slice
    examples: slice
    size: tuple[int, int]
    is_out: bool = False

    def put(self, whole: Tensor | None, part: Tensor) -> Tensor:
        """The results of all chunks, [samples, examples, ...], with those of this chunk entered.

        Args:
            whole: the results so far; None before the first chunk.
            part: the results of this chunk, [some samples, some examples, ...].
        """
        if part.shape[:2] == self.size:
            return part
        if whole is None:
            # preallocated, so that results do not fragment the memory freed by each chunk's graph
            whole = part.new_empty(*self.size, *part.shape[2:])
        whole[self.samples, self.examples] = part
        return whole

    def __enter__(self) -> Chunk:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> bool:
        rows = (self.samples.stop - self.samples.start) * (self.examples.stop - self.examples.start)
        if error is None or not is_out_of_memory(error) or rows == 1:
            return False
        error.__traceback__ = None  # its frames hold the tensors that did not fit
        torch.cuda.empty_cache()
        self.is_out = True
        return True


@dataclass
class Chunks:
    """How much goes into one call of the model; less from then on where memory runs out.

    Attributes:
        samples: gate samples in a call.
        examples: examples in a call.
    """

    samples: int
    examples: int

    @classmethod
    def of(
        cls,
        elements: int,
        batch: int,
        samples: int | None,
        device: torch.device,
        settings: ChunkSettings = ChunkSettings(),  # frozen
    ) -> Chunks:
        """For examples of so many input elements.

        Args:
            elements: of one example.
            batch: number of examples.
            samples: in a call, with all examples, if the user says so.
            device: where the model is run.
            settings: the size of a call where the user does not say.
        """
        if device.type == "cpu":
            _keep_freed_memory()
        if samples is not None:
            return cls(samples, batch)
        most = settings.cpu_elements if device.type == "cpu" else settings.elements
        rows = max(settings.least_rows, most // elements)
        n_calls = -(-batch // rows)
        examples = -(-batch // n_calls)
        return cls(max(1, rows // examples), examples)

    def over(self, samples: int, examples: int) -> Iterator[Chunk]:
        """All samples of all examples in chunks; the loop's body enters each of them by `with chunk:`."""
        done = 0
        while done < samples:
            step = min(self.samples, samples - done)
            width = self.examples * (self.samples // step)  # with fewer samples, more examples
            for i in range(0, examples, width):
                some = slice(i, min(i + width, examples))
                chunk = Chunk(slice(done, done + step), some, (samples, examples))
                yield chunk
                if chunk.is_out:
                    self._halve(step, min(width, examples))
                    break
            else:
                done += step

    def _halve(self, samples: int, examples: int) -> None:
        self.samples, self.examples = max(1, samples // 2), examples if samples > 1 else max(1, examples // 2)


@cache
def _keep_freed_memory() -> None:
    """Make the C allocator keep freed memory, so that the next call of the model finds it without page
    faults.

    The allocator of glibc gives free memory back to the system where it is more than twice the largest block
    that was ever freed, up to 32 MiB: mallopt(3), M_MMAP_THRESHOLD. Freeing one such block, whose pages are
    never touched, makes it keep up to 64 MiB from then on, in the whole process. Other allocators ignore it.
    Without this, each step of a solve of a small net took up to 8,000 page faults.
    """
    torch.empty(_LARGEST_LEARNED, dtype=torch.uint8, device="cpu")


def is_out_of_memory(error: BaseException) -> bool:
    """Whether an error says that the memory of a device, or of the machine, is used up."""
    said = str(error).lower()
    known = isinstance(error, (torch.cuda.OutOfMemoryError, MemoryError))
    return known or (isinstance(error, RuntimeError) and _says_so(said))


def _says_so(said: str) -> bool:
    return "out of memory" in said or "allocate memory" in said
