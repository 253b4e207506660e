"""Every finding that a test of the analyses makes is read: its sentence has no value that is not
known, and is short.
"""

from __future__ import annotations

import re

import pytest

from scircuit.analysis.finding import Finding

MOST_WORDS = 55
"""About 45 are meant; names of runs, sets and readouts make some longer."""

_UNKNOWN = re.compile(r"\b(nan|NaN|None|inf|NA)\b")


@pytest.fixture(autouse=True)
def readable_findings(monkeypatch):
    made = Finding.__init__

    def checked(self, *args, **kwargs):
        made(self, *args, **kwargs)
        assert not _UNKNOWN.search(f"{self.sentence} {self.null}"), self.sentence
        if self.name != "set_classes":  # a clause for each class and each two of them
            assert len(self.sentence.split()) <= MOST_WORDS, self.sentence

    monkeypatch.setattr(Finding, "__init__", checked)
