"""The demo, `python -m stg_attr`: real data, small nets trained in seconds, explained beside two peers.

`python -m stg_attr dataset` explains a whole data set instead; see `stg_attr.scale`. `python -m stg_attr
report` writes one page on such a run, and `diff` compares two of them; see `stg_attr.report`.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import torch
from captum.attr import IntegratedGradients, KernelShap
from torch import Tensor, nn

from stg_attr import Explanation, StochasticGates
from stg_attr.errors import ArgumentError
from stg_attr.metrics import budget_curves

N_EXAMPLES = 12  # KernelSHAP, which takes one at a time, needs about half of the time of the demo


@dataclass(frozen=True)
class Task:
    """A data set, a net trained on it, and the rows to explain.

    Attributes:
        name: heading of the table.
        model: inputs [rows, ...] -> class probabilities [rows, classes].
        inputs: rows that the net was not trained on.
        accuracy: of the net on unseen rows.
        names: of the columns; empty for images.
    """

    name: str
    model: nn.Module
    inputs: Tensor
    accuracy: float
    names: tuple[str, ...] = ()


class Counted:
    """A model that counts the rows it is run on."""

    def __init__(self, model: nn.Module) -> None:
        self.model, self.rows = model, 0

    def __call__(self, x: Tensor) -> Tensor:
        """Class probabilities, [rows, classes]."""
        self.rows += len(x)
        probabilities: Tensor = self.model(x)
        return probabilities


def digits() -> Task:
    """Handwritten digits, 8 x 8 pixels, and a small convolutional net."""
    from sklearn.datasets import load_digits

    data = load_digits()
    x = torch.tensor(data.images, dtype=torch.float32).unsqueeze(1) / 16
    net = nn.Sequential(
        nn.Conv2d(1, 16, 3, padding=1), nn.ReLU(),
        nn.Conv2d(16, 32, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2),
        nn.Flatten(), nn.Linear(512, 64), nn.ReLU(), nn.Linear(64, 10),
    )  # fmt: skip
    return trained("Digits: 8 x 8 pixels, convolutional net", net, x, torch.tensor(data.target), epochs=20)


def breast_cancer() -> Task:
    """Breast cancer: 30 measurements of cell nuclei, and a small fully connected net."""
    from sklearn.datasets import load_breast_cancer

    data = load_breast_cancer()
    x = torch.tensor(data.data, dtype=torch.float32)
    x = (x - x.mean(0)) / x.std(0)
    net = nn.Sequential(nn.Linear(30, 32), nn.ReLU(), nn.Linear(32, 32), nn.ReLU(), nn.Linear(32, 2))
    names = tuple(str(name) for name in data.feature_names)
    return trained(
        "Breast cancer: 30 columns, fully connected net", net, x, torch.tensor(data.target), 30, names
    )


def trained(
    name: str, net: nn.Sequential, x: Tensor, y: Tensor, epochs: int, names: tuple[str, ...] = ()
) -> Task:
    """Train on three quarters of the rows; explain some of the rest."""
    order = torch.randperm(len(x), generator=torch.Generator().manual_seed(0))
    fit, rest = order[: 3 * len(x) // 4], order[3 * len(x) // 4 :]
    optimizer = torch.optim.Adam(net.parameters(), 3e-3)
    for epoch in range(epochs):
        shuffled = fit[torch.randperm(len(fit), generator=torch.Generator().manual_seed(1 + epoch))]
        for rows in torch.split(shuffled, 64):
            optimizer.zero_grad()
            nn.functional.cross_entropy(net(x[rows]), y[rows]).backward()  # type: ignore[no-untyped-call]
            optimizer.step()
    net.eval()
    accuracy = (net(x[rest]).argmax(1) == y[rest]).float().mean().item()
    return Task(name, nn.Sequential(net, nn.Softmax(dim=1)), x[rest][:N_EXAMPLES], accuracy, names)


def integrated_gradients(model: Counted, x: Tensor, target: Tensor) -> Tensor:
    """Captum's Integrated Gradients with its default of 50 steps."""
    attributions: Tensor = IntegratedGradients(model).attribute(x, target=target)
    return attributions


def kernel_shap(model: Counted, x: Tensor, target: Tensor) -> Tensor:
    """Captum's KernelSHAP with 800 evaluations, which takes one example at a time."""
    method = KernelShap(model)
    rows = [
        method.attribute(x[i : i + 1], target=int(target[i]), n_samples=800, perturbations_per_eval=200)
        for i in range(len(x))
    ]
    return torch.cat(rows)


