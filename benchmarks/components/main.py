"""Components that suffice, beside the best of all subsets, planted circuits and other methods.

`subsets`: 200 trained nets, each with its own task. `heads`: attention-only transformers of 12 heads that
look a token up; `units`: 16 hidden units that compute a formula; `channels`: 12 channels that tell digits;
`heads and blocks`: 8 heads and 2 MLP blocks that compare counts or places of two tokens, on which nothing
was chosen. Closed components show another input; of `channels` 0. The score is the difference of two
outputs: of the right answer, and of the answer to the other input. Each net is asked for two inputs, and for
the mean of 32. Then all subsets are scored. `same size`: share of the sets that are as small as the smallest
subset that keeps 90 %; `as much`: share of the sets that also keep as much, but for 0.001, as the best subset
of that size; `larger`, `fewer kept`: share of the sets of the default that are larger than those of the
method in this row, and share of those that are as large and keep less.

`planted`: nets in which few components are trained, and all others scrambled. `exact`: share whose set is
the circuit. Nets whose circuit does not keep 90 %, or does so without one of its members, are left out.

`large`: one solve of 48 heads of six layers on 512 sequences.
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections import defaultdict
from dataclasses import dataclass

import torch
from torch import Tensor

from stg_attr import ComponentStochasticGates
from stg_attr.components import head_sites

from .cases import RETAIN, SAME, Case, Truth, case, together
from .nets import KINDS, Transformer, nets_of
from .peers import greedy, patching, random_orders
from .planted import planted_nets

NETS = {"heads": 40, "units": 60, "channels": 60, "heads and blocks": 40}
PLANTED = {"heads": 24, "units": 60}
EACH, MEAN, FEWER = 2, 32, 150


@dataclass
class Row:
    """Sets that a method found, one entry for each.

    Attributes:
        size: members.
        kept: share of the score.
        best: members of the smallest subset that suffices.
        most: share that the best subset of that size keeps.
        spent: evaluations.
    """

    size: Tensor
    kept: Tensor
    best: Tensor
    most: Tensor
    spent: Tensor

    @classmethod
    def of(cls, selected: Tensor, spent: Tensor, truth: Truth) -> Row:
        """Judge sets, bool [rows, components]."""
        return cls(*truth.of_sets(selected), *truth.best(), spent.double())

    @classmethod
    def joined(cls, rows: list[Row]) -> Row:
        """All sets of several rows."""
        return cls(*(torch.cat([getattr(row, name) for row in rows]) for name in vars(rows[0])))

    @property
    def same_size(self) -> Tensor:
        """Whether sets suffice and are as small as can be."""
        return (self.size == self.best) & (self.kept >= RETAIN)


def judged(one: Case, number: int) -> dict[str, Row]:
    """What all methods find, for the behaviours of a net."""
    found = one.explained()
    truth = Truth.of(found)
    clear = (found.scores.full - found.scores.baseline).abs() > SAME
    fewer = one.explained(max_evals=FEWER)
    sets = {
        "**gates**, default": (found.selected, found.n_evaluations),
        f"**gates**, `max_evals={FEWER}`": (fewer.selected, fewer.n_evaluations),
        "attribution patching": patching(one, truth, prune=False),
        "attribution patching, pruned": patching(one, truth, prune=True),
        "greedy pruning": greedy(truth),
        "greedy pruning, then random orders": random_orders(truth, found.n_evaluations, number),
    }
    rows = {name: Row.of(*of, truth) for name, of in sets.items()}
    return {name: Row(*(value[clear] for value in vars(row).values())) for name, row in rows.items()}


def subsets(name: str, n_nets: int) -> None:
    """Print the table of a kind of nets."""
    kind, rows = KINDS[name], defaultdict(list)
    for number, net in enumerate(nets_of(name, list(range(NETS[name])))[:n_nets]):
        for what, one in (
            ("one input", case(kind, net, number, EACH)),
            (f"mean of {MEAN}", together(case(kind, net, number, MEAN))),
        ):
            for method, row in judged(one, number).items():
                rows[what, method].append(row)
    for (what, method), several in rows.items():
        row, ours = Row.joined(several), Row.joined(rows[what, "**gates**, default"])
        same = row.same_size
        as_much = same & (row.kept >= row.most - SAME)
        larger = ours.size > row.size
        fewer_kept = (ours.size == row.size) & (ours.kept < row.kept - SAME)
        shares = [f"{share.double().mean():.1%}" for share in (same, as_much, larger, fewer_kept)]
        size = f"{row.size.double().mean():.2f}"
        line(name, what, method, len(same), *shares, size, f"{row.spent.mean():.0f}")


def planted(name: str, n_nets: int) -> None:
    """Print how many planted circuits are found."""
    kind, exact, sizes = KINDS[name], [], []
    for number, (net, circuit) in enumerate(planted_nets(name, list(range(PLANTED[name])))[:n_nets]):
        one = together(case(kind, net, number, MEAN))
        found = one.explained()
        fewer = circuit & ~torch.eye(len(circuit), dtype=torch.bool)[circuit]
        score = found.score_of(torch.cat([circuit.unsqueeze(0), fewer]).unsqueeze(1))[:, 0]
        kept = (score - found.scores.baseline) / (found.scores.full - found.scores.baseline)
        if kept[0] >= RETAIN and bool((kept[1:] < RETAIN).all()):
            exact.append(bool((found.selected[0] == circuit).all()))
            sizes.append(int(circuit.sum()))
    left_out = min(n_nets, PLANTED[name]) - len(exact)
    line(name, len(exact), left_out, f"{min(sizes)}-{max(sizes)}", f"{statistics.mean(exact):.1%}")


def large(n_sequences: int, width: int = 256, length: int = 32) -> None:
    """Print what one solve takes."""
    torch.manual_seed(0)
    net = Transformer(6, 8, width, tokens=64, length=length).eval().requires_grad_(False)
    ids = torch.randint(64, (2, n_sequences, length))
    answers = net(ids[0]).argmax(1), net(ids[1]).argmax(1)

    def forward(x: Tensor, right: Tensor, wrong: Tensor) -> Tensor:
        output, rows = net(x), torch.arange(len(x))
        return output[rows, right] - output[rows, wrong]

    stg = ComponentStochasticGates(forward, head_sites(net))
    start, own = time.perf_counter(), time.process_time()
    found = stg.explain_shared(ids[0], ids[1], None, answers)
    seconds, of_processors = time.perf_counter() - start, time.process_time() - own
    line("large", n_sequences, width, length, torch.get_num_threads(), f"{seconds:.0f} s",
         f"{of_processors:.0f} s", int(found.n_evaluations), int(found.n_selected))  # fmt: skip


def line(*cells: object) -> None:
    """Print a row of a table."""
    print(f"| {' | '.join(map(str, cells))} |", flush=True)


def heading(*names: str, left: int = 1) -> None:
    """Print the head of a table, whose first columns are texts."""
    print()
    line(*names)
    line(*["---"] * left, *["---:"] * (len(names) - left))


def main(arguments: list[str]) -> int:
    """Run it."""
    parser = argparse.ArgumentParser(
        prog="bench components", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("parts", nargs="*", default=["subsets", "planted", "large"])
    parser.add_argument("--kinds", nargs="*", default=list(NETS), help="kinds of nets")
    parser.add_argument("--nets", type=int, default=1000, help="nets of each kind, at most")
    parser.add_argument("--quick", action="store_true", help="six nets of each of two kinds")
    chosen = parser.parse_args(arguments)
    kinds, n_nets = (["units", "channels"], 6) if chosen.quick else (chosen.kinds, chosen.nets)
    if "subsets" in chosen.parts:
        judgement = ("same size", "as much", "larger", "fewer kept", "size", "evaluations")
        heading("nets", "score", "method", "sets", *judgement, left=3)
        for name in kinds:
            subsets(name, n_nets)
    if "planted" in chosen.parts:
        heading("planted", "nets", "left out", "members", "exact")
        for name in (k for k in kinds if k in PLANTED):
            planted(name, n_nets)
    if "large" in chosen.parts:
        heading(
            "solve", "sequences", "width", "tokens", "threads", "time", "of processors", "rows", "selected"
        )
        large(64 if chosen.quick else 512)
    return 0
