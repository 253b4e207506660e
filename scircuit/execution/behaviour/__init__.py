"""A behaviour circuit from what was asked for to its records: genes and cells, edges, finding."""
