"""Consensus: what two runs agree on, beside what random targets and rewired edges agree on."""
