"""The report: one self-contained HTML page in which every claim stands beside its control.

>>> from scircuit.analysis.report_page import ReportInput, build_report
"""

from scircuit.analysis.report_page.build_page import ReportPage, build_report, report_page
from scircuit.analysis.report_page.findings import Finding, findings
from scircuit.analysis.report_page.report_input import (
    Check,
    ReportInput,
    SampleQuery,
    StoredFinding,
)
from scircuit.analysis.report_page.story import story

__all__ = [
    "Check",
    "Finding",
    "ReportInput",
    "ReportPage",
    "SampleQuery",
    "StoredFinding",
    "build_report",
    "findings",
    "report_page",
    "story",
]
