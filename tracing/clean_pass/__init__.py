"""The forward pass without edits: states, sparse codes, and the genes each feature fires on."""
