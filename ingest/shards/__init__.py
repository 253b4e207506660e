"""Records on disk: Parquet shards and hashes of their content."""
