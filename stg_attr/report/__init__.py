"""What a reader who was not there needs of many explanations: the reasons of each row, as a table."""

from .reasons import Reason, reason_codes

__all__ = ["Reason", "reason_codes"]
