"""Causal decoders that read cells as sentences: GPT-NeoX and Gemma-2."""
