"""Cells as sentences of gene names, which language models such as Cell2Sentence read."""
