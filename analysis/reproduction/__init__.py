"""Published numbers of the circuit studies, recomputed from their result files."""
