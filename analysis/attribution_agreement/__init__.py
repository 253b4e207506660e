"""What attribution and ablation say of the same pairs of features."""
