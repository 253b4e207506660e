"""Cells to the tokens that a model reads: by rank (Geneformer) or by bins (scGPT), and the
vocabularies.
"""
