"""The report: one self-contained HTML page in which every claim stands beside its control.

>>> from scircuit.analysis.report import ReportInput, build_report
"""

from scircuit.analysis.report.build import build_report
from scircuit.analysis.report.findings import Finding, findings
from scircuit.analysis.report.parts import Check, ReportInput, SampleQuery

__all__ = ["Check", "Finding", "ReportInput", "SampleQuery", "build_report", "findings"]
