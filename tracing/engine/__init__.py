"""The ablation engine: edits, later layers, and per-cell effects on every target feature."""
