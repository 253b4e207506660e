"""Result files of the published exhaustive map as records."""
