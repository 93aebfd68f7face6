"""The report of runs: one HTML page that holds everything it shows."""

from dftcore.report.page import ReportConfig, write_report

__all__ = ["ReportConfig", "write_report"]
