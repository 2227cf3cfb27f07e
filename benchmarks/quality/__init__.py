"""Ground-truth and faithfulness benchmarks, P1 to P8, of the project beside captum."""
