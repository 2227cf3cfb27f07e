"""Tables of many explained rows, for readers who did not run the model: the reasons of each row."""

from .reasons import Reason, reason_codes

__all__ = ["Reason", "reason_codes"]
