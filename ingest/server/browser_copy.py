"""A study's copy of the Neo4j Browser, with a script that runs before it and additional files.

The Browser stores style, saved queries and settings in the page's local storage, and reads them
when its scripts load. A copy of its jar therefore gets one more ``<script src>`` before the first
one of ``index.html``, and only the copy is on the server's class path. The original in the cache is
not changed.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import re
import tempfile
import zipfile
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath

from scircuit.core.errors import UserError
from scircuit.ingest.server.jars import cache_dir
from scircuit.ingest.server.jvm import PLAIN

SCRIPT_NAME = "scircuit-seed.js"
INDEX = "browser/index.html"


@dataclass(frozen=True)
class BrowserSeed:
    """Content that is added to the Browser.

    Attributes
    ----------
    script
        JavaScript, run before the Browser's own scripts on every load of the page; it can write
        ``localStorage``.
    files
        Further files by their path below ``/browser/``, such as ``scircuit/guide.html``.
    post_connect
        Browser command without its colon to run after connecting, such as ``play http://...``;
        ``{http}`` is replaced by the server's HTTP root. Empty: no command.
    """

    script: str = ""
    files: Mapping[str, bytes] = field(default_factory=dict)
    post_connect: str = ""

    @property
    def digest(self) -> str:
        """Hash of script and files, which identifies a copy of the Browser."""
        state = hashlib.sha256(self.script.encode("utf-8"))
        for name in sorted(self.files):
            state.update(
                b"\0" + name.encode("utf-8") + b"\0" + hashlib.sha256(self.files[name]).digest()
            )
        return state.hexdigest()[:16]


def seeded_jar(original: Path, home: Path, seed: BrowserSeed) -> Path:
    """Return the study's copy of the Browser with this seed; it is created if absent.

    Raises
    ------
    UserError
        If a file's path is outside ``/browser/`` or would replace a file of the Browser.
    """
    target = _folder(home) / f"{original.stem}-{seed.digest}.jar"
    if not target.exists():
        part = target.with_suffix(f".{os.getpid()}.part")
        _copy(original, part, seed)
        part.replace(target)
    if target.parent == home / "browser":
        for other in target.parent.glob("*.jar"):
            if other != target:
                other.unlink()
    return target


def current_jar(original: Path, home: Path, digest: str = "") -> Path:
    """Return the copy from an earlier start, by the hash of its seed, or the original."""
    copy = _folder(home) / f"{original.stem}-{digest}.jar"
    return copy if copy.exists() else original


def _folder(home: Path) -> Path:
    """Return the folder of the copy: in the home, or, where the home's path has characters that
    the server cannot serve from (``[``, ``?``), one of this user with a plain path.

    Raises
    ------
    UserError
        If there is none.
    """
    own = home / "browser"
    others = (cache_dir() / "browser-copies", Path(tempfile.gettempdir()) / _of_this_user())
    for folder in (own, *others):
        if not PLAIN.fullmatch(str(folder.resolve())):
            continue
        with contextlib.suppress(OSError):
            folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            if folder.stat().st_uid == os.geteuid() and os.access(folder, os.W_OK):
                return folder
    raise UserError(
        f"the server cannot serve its Browser from {home}: the path has characters other than"
        " letters, digits and '-_.', and no other folder could be used",
        "choose another --study folder, or set SCIRCUIT_CACHE to a folder with a plain path",
    )


def _of_this_user() -> str:
    return f"scircuit-{os.geteuid()}"


def _copy(original: Path, part: Path, seed: BrowserSeed) -> None:
    with (
        zipfile.ZipFile(original) as source,
        zipfile.ZipFile(part, "w", zipfile.ZIP_DEFLATED, compresslevel=1) as copy,
    ):
        taken = set(source.namelist()) | {f"browser/{SCRIPT_NAME}"}
        for name in seed.files:
            path = PurePosixPath(name)
            if path.is_absolute() or ".." in path.parts or f"browser/{path}" in taken:
                raise UserError(
                    f"a file for the Browser cannot be named {name!r}: it is outside /browser/ or"
                    " in use",
                    "use a relative path in a separate folder, such as scircuit/guide.html",
                )
        for entry in source.infolist():
            content = source.read(entry)
            if entry.filename == INDEX:
                content = _with_script(content.decode("utf-8"), seed.digest).encode("utf-8")
            copy.writestr(entry.filename, content)
        copy.writestr(f"browser/{SCRIPT_NAME}", seed.script)
        for name, content in seed.files.items():
            copy.writestr(f"browser/{PurePosixPath(name)}", content)


def _with_script(page: str, digest: str) -> str:
    """Insert the script before the page's first one; the digest in the address makes browsers fetch
    a changed one.
    """
    tag = f'<script src="{SCRIPT_NAME}?{digest}"></script>'
    changed, count = re.subn(r"<script\b", lambda found: tag + found[0], page, count=1)
    if count != 1:
        raise ValueError(
            f"{INDEX} of the Browser has no <script> tag before which to insert the seed"
        )
    return changed
