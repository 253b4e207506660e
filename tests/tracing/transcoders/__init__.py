"""Transcoders: files, sites, training and how they fit a model."""
