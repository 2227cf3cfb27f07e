"""The loop: examples leave it when they have settled, and no example notices the others."""

import torch

from stg_attr.gates import BinaryConcrete, FeatureGroups
from stg_attr.objective import Sweep
from stg_attr.solve import Reparameterized, Solver

SOLVER = Solver(BinaryConcrete(), Sweep(), Reparameterized(), 0.0, 12, 16, 0)


def _solve(worth, noise, n_steps=12):
    """Solve -sum(z worth), with per-sample slopes shaken by `noise`; the rows asked for in every step."""
    asked = []
    batch, n = worth.shape

    def loss(z, draws, examples):
        asked.append(examples.tolist())
        shaken = torch.randn(len(z), 1, n, generator=torch.Generator().manual_seed(len(asked)))
        return -(z * (worth[examples] + noise[examples].unsqueeze(1) * shaken)).sum(2)

    groups = FeatureGroups.from_mask(None, (torch.zeros(batch, n),))
    solver = Solver(*[{"n_steps": n_steps}.get(k, v) for k, v in vars(SOLVER).items()])
    return solver.fit(loss, groups, batch, torch.zeros(1, dtype=torch.long), torch.float32), asked


def test_what_has_settled_is_not_asked_about_again():
    worth = torch.tensor([[8.0, 4.0, 2.0, 1.0]]).repeat(2, 1)
    solution, asked = _solve(worth, torch.tensor([0.0, 60.0]))
    assert solution.n_steps.tolist() == [sum(row in step for step in asked) for row in range(2)]
    assert 5 <= solution.n_steps[0] < solution.n_steps[1] == 12
    assert solution.loss_trace.isfinite().sum(0).tolist() == solution.n_steps.tolist()


def test_leaving_does_not_change_who_stays():
    worth = torch.tensor([[8.0, 4.0, 2.0, 1.0], [1.0, 2.0, 3.0, 9.0]])
    noise = torch.tensor([0.0, 60.0])
    together, _ = _solve(worth, noise)
    alone, _ = _solve(worth[1:], noise[1:])
    torch.testing.assert_close(together.parameter[1:], alone.parameter)
    assert together.n_steps[1] == alone.n_steps[0]


def test_a_solve_too_short_to_settle_takes_all_its_steps():
    solution, asked = _solve(torch.tensor([[8.0, 4.0, 2.0, 1.0]]), torch.tensor([0.0]), n_steps=4)
    assert solution.n_steps.tolist() == [4]
    assert len(asked) == 4
