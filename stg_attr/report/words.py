"""The sentences of a report: the question, the summary, and the limits."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

__all__ = ["count", "is_exact", "limits", "number", "percent", "question", "summary"]

_OBJECTIVES = {
    "Preserve": "Which few features keep the score of a row when all other features are replaced?",
    "Delete": "Which few features take the score of a row away when they are replaced?",
    "Hybrid": "Which features are the evidence for the score of a row: they keep it alone, and it is lost "
    "without them?",
}


def percent(share: float | None) -> str:
    """A share in percent: with one digit at most, and never rounded up to 100 % or down to 0 %.

    Example:
        >>> percent(0.99996), percent(1.0), percent(0.841)
        ('> 99.9 %', '100 %', '84.1 %')
    """
    if share is None or share != share:
        return "not known"
    if share in (0, 1):
        return f"{share:.0%}".replace("%", " %")
    if 0.9995 <= share < 1:
        return "> 99.9 %"
    if 0 < share < 0.0005:
        return "< 0.1 %"
    return f"{100 * share:.1f}".removesuffix(".0") + " %"


def number(x: float | None, digits: int = 3) -> str:
    """A number with few digits, and without an exponent where it is large.

    Example:
        >>> number(-0.012345), number(52_345.6), number(1e-7), number(None)
        ('-0.0123', '52,346', '1e-07', 'not known')
    """
    if x is None:
        return "not known"
    return f"{x:,.0f}" if abs(x) >= 1000 else f"{x:.{digits}g}"


def count(n: int) -> str:
    """A whole number with commas."""
    return f"{n:,}"


def question(about: Mapping[str, str]) -> list[dict[str, str]]:
    """The question in words, one part after the other.

    Args:
        about: of the run: its objective, baselines, claim and confidence, where they are known.
    """
    objective = about.get("objective", "")
    words = next((text for name, text in _OBJECTIVES.items() if objective.startswith(name)), "")
    if "OutputMatch" in objective:
        words += " Here a change of the score in either direction counts as a loss."
    claim = "Nothing is claimed beyond what was measured on the references of the search."
    if "claim" in about and is_exact(about):
        said = about["claim"].removesuffix(" on average over the reference rows")
        claim = (
            f"The selected features {said}. This was measured with the one baseline: nothing is estimated."
        )
    elif "claim" in about:
        claim = (
            f"The selected features {about['claim']}. "
            "Each claim was tested on references that the search had not seen."
        )
    confidence = "Not given."
    if "confidence" in about and is_exact(about):
        confidence = "Not needed: what is measured with one baseline is exact."
    elif "confidence" in about:
        level, rest = (
            percent(round(x, 9)) for x in (float(about["confidence"]), 1 - float(about["confidence"]))
        )
        confidence = f"{level}: for each row, the chance that a false claim is certified is at most {rest}."
    unknown = "Not recorded in the results; give the explainer to the report."
    return [
        {"part": "Objective", "words": words or unknown, "exactly": objective},
        {"part": "Baseline", "words": _baseline(about.get("baselines", "")), "exactly": ""},
        {"part": "Claim", "words": claim if objective or "claim" in about else unknown, "exactly": ""},
        {"part": "Confidence", "words": confidence, "exactly": ""},
    ]


_ONE = ("the value ", "one fixed row")  # as `scale.asked` names a single baseline


def is_exact(about: Mapping[str, str]) -> bool:
    """Whether claims are about one baseline, so that they were measured and not tested."""
    return about.get("exact") == "yes" or about.get("baselines", "").startswith(_ONE)


def _baseline(shown: str) -> str:
    if not shown:
        return "Not recorded in the results."
    if shown.endswith("reference rows"):
        return f"Replaced features show the values of {shown}, one row after the other."
    return f"Replaced features show {shown}."


def _checked(about: Mapping[str, str]) -> str:
    other = "The claim is about one baseline. With other values it was checked"
    return other if is_exact(about) else "The claim was checked"


def summary(content: Mapping[str, Any]) -> list[str]:
    """What the report found, in a few sentences; the most important one first."""
    found = [_sets(content["sets"], content["question"]["about"]), _certified(content["certified"])]
    coverage, stability, shared = (content[name] for name in ("coverage", "stability", "shared"))
    if coverage["measured"]:
        true = coverage["true"]
        found.append(
            f"{_checked(content['question']['about'])} on {count(coverage['references'])} fresh references "
            f"for {count(true['of'])} certified rows: it is true for {percent(true['share'])} of them "
            f"(interval {percent(true['low'])} to {percent(true['high'])})."
        )
    if stability["measured"]:
        found.append(
            f"Explained again with {len(stability['seeds'])} seeds, the sets of a row share "
            f"{percent(stability['over_seeds']['mean'])} of their features on average."
        )
    if shared["measured"]:
        named = [one["feature"] for one in shared["features"] if one["needed"]]
        held = "certified" if shared["certified"] else "not certified"
        found.append(
            f"All rows together need {len(named)} of {len(shared['features'])} features ({held} on average "
            f"over rows): {_listed(named)}."
        )
    missing = [name for name in ("coverage", "stability", "shared") if not content[name]["measured"]]
    if missing:
        said = {
            "coverage": "coverage on fresh references",
            "stability": "stability",
            "shared": "the features that all rows together need",
        }
        found.append(f"Not measured: {', '.join(said[name] for name in missing)}. The sections say why.")
    return [sentence for sentence in found if sentence]


def _listed(names: list[str], most: int = 8) -> str:
    shown = ", ".join(names[:most])
    return shown if len(names) <= most else f"{shown} and {len(names) - most} more"


def _sets(sets: Mapping[str, Any], about: Mapping[str, str]) -> str:
    most = sets["most"]
    if most is None:
        return "No row has a set of features that could be counted."
    retain = percent(float(about["retain"])) if "retain" in about else "the asked share"
    does = "take away" if about.get("objective", "").startswith("Delete") else "keep"
    on = (
        " on average over the reference rows"
        if "average" in about.get("claim", "") and not is_exact(about)
        else ""
    )
    return (
        f"In {percent(most['share'])} of the {count(sets['rows'])} {sets['of']} rows at most "
        f"{most['size']} of {sets['features_in_all']} features {does} at least {retain} of the score{on}."
    )


def _certified(certified: Mapping[str, Any]) -> str:
    failed = certified["failed"]
    lost = f" {count(failed)} further rows could not be explained." if failed else ""
    if not certified["has_claim"]:
        n = certified["explained"]
        said = "1 row was explained" if n == 1 else f"{count(n)} rows were explained"
        return f"{said}; nothing is certified of them.{lost}"
    share = certified["certified"]
    return (
        f"The claim is certified for {count(share['rows'])} of {count(share['of'])} explained rows: "
        f"{percent(share['share'])} (interval {percent(share['low'])} to {percent(share['high'])}).{lost}"
    )


def limits(content: Mapping[str, Any]) -> list[str]:
    """What the report does not say."""
    said = [
        "A set of features says what the model needs to give its score. It does not say that the features "
        "cause anything in the world, nor what a person could change.",
        "Everything is relative to the baseline: with other reference rows, other sets may suffice.",
        "Several sets may suffice for the same row. A feature that is not in the set of a row may still "
        "change the score.",
        "Features that tell each other can take each other's place, so a feature may be absent where "
        "another one stands for it.",
        "A certificate covers the search for a row and its references. It does not cover whether the model "
        "is right, fair, or fit for its use.",
    ]
    if content["certified"]["has_claim"] and not is_exact(content["question"]["about"]):
        said.append(
            "Each row is tested by itself. Of many tested rows, a share of up to 1 less the confidence may "
            "be certified although the claim is false."
        )
    if content["sets"]["of"] == "certified":
        said.append(
            "Sizes, needs and cohorts count certified rows only: rows that are hard to explain are missing."
        )
    if content["coverage"]["measured"]:
        said.append(
            "Coverage was measured on a limited number of fresh references: a claim just above its limit "
            "may look false by chance."
        )
    said += [
        f"Not measured: {content[name]['why']}"
        for name in ("coverage", "stability", "shared", "contributions")
        if not content[name]["measured"]
    ]
    return said
