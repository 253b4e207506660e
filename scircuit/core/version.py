"""The version of scircuit, as manifests record it."""

__version__ = "0.1.0"
