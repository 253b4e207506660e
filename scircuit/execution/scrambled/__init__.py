"""Scrambled copies of a trace run, and its headline numbers beside theirs."""
