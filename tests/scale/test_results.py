"""Every reader returns the rows that were written, and a summary is computed from them."""

import numpy as np
import pytest
import torch

from stg_attr import ArgumentError, Status, viz
from stg_attr.scale import load_attributions, summarise

from .conftest import N_ROWS, small_net


@pytest.fixture
def out(explain, rows):
    rows[4] = torch.nan
    return explain(small_net, rows)


def test_a_summary_is_that_of_the_rows(out):
    summary, found = summarise(out), load_attributions(out)
    assert summary.n_rows == N_ROWS
    assert summary.statuses["FAILED"] == 1
    assert sum(summary.statuses.values()) == N_ROWS
    assert summary.statuses["CONVERGED"] == sum(status is Status.CONVERGED for status in found.status)
    values = found.attributions.double()
    assert torch.allclose(summary.importance, values.mean(0), rtol=1e-12)
    assert torch.allclose(summary.spread, values.std(0, correction=0), rtol=1e-9)
    assert torch.allclose(summary.selected, found.selected.double().mean(0), rtol=1e-12)
    assert summary.feature_ids.tolist() == [0, 1, 2, 3, 4]
    assert summary.evaluations == int(found.evaluations.sum())
    assert summary.failures == {"input 0: expected finite numbers; found 5 of 5 NaN or inf": 1}


def test_the_worst_rows_come_first(out):
    summary, found = summarise(out), load_attributions(out)
    kept, baseline, full = (found.evidence[name].numpy() for name in ("kept", "baseline", "full"))
    lost = dict(zip(found.ids, 1 - (kept - baseline) / (full - baseline), strict=True))
    fine = (Status.CONVERGED, Status.BASELINE_HIGHER, Status.NOTHING_TO_EXPLAIN)
    rank = {i: (status not in fine, lost[i]) for i, status in zip(found.ids, found.status, strict=True)}
    assert [row for row, _, _ in summary.worst] == sorted(rank, key=rank.__getitem__, reverse=True)[:20]
    assert np.allclose([share for _, _, share in summary.worst], [lost[row] for row, _, _ in summary.worst])


def test_as_many_of_the_worst_rows_as_asked_for(out):
    worst = summarise(out).worst
    assert len(worst) == 20
    assert summarise(out, n_worst=3).worst == worst[:3]
    assert summarise(out, n_worst=0).worst == ()
    with pytest.raises(ArgumentError, match=r"n_worst: .*at least 0"):
        summarise(out, n_worst=-1)


def test_a_summary_can_be_read(out):
    text = str(summarise(out))
    assert text.startswith("70 rows: ")
    assert "1 failed" in text
    assert "feature 4: active" in text


def test_a_summary_counts_a_feature_where_it_is(explain, rows):
    def halves(x):
        return (x > 0).long() + 3  # ids 3 and 4, and sometimes only one of them

    summary = summarise(explain(small_net, rows[:, :5], feature_mask=halves))
    found = load_attributions(explain(small_net, rows[:, :5], feature_mask=halves))
    assert summary.feature_ids.tolist() == [3, 4]
    for place, feature in enumerate((3, 4)):
        assert torch.allclose(
            summary.importance[place], found.attributions[found.feature_ids == feature].double().mean()
        )


def test_attributions_can_be_drawn(out):
    pytest.importorskip("matplotlib", reason="pictures need matplotlib")
    found = load_attributions(out)
    _, ax = viz.importance(found.attributions)
    order = summarise(out).importance.argsort(descending=True)
    assert [label.get_text() for label in ax.get_yticklabels()] == [f"feature {i}" for i in order.tolist()]


def test_an_unfinished_output_can_be_read(out):
    for number in (0, 5):
        (out / "rows" / f"part-{number:06d}.parquet").unlink()
    assert summarise(out).n_rows == N_ROWS - 16
    assert load_attributions(out).ids == (*range(8, 40), *range(48, 70))


def test_pandas_reads_it(out):
    pandas = pytest.importorskip("pandas", reason="pandas is not installed")
    frame, found = pandas.read_parquet(out / "rows"), load_attributions(out)
    good = frame[frame.status != "FAILED"]
    assert np.array_equal(np.stack(good.attributions), found.attributions.numpy())
    assert frame.id.tolist() == list(range(N_ROWS))
    assert frame.message[4].startswith("input 0")


def test_polars_reads_it(out):
    polars = pytest.importorskip("polars", reason="polars is not installed")
    frame, found = polars.read_parquet(out / "rows"), load_attributions(out)
    good = frame.filter(polars.col("status") != "FAILED")
    assert np.array_equal(
        np.array(good["attributions"].to_list(), dtype=np.float32), found.attributions.numpy()
    )


def test_polars_frames_can_be_explained(explain, rows, table_of):
    polars = pytest.importorskip("polars", reason="polars is not installed")
    frame = polars.DataFrame(rows.numpy(), schema=list("abcde"))
    assert table_of(explain(small_net, frame)).equals(table_of(explain(small_net, rows, "tensors")))


def test_duckdb_reads_it(out):
    duckdb = pytest.importorskip("duckdb", reason="duckdb is not installed")
    found = load_attributions(out)
    query = (
        f"select avg(attributions[2]), sum(evaluations) from '{out}/rows/*.parquet' where status <> 'FAILED'"
    )
    mean, evaluations = duckdb.sql(query).fetchall()[0]
    assert mean == pytest.approx(float(found.attributions[:, 1].double().mean()), rel=1e-12)
    assert evaluations == int(found.evaluations.sum())


def test_an_output_must_be_one(tmp_path):
    for read in (load_attributions, summarise):
        with pytest.raises(ArgumentError, match=r"output: .*manifest"):
            read(tmp_path)


def test_an_output_must_have_a_shard(out):
    for shard in (out / "rows").iterdir():
        shard.unlink()
    for read in (load_attributions, summarise):
        with pytest.raises(ArgumentError, match=r"path: .*finished shard"):
            read(out)
