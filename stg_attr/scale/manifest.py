"""What the rows of an output were computed from."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import Any

from stg_attr.errors import ArgumentError

__all__ = ["Manifest"]

_VERSION = 1  # of the layout of the folder
_NOT_FLAT = ("fingerprint", "about")


@dataclass(frozen=True)
class Manifest:
    """What the rows of an output were computed from; it never changes after the first shard.

    Attributes:
        fingerprint: model, data, settings and versions, each as a short text.
        n_rows: of the data set; None if not known before the data set ends.
        batch_rows: rows that are explained together.
        shard_rows: rows of a shard, a multiple of `batch_rows`.
        id_type: Arrow type of the row ids.
        version: of the layout of the folder.
        about: the question in words, for readers; what it says is in the fingerprint, too.
    """

    fingerprint: Mapping[str, str]
    n_rows: int | None
    batch_rows: int
    shard_rows: int
    id_type: str
    version: int = _VERSION
    about: Mapping[str, str] = field(default_factory=dict, compare=False)

    @property
    def identity(self) -> str:
        """16 characters that each shard repeats: equal for runs that compute the same, and for no others."""
        compared = {name: value for name, value in asdict(self).items() if name != "about"}
        return hashlib.sha256(json.dumps(compared, sort_keys=True).encode()).hexdigest()[:16]

    def text(self) -> str:
        """The content of the file."""
        return json.dumps(asdict(self), indent=1)

    @classmethod
    def of(cls, path: Path) -> Manifest:
        """Read a manifest.

        Raises:
            ArgumentError: it is missing or damaged, or another version of the package wrote it.
        """
        try:
            found: dict[str, Any] = json.loads(path.read_text())
            if found.get("version") != _VERSION:
                raise ValueError(f"version {found.get('version')}")
            found = {"about": {}} | found  # files of earlier releases have none
            return cls(**{each.name: found[each.name] for each in fields(cls)})
        except (OSError, ValueError, KeyError, AttributeError) as error:
            raise ArgumentError(
                "output",
                expected=f"the manifest of an output of explain_dataset, of version {_VERSION}",
                found=f"{path}: {error}",
                mend="Check the path, or choose another folder.",
            ) from error

    def check_equal(self, existing: Manifest, folder: Path) -> None:
        """Check that the manifest in a folder is this one.

        Raises:
            ArgumentError: it is that of a different run.
        """
        if existing == self:
            return
        old, new = existing._flat(), self._flat()
        differences = [
            f"{name} is {new.get(name)} and was {old.get(name)}"
            for name in sorted(old.keys() | new.keys())
            if old.get(name) != new.get(name)
        ]
        raise ArgumentError(
            "output",
            expected=f"the same model, data and settings as in the run that created {folder}",
            found="; ".join(differences),
            mend="Choose another folder, or delete the old results with overwrite=True. If the model is the "
            "same, and only changes what it holds when it is called, pass model_version in both runs.",
        )

    def _flat(self) -> dict[str, str]:
        others = {name: str(value) for name, value in asdict(self).items() if name not in _NOT_FLAT}
        return others | dict(self.fingerprint)
