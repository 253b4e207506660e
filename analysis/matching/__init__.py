"""Features of different layers and models that fire on the same genes."""
