"""Tiny models, small runs, plain restatements and fixtures that several tests share."""
