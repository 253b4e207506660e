"""The ablation engine: edits, the layers that follow, and per-cell effects on every target feature."""
