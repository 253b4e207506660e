"""The exhaustive map of layer 5 of Geneformer: its published numbers, by theme."""
