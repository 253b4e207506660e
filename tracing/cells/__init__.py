"""Cells of a file to a cohort: every input check, filters, scale, identifiers and species."""
