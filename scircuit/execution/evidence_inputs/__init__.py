"""Evidence from outside a study that a circuit is held against."""
