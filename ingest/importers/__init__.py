"""Published results as records: one importer a format, each giving an
`scircuit.ingest.importers.source.Source` before anything is written.
"""
