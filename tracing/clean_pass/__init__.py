"""The forward pass without edits: states, sparse codes, and the genes that each feature fires on."""
