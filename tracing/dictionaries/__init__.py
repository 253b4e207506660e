"""Sparse dictionaries and transcoders: one interface over the file formats in which they come.

`dictionary` holds what a dictionary computes; one module in `formats` reads each file format
(`native`, `published`, `saelens`, `sparsify`, `dictionary_learning`, `gemma_scope`,
`circuit_tracer`); `load_dictionaries` recognises them; `mlp_site` fits transcoders to a model. No
format is read by a loader that could run code.
"""

from __future__ import annotations

from scircuit.tracing.dictionaries.dictionary import Dictionary
from scircuit.tracing.dictionaries.formats.native import save_dictionary
from scircuit.tracing.dictionaries.load_dictionaries import load_dictionaries

__all__ = ["Dictionary", "load_dictionaries", "save_dictionary"]
