"""scircuit."""
