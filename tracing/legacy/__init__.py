"""Replication of the published layer-5 map: its cells, its activity rule, its edge rule and its
null, each with what is wrong with it.

Nothing here is used unless a person asks for ``legacy``; `docs/replication.md` says what each
choice does to a result.
"""
