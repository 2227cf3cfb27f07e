"""Documents and tables of many explained rows, for readers who did not run the model."""

from .composing import report
from .difference import diff
from .document import Report
from .reasons import Reason, reason_codes
from .settings import ReportSettings

__all__ = ["Reason", "Report", "ReportSettings", "diff", "reason_codes", "report"]
