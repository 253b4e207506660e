"""Tests of scircuit; what several of them share is in `tests.support`."""
