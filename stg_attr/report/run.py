"""How the rows of a report were explained: by which model, with which question."""

from __future__ import annotations

import platform
from collections.abc import Mapping
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import stg_attr
from stg_attr.errors import ArgumentError
from stg_attr.explanation import Explanation, takes_away
from stg_attr.scale.asked import asked_in_words
from stg_attr.scale.fingerprint import described
from stg_attr.scale.manifest import Manifest
from stg_attr.scale.worker import model_fingerprint

from .explained import Explained
from .measured import Live

__all__ = ["Run"]

# arguments that change what is asked, and not how much is spent on it
_QUESTION = ("baselines", "layer_baselines", "target", "additional_forward_args", "feature_mask")

_LIBRARIES = ("torch", "captum", "numpy", "pyarrow")


@dataclass(frozen=True, eq=False)
class Run:
    """What is known of how the rows were explained.

    Attributes:
        about: the question in words.
        fingerprint: of model, data and settings; empty for an explanation in memory.
        model: kind and hash of the model.
        net: hash of the net that proposes gates; empty without one.
    """

    about: Mapping[str, str]
    fingerprint: Mapping[str, str]
    model: str
    net: str

    @classmethod
    def of(
        cls, results: Any, live: Live | None, arguments: Mapping[str, Any], model_version: str | None
    ) -> Run:
        """Read what the results say of themselves, and compare it with the explainer.

        Raises:
            ArgumentError: the explainer is not that of the run.
        """
        now = {} if live is None else model_fingerprint(live.explainer, model_version)
        about = {} if live is None else asked_in_words(live.explainer, arguments)
        if isinstance(results, Explanation):
            claim = results.certificate
            own = {} if results.objective is None else {"objective": results.objective}
            if claim is not None:
                own |= {"retain": f"{claim.retain:g}", "confidence": f"{claim.claim.confidence:g}"}
                own |= {"exact": "yes"} if claim.exact else {}
                own["claim"] = claim.claim.sentence(claim.retain, takes_away(results))
            if arguments.get("baselines") is not None:
                own["baselines"] = asked_in_words(None, arguments)["baselines"]
            return cls(about | own, {}, now.get("model", ""), now.get("net", ""))
        manifest = Manifest.of(Path(results) / "manifest.json")
        was = manifest.fingerprint
        changed = {name: (text, was.get(name)) for name, text in now.items() if was.get(name) != text}
        if changed:
            name, (text, before) = next(iter(changed.items()))
            raise ArgumentError(
                "explainer",
                expected=f"the one that explained the rows, whose {name} is {before}",
                found=text,
                mend="Pass the same model and settings, or explain the rows again.",
            )
        if live is not None:
            _check_question(arguments, was)
        return cls(about | dict(manifest.about), was, was.get("model", ""), was.get("net", ""))

    @property
    def model_name(self) -> str:
        """The kind of the model."""
        return self.model.split(" ")[0] or "the model"

    @property
    def explains_predictions(self) -> bool:
        """Whether the explained class of each row is the predicted one, as far as the results say."""
        return not {"target", "target column"} & set(self.fingerprint)

    def described(self, name: str | None, model_version: str | None, explained: Explained) -> dict[str, Any]:
        """The section on the model."""
        kind, _, mark = self.model.partition(" ")
        was = self.fingerprint
        libraries = {one: _version(one) for one in _LIBRARIES}
        return {
            "name": name or kind or None,
            "kind": kind or None,
            "version": model_version,
            "hash": mark or None,
            "net_hash": self.net.rpartition(" ")[2] or None,
            "explained_with": {name: was[name] for name in ("stg_attr", "torch") if name in was},
            "reported_with": {
                "stg_attr": stg_attr.__version__, "python": platform.python_version(), **libraries,
            },
            "seeds": list(explained.seeds),
            "data": self.fingerprint.get("data"),
        }  # fmt: skip


def _check_question(arguments: Mapping[str, Any], was: Mapping[str, str]) -> None:
    """Check that what is measured now asks what the run asked."""
    for name in _QUESTION:
        value = arguments.get(name)
        now = None if value is None else described(value, name)
        if now != was.get(name):
            raise ArgumentError(
                name,
                expected=f"{was.get(name, 'none')}, as in the run",
                found="none" if now is None else now,
                mend="Pass the arguments with which the rows were explained, or leave out the explainer.",
            )


def _version(library: str) -> str | None:
    try:
        return version(library)
    except PackageNotFoundError:  # as for a torch that was built without metadata
        return None
