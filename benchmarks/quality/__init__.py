"""Ground-truth and faithfulness benchmarks, P1 to P11, of the project beside captum."""
