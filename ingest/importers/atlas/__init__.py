"""Published feature atlases as records."""
