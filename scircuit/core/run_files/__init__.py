"""What the folder of a run holds beside its records, and who may write there."""
