"""Shards belong to one run, and are read only as they were written."""

import json
import random
import shutil

import pyarrow.parquet as pq
import pytest
import torch
from torch import nn
from torch.utils.data import TensorDataset

from stg_attr import ArgumentError
from stg_attr.scale import load_attributions, summarise
from stg_attr.scale.run_error import RunError

from .conftest import N_COLUMNS, N_ROWS, small_net


def other_net():
    with torch.random.fork_rng():
        torch.manual_seed(8)
        return nn.Sequential(nn.Linear(N_COLUMNS, 16), nn.Tanh(), nn.Linear(16, 3)).eval()


class Meanwhile(TensorDataset):
    """Rows that do something once, when row 20 is read: the first two shards are finished then."""

    def __init__(self, rows, action):
        super().__init__(rows)
        self.action = action

    def __getitem__(self, i):
        if i == 20 and self.action is not None:
            action, self.action = self.action, None
            action()
        return super().__getitem__(i)


def test_one_changed_bit_anywhere_is_found(explain, rows):
    out = explain(small_net, rows[:16])
    shard = out / "rows" / "part-000001.parquet"
    whole, draw = shard.read_bytes(), random.Random(0)
    places = [*range(-200, 0), *(draw.randrange(len(whole)) for _ in range(200))]
    for place in places:
        changed = bytearray(whole)
        changed[place] ^= 1 << draw.randrange(8)
        shard.write_bytes(changed)
        with pytest.raises(ArgumentError, match=r"output: .*part-000001\.parquet.*Delete this file"):
            load_attributions(out)
    shard.write_bytes(whole)
    assert len(load_attributions(out)) == 16


def test_a_changed_footer_is_found_before_the_run_goes_on(explain, rows):
    out = explain(small_net, rows[:16])
    shard = out / "rows" / "part-000001.parquet"
    whole = shard.read_bytes()
    for place in range(-150, -4, 3):
        changed = bytearray(whole)
        changed[place] ^= 1
        shard.write_bytes(changed)
        with pytest.raises(ArgumentError, match=r"part-000001\.parquet"):
            explain(small_net, rows[:16])


def test_a_changed_manifest_is_found(explain, rows):
    out = explain(small_net, rows[:16])
    manifest = out / "manifest.json"
    manifest.write_text(manifest.read_text().replace('"n_rows": 16', '"n_rows": 17'))
    for read in (load_attributions, summarise):
        with pytest.raises(ArgumentError, match="a different run has written it"):
            read(out)


def _rewrite(shard, about):
    pq.write_table(pq.read_table(shard).replace_schema_metadata(about), shard)


def test_shards_of_a_release_without_checksums_are_read(explain, rows):
    out = explain(small_net, rows[:16])
    before = load_attributions(out)
    for shard in (out / "rows").iterdir():
        _rewrite(shard, {"stg_attr": json.dumps({"failed": 0})})
    assert torch.equal(load_attributions(out).log_alpha, before.log_alpha)


def test_a_shard_that_another_program_has_written_is_refused(explain, rows):
    out = explain(small_net, rows[:16])
    _rewrite(out / "rows" / "part-000000.parquet", None)
    for act in (lambda: load_attributions(out), lambda: explain(small_net, rows[:16])):
        with pytest.raises(ArgumentError, match=r"part-000000\.parquet: explain_dataset has not written it"):
            act()


def test_overwriting_reaches_through_a_link(explain, rows, table_of, tmp_path):
    expected = table_of(explain(other_net, rows, "fresh"))
    (tmp_path / "disk").mkdir()
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "rows").symlink_to(tmp_path / "disk", target_is_directory=True)
    first = table_of(explain(small_net, rows))
    assert not first.equals(expected)
    assert table_of(explain(other_net, rows, overwrite=True)).equals(expected)
    assert len(list((tmp_path / "disk").iterdir())) == 9


def test_a_run_that_is_overwritten_stops_and_leaves_nothing(explain, rows, table_of, tmp_path):
    expected = table_of(explain(other_net, rows, "fresh"))
    data = Meanwhile(rows, lambda: explain(other_net, rows, overwrite=True))
    with pytest.raises(RunError, match=r"different run has begun.*writes no more"):
        explain(small_net, data)
    assert table_of(tmp_path / "out").equals(expected)


def test_a_shard_of_a_different_run_is_not_taken_for_one_of_this(explain, rows, table_of):
    out = explain(small_net, rows)
    whole = table_of(out)
    shutil.copy(explain(other_net, rows, "other") / "rows" / "part-000003.parquet", out / "rows")
    with pytest.raises(ArgumentError, match=r"part-000003\.parquet: a different run has written it"):
        load_attributions(out)
    assert table_of(explain(small_net, rows)).equals(whole)
    assert len(load_attributions(out)) == N_ROWS


def test_two_equal_runs_share_a_folder(explain, rows, table_of):
    expected = table_of(explain(small_net, rows, "alone"))
    data = Meanwhile(rows, lambda: explain(small_net, rows))
    out = explain(small_net, data)
    assert table_of(out).equals(expected)
    assert not (out / "unfinished").exists()


EQUAL = """
import sys, torch
from torch.utils.data import TensorDataset
from stg_attr.scale import explain_dataset
torch.set_num_threads(1)
torch.manual_seed(0)
net, rows = torch.nn.Linear(5, 1).eval(), TensorDataset(torch.randn(300, 5))
outcome = explain_dataset(lambda: net, rows, sys.argv[1], batch_rows=4, n_steps=1, n_samples=2)
print(outcome.explained + outcome.found)
"""


@pytest.mark.slow
def test_processes_that_run_the_same_all_finish(tmp_path, python):
    for i in range(3):
        runs = [python("-c", EQUAL, tmp_path / str(i)) for _ in range(3)]
        assert [run.communicate(timeout=120) for run in runs] == [("300\n", "")] * 3
        assert len(load_attributions(tmp_path / str(i))) == 300
