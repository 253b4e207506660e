"""Packages and where they lie: the rooms stand at the top of the repository and are installed
inside `scircuit`.
"""

from setuptools import find_namespace_packages, setup

# Folders without modules, such as queries/cypher/, count as packages too: setuptools installs their
# data files only then.
ROOMS = ("tracing", "ingest", "analysis", "queries")

_NOT = ("*.__pycache__",)

inside_rooms = find_namespace_packages(
    include=[pattern for room in ROOMS for pattern in (room, f"{room}.*")], exclude=_NOT
)
setup(
    packages=[
        *find_namespace_packages(include=["scircuit", "scircuit.*"], exclude=_NOT),
        *(f"scircuit.{name}" for name in inside_rooms),
    ],
    package_dir={f"scircuit.{room}": room for room in ROOMS},
)
