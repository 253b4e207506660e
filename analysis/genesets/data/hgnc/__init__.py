"""Data folder: names of genes (HGNC)."""
