"""The result files of the studies, read when a check asks for them, each once.

Names are relative: to the folder of results (``revision/P1_calibration/summary.json``), or to a
folder of feature atlases where they begin with ``atlas:``
(``atlas:geneformer/layer_05_features.json``). JSON may be gzipped.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from scircuit.core.errors import UserError

ATLAS = "atlas:"
_FOLDERS = (
    *("exhaustive_tracing", "higher_order_ablation", "trajectory_steering", "revision"),
    *("atlas", "geneformer", "scgpt"),
)


class StudyFiles:
    """Result files below one folder, and feature atlases below another.

    Parameters
    ----------
    root
        Folder of the results, or None.
    atlas
        Folder with ``geneformer/`` and ``scgpt/``, or None.
    read
        Reads one JSON file, plain or gzipped, and refuses a damaged one.
    read_atlas
        The same for a file of an atlas, which may contain ``Infinity``.
    """

    def __init__(
        self,
        root: Path | None,
        atlas: Path | None,
        read: Callable[[Path], Any],
        read_atlas: Callable[[Path], Any],
    ) -> None:
        self.root, self.atlas = root, atlas
        self._read, self._read_atlas = read, read_atlas
        self._known: dict[str, Any] = {}

    def path(self, name: str) -> Path | None:
        """Where a file is, or None if it is missing. A name with ``*`` stands for several."""
        base = self.atlas if name.startswith(ATLAS) else self.root
        if base is None:
            return None
        relative = name.removeprefix(ATLAS)
        if "*" in relative:
            return next(iter(sorted(base.glob(relative))), None)
        for path in (base / relative, base / f"{relative}.gz"):
            if path.is_file():
                return path
        return None

    def json(self, name: str) -> Any:
        """Content of a JSON file that `path` found.

        Raises
        ------
        UserError
            If it is missing or damaged.
        """
        if name not in self._known:
            path = self.path(name)
            if path is None:
                raise UserError(f"there is no file {name}", "check the folder")
            read = self._read_atlas if name.startswith(ATLAS) else self._read
            self._known[name] = read(path)
        return self._known[name]

    def all_json(self, pattern: str) -> dict[str, Any]:
        """Content of every JSON file that matches, by file name without suffix, in order."""
        base = self.root
        found = sorted(base.glob(pattern)) if base is not None else []
        return {p.stem: self.json(str(p.relative_to(base))) for p in found if base is not None}

    def once(self, name: str, compute: Callable[[StudyFiles], Any]) -> Any:
        """A value that several checks share, computed for the first of them."""
        if name not in self._known:
            self._known[name] = compute(self)
        return self._known[name]


def results_root(folder: Path) -> Path:
    """The folder that holds the studies' result folders: `folder`, or ``results`` in it.

    Raises
    ------
    UserError
        If neither has one of them.
    """
    if not folder.is_dir():
        raise UserError(f"{folder} is not a folder", "give the folder of the studies' result files")
    for root in (folder, folder / "results"):
        if any((root / name).is_dir() for name in _FOLDERS[:4]):
            return root
    raise UserError(
        f"{folder} has none of the folders {', '.join(_FOLDERS[:4])}",
        "give the folder of the studies' result files (results/ of the published repository)",
    )


def atlas_root(folder: Path) -> Path:
    """The folder with ``geneformer/`` or ``scgpt/``: `folder`, or ``atlas`` in it.

    Raises
    ------
    UserError
        If neither has one of them.
    """
    for root in (folder, folder / "atlas"):
        if any((root / name).is_dir() for name in _FOLDERS[5:]):
            return root
    raise UserError(
        f"{folder} has neither geneformer/ nor scgpt/",
        "give the folder that holds the feature atlases, one folder a model",
    )