def report(task: Task) -> Explanation:
    """Explain, measure beside the peers, and print the table."""
    print(f"\n{task.name} ({task.accuracy:.1%} of unseen rows right, {len(task.inputs)} of them explained)")
    print(
        f"{'method':24s}{'evals':>7s}{'seconds':>9s}{'insertion':>11s}{'deletion':>10s}{'ins - del':>11s}",
        end="",
    )
    print(f"{'sufficient':>12s}{'necessary':>11s}")
    target = task.model(task.inputs).argmax(1)
    model = Counted(task.model)
    stg = StochasticGates(model)
    peers: dict[str, Callable[[Counted, Tensor, Tensor], Tensor]] = {
        "Integrated Gradients": integrated_gradients,
        "KernelSHAP": kernel_shap,
        "Stochastic Gates, 2 x 4": lambda _, x, y: stg.attribute(x, target=y, n_steps=2, n_samples=4),
        "Stochastic Gates": lambda _, x, y: stg.attribute(x, target=y),
    }
    for name, method in peers.items():
        model.rows, start = 0, time.perf_counter()
        attributions = method(model, task.inputs, target)
        seconds, evaluations = time.perf_counter() - start, model.rows / len(task.inputs)
        curves = budget_curves(task.model, task.inputs, attributions, target=target)
        insertion, deletion = curves.insertion.mean().item(), curves.deletion.mean().item()
        sufficient, necessary = (
            curves.smallest_sufficient().float().mean(),
            curves.smallest_necessary().float().mean(),
        )
        print(f"{name:24s}{evaluations:7.0f}{seconds:9.2f}{insertion:11.3f}{deletion:10.3f}", end="")
        print(f"{insertion - deletion:11.3f}{sufficient:12.1f}{necessary:11.1f}")
    return stg.explain(task.inputs, target=target)


def pictures(task: Task, explanation: Explanation, folder: Path) -> list[Path]:
    """Save pictures of the first example; their paths."""
    from stg_attr import viz

    folder.mkdir(parents=True, exist_ok=True)
    stem = task.name.split(":")[0].lower().replace(" ", "-")
    drawn = {"curve": viz.curve(explanation)}
    drawn["attribution"] = viz.bars(explanation, names=task.names) if task.names else viz.panel(explanation)
    paths = []
    for name, (figure, _) in drawn.items():
        paths.append(folder / f"{stem}-{name}.png")
        figure.savefig(paths[-1], dpi=150, bbox_inches="tight")
    return paths


def main() -> None:
    """Run the demo."""
    parser = argparse.ArgumentParser(prog="python -m stg_attr", description=__doc__)
    parser.add_argument("--out", type=Path, default=Path("demo-output"), help="folder of the pictures")
    folder = parser.parse_args().out
    torch.manual_seed(0)
    torch.set_num_threads(1)  # nets this small are faster on one
    print("Every method explains the same predictions of the same net; a removed feature shows 0.")
    print("insertion, deletion: mean score while the top features are inserted (higher is better) or removed")
    print(
        "(lower is better); sufficient, necessary: fewest top features that keep 90 % of the score, or whose"
    )
    print("removal leaves 10 % (lower is better); evals: model rows evaluated per example.")
    for task in (digits(), breast_cancer()):
        explanation = report(task)
        for i in range(3):
            print(f"  example {i}: {explanation.describe(i)}")
        for path in pictures(task, explanation, folder):
            print(f"  picture: {path}")


if __name__ == "__main__":
    if sys.argv[1:2] == ["dataset"]:
        from stg_attr.scale.command_line import main as dataset

        sys.exit(dataset(sys.argv[2:]))
    if sys.argv[1:2] in (["report"], ["diff"]):
        from stg_attr.report.command_line import diff_main
        from stg_attr.report.command_line import main as of_run

        sys.exit((diff_main if sys.argv[1] == "diff" else of_run)(sys.argv[2:]))
    try:
        main()
    except ModuleNotFoundError as error:
        raise ArgumentError(
            "the demo",
            expected="scikit-learn and matplotlib",
            found=str(error),
            mend="Install them with: pip install stg_attr[demo]",
        ) from error
