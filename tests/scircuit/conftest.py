"""A small study that several tests of verbs begin with."""

from __future__ import annotations

import pytest

from tests.support.named_study import Named, folder_name
from tests.support.study_runs import trace


@pytest.fixture(scope="session")
def named_base(examples, tmp_path_factory) -> Named:
    """A traced, annotated and analysed study with names that are hard to handle; to be copied, not
    changed.
    """
    from scircuit.workflows.analyse import analyse
    from scircuit.workflows.annotate import annotate

    named = Named(tmp_path_factory.mktemp("base") / folder_name("Folder"), examples)
    options = named.verbs()
    trace(named.study, database=False, quiet=True, **options["trace"])
    annotate(study=named.study, database=False, quiet=True, **options["annotate"])
    analyse(study=named.study, database=False, **options["analyse"])
    return named
