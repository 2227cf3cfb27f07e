"""Ground-truth and faithfulness benchmarks, P1 to P7, of the project beside captum."""
