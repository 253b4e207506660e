"""What steering is read by, from options, obs columns and cells that are not steered."""
