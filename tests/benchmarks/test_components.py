"""What `bench components` compares with: the table of all subsets, and pruning along it."""

import torch

from benchmarks.components.cases import Truth
from benchmarks.components.peers import greedy, random_orders

SIZE = torch.tensor([bin(number).count("1") for number in range(8)])
#: Of three components, the first suffices alone; without it, the two others do together.
KEPT = torch.tensor([[0.0], [0.95], [0.5], [1.0], [0.5], [1.0], [0.97], [1.0]])


def test_the_best_is_the_smallest_that_suffices_and_keeps_most():
    truth = Truth(KEPT, SIZE)
    size, most = truth.best()
    assert size.tolist() == [1]
    torch.testing.assert_close(most, torch.tensor([0.95]))
    size, kept = truth.of_sets(torch.tensor([[False, True, True]]))
    assert size.tolist() == [2]
    torch.testing.assert_close(kept, torch.tensor([0.97]))


def test_greedy_pruning_takes_the_least_missed_and_counts():
    kept = KEPT.clone()
    kept[6] = 1.1  # the others without the first: so the first is left out, and two are left
    selected, spent = greedy(Truth(kept, SIZE))
    assert selected.tolist() == [[False, True, True]]
    assert spent.tolist() == [3 + 2]
    better, spent = random_orders(Truth(kept, SIZE), torch.tensor([40]), seed=0)
    assert better.tolist() == [[True, False, False]]
    assert int(spent) <= 40
