"""Figures that were measured, for tests to compare with. `python run.py measure` writes them."""

# Share of 400 random networks whose selected set is the smallest one that suffices, with default settings.
# Of the two estimators, the lower share. Small sets match an output by chance, so OutputMatch has low shares.
OPTIMUM_SHARES = {
    "Preserve(RetainedScore)": 0.995,
    "Preserve(OutputMatch)": 0.5025,
    "Delete(RetainedScore)": 0.9925,
    "Delete(OutputMatch)": 0.4875,
    "Hybrid(RetainedScore)": 0.9925,
    "Hybrid(OutputMatch)": 0.4675,
}

# Tensor operations of one update beyond those of the model, at most, after the first update.
OPERATIONS_OF_AN_UPDATE = {
    "default": 116,
    "a fixed weight": 66,
}

# Rows of the first seven calls of the model in a default solve of one example: input, baseline, five updates.
ROWS_OF_FIRST_CALLS = [1, 1, 32, 32, 32, 32, 32]
