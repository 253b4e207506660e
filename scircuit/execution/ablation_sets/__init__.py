"""Which sets of features an ablate run changes: given, of hubs, or classes drawn by pathway."""
