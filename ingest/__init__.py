"""Stores the records of runs: shards on disk, the Neo4j graph and its server, importers."""
