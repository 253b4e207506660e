"""Findings of a run as files: what the report draws and the CSV export copies."""
