"""Published results as records: one importer a format, each giving an `ingest.importers.source.Source` before anything is written."""
