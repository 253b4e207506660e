"""Gene sets: libraries, file formats, gene symbols and their aliases, ontology, shipped data."""
