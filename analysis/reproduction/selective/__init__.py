"""The selective circuit study of Geneformer and scGPT: its published numbers."""
