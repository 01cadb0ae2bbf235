"""A page of scores that opens from disk: means, charts, and a table to listen to the files with the worst scores."""

from dtln.reporting.page import ReportSettings, require_page_name, write_report
from dtln.reporting.table import combine
from dtln.reporting.written import System, read_scores, system_of

__all__ = ["ReportSettings", "System", "combine", "read_scores", "require_page_name", "system_of", "write_report"]
