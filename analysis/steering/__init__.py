"""What a steering run found, with the feature as the unit."""
