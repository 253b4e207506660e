"""Published circuit edges as records."""
