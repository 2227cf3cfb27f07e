"""What a solve costs in time and memory, beside the bare model and beside other methods."""
