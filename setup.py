"""Packages and where they lie: the rooms stand at the top of the repository and are installed
inside `scircuit`.
"""

from setuptools import find_packages, setup

ROOMS = ("tracing", "ingest", "analysis", "queries")

inside_rooms = find_packages(include=[pattern for room in ROOMS for pattern in (room, f"{room}.*")])
setup(
    packages=[
        *find_packages(include=["scircuit", "scircuit.*"]),
        *(f"scircuit.{name}" for name in inside_rooms),
    ],
    package_dir={f"scircuit.{room}": room for room in ROOMS},
)
