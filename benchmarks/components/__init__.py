"""Gates on components of a model, beside all subsets of these, planted circuits and other methods."""
