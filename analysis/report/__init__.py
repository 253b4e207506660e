"""The report: one self-contained HTML page in which every claim stands beside its control.

>>> from analysis.report import ReportInput, build_report
"""

from analysis.report.build import build_report
from analysis.report.findings import Finding, findings
from analysis.report.parts import Check, ReportInput, SampleQuery

__all__ = ["Check", "Finding", "ReportInput", "SampleQuery", "build_report", "findings"]
