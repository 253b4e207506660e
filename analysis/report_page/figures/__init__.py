"""Figures of the report: each as SVG, with the numbers that it shows."""
