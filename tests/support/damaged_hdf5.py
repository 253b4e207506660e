"""Every single damage to a node or attribute of an HDF5 file: removed, truncated, retyped, replaced
by noise.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import NamedTuple

import h5py
import numpy as np

HUGE = 10**12  # cells or numbers that a header claims without storing them


class Damage(NamedTuple):
    """One damage: where, what, and the function that does it to an open file."""

    node: str
    kind: str
    do: Callable[[h5py.File], None]


def damages(path) -> Iterator[Damage]:
    """All of them, for the nodes and attributes that a file holds."""
    with h5py.File(path) as file:
        found = {"/": file}
        file.visititems(lambda name, node: found.update({name: node}) and None)
        kinds = {name: isinstance(node, h5py.Dataset) for name, node in found.items()}
        attributes = {name: list(node.attrs) for name, node in found.items()}
    for name, is_dataset in kinds.items():
        if name != "/":
            for kind, do in {**_NODE, **(_DATASET if is_dataset else _GROUP)}.items():
                yield Damage(name, kind, _on_node(name, do))
        for attribute in attributes[name]:
            for kind, do in _ATTRIBUTE.items():
                yield Damage(f"{name}@{attribute}", kind, _on_attribute(name, attribute, do))


def _on_node(name, do):
    return lambda file: do(file, name)


def _on_attribute(name, attribute, do):
    return lambda file: do(file[name].attrs, attribute)


def _replace(file, name, value, **options):
    kept = dict(file[name].attrs)
    del file[name]
    if isinstance(value, str) and value == "group":
        made = file.create_group(name)
    elif value is None:
        made = file.create_dataset(name, **options)
    else:
        made = file.create_dataset(name, data=value)
    for key, attribute in kept.items():
        made.attrs[key] = attribute


def _dangling(file, name):
    del file[name]
    file[name] = h5py.SoftLink("/nowhere")


def _circle(file, name):
    del file[name]
    file[name] = h5py.SoftLink(f"/{name}")


_NODE = {
    "removed": lambda file, name: file.__delitem__(name),
    "dangling link": _dangling,
    "circular link": _circle,
    "null": lambda file, name: _replace(file, name, h5py.Empty("f4")),
    "scalar": lambda file, name: _replace(file, name, 7),
}
_GROUP = {
    "empty group": lambda file, name: _replace(file, name, "group"),
    "array of numbers": lambda file, name: _replace(file, name, np.arange(5.0)),
    "array of texts": lambda file, name: _replace(file, name, np.array(["a", "b"], dtype="S1")),
}


def _values(file, name):
    """Values of an array; running numbers where it holds records."""
    values = np.asarray(file[name][()])
    return np.arange(values.size) if values.dtype.names else values


def _half(file, name):
    values = file[name][()]
    _replace(file, name, values[: len(values) // 2] if np.ndim(values) else values)


def _one_less(file, name):
    values = file[name][()]
    _replace(file, name, values[:-1] if np.ndim(values) else values)


def _retyped(file, name):
    values = _values(file, name)
    if values.dtype.kind in "OSU":
        _replace(file, name, np.arange(values.size).reshape(values.shape))
    else:
        _replace(file, name, values.astype("S"))


def _as_float(file, name):
    values = _values(file, name)
    size = np.arange(values.size) if values.dtype.kind in "OSU" else values.astype(float).ravel()
    _replace(file, name, (size + 0.5).reshape(values.shape))


def _noise(file, name):
    values = _values(file, name)
    rng = np.random.default_rng(len(name))
    if values.dtype.kind in "OSU":
        bad = [rng.bytes(5).replace(b"\0", b"\xff") for _ in range(values.size)]
        noise = np.array(bad, dtype="S5").reshape(values.shape)
    elif values.dtype.kind == "b":
        noise = rng.random(values.shape) < 0.5
    else:
        noise = np.frombuffer(rng.bytes(values.nbytes), values.dtype).reshape(values.shape)
    _replace(file, name, noise)


def _negative(file, name):
    values = _values(file, name)
    if values.dtype.kind in "iuf":
        _replace(file, name, -1 - values.astype(np.int64))


def _huge(file, name):
    dtype = file[name].dtype
    _replace(file, name, None, shape=(HUGE,), dtype=dtype, chunks=(1 << 20,))


_DATASET = {
    "group": lambda file, name: _replace(file, name, "group"),
    "half": _half,
    "one less": _one_less,
    "no values": lambda file, name: _replace(file, name, np.empty(0)),
    "two dimensions": lambda file, name: _replace(file, name, np.ones((3, 4))),
    "retyped": _retyped,
    "fractions": _as_float,
    "noise": _noise,
    "negative": _negative,
    "compound": lambda file, name: _replace(file, name, np.zeros(3, dtype="i4,f8")),
    "huge": _huge,
}
_ATTRIBUTE = {
    "removed": lambda attrs, name: attrs.__delitem__(name),
    "number": lambda attrs, name: attrs.__setitem__(name, -3),
    "text": lambda attrs, name: attrs.__setitem__(name, "no/such\nthing"),
    "bytes": lambda attrs, name: attrs.__setitem__(name, np.bytes_(b"\xff\xfe")),
    "numbers": lambda attrs, name: attrs.__setitem__(name, np.array([HUGE, HUGE])),
    "null": lambda attrs, name: attrs.__setitem__(name, h5py.Empty("f4")),
}
