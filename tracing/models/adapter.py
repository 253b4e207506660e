"""What every model family offers the tracer: states in, states out, layer by layer, as plain
functions of tensors.

``h_l = layer(l, h_{l-1})`` with ``h_{-1} = embed(cell)``; ``h_l`` is the output of 0-based encoder
layer l. No hooks: an edit is a changed state handed to the next layer. A family states what one row
does (`project`, `finish`); attention between rows is computed here, in one place: every row sees
every other, with no mask.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping
from functools import cached_property, partial
from typing import TYPE_CHECKING, NamedTuple, NoReturn

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from scircuit.core.errors import UserError
from scircuit.tracing.hardware.row_padding import by_row

if TYPE_CHECKING:
    import pyarrow as pa
    from numpy.typing import ArrayLike

    from scircuit.tracing.tokenisation.vocabulary import Vocabulary


def choose_device(device: str) -> torch.device:
    """Turn ``auto`` into CUDA, MPS or CPU, and check that a named device is available.

    Raises
    ------
    UserError
        If the named device is unknown or absent.
    """
    there = {
        "cpu": True,
        "cuda": torch.cuda.is_available(),
        "mps": torch.backends.mps.is_available(),
    }
    if device == "auto":
        device = next(d for d in ("cuda", "mps", "cpu") if there[d])
    kind = device.split(":")[0]
    if not there.get(kind, False):
        found = ", ".join(d for d, ok in there.items() if ok)
        raise UserError(
            f"device {device!r} is not available; this machine has: {found}", "use --device auto"
        )
    return torch.device(device)


class Whole(NamedTuple):
    """A forward pass that does not go through the adapter's layers: what the adapter must agree
    with.
    """

    layers: list[Tensor]  # outputs of encoder layers 0 to L-1, [S, d] each
    logits: Tensor | None  # [S, V]; None where the model has no token head


class Adapter(ABC):
    """One loaded model.

    A cell is a one-dimensional array as `scircuit.tracing.cells.cohort.Cohort.tokens` holds it:
    token ids, or where the model reads values beside them, a structured array with the fields
    ``token`` and ``value``.

    Attributes
    ----------
    name, family
        Name used in addresses; name of the adapter.
    model
        Module that holds the weights.
    n_layers, width, ffn, n_heads, max_length, n_tokens
        Encoder layers, hidden width d, feed-forward width, heads, longest input, size of the
        vocabulary.
    sha256
        Hash of the weight files.
    config_sha256
        Hash of what its configuration says of the arithmetic; empty where `sha256` covers it.
    stored
        Precision of the weights as stored; they are computed with as `dtype`.
    device, dtype
        Where it computes, and in which precision it holds states.
    numerics
        Format of the layers' arithmetic; see `scircuit.tracing.hardware.precision`.
    special
        Token ids that are not genes.
    losses
        Held-out losses as stated beside the weights, where they are.
    notes
        What else lies in the model's folder, or in its files, and is not used; in words.
    adds_to_stream
        Whether a layer's output is its input plus what its blocks give (pre-norm, or attention and
        feed-forward in parallel), with no norm after the sum. Families where it is not have a
        `held` and a `carry` of their own.
    """

    name: str
    family: str
    model: torch.nn.Module
    n_layers: int
    width: int
    ffn: int
    n_heads: int
    max_length: int
    n_tokens: int
    sha256: str
    config_sha256: str = ""
    stored: str = "float32"
    device: torch.device
    dtype: torch.dtype = torch.float32
    numerics: str = "float32"
    special: tuple[int, ...]
    losses: Mapping[str, float] = {}
    notes: tuple[str, ...] = ()
    adds_to_stream: bool = False

    @abstractmethod
    def embed(self, cell: np.ndarray) -> Tensor:
        """Input of layer 0 for one cell [S]: [S, d]; `token_ids` gives its checked ids."""

    @abstractmethod
    def project(
        self, layer: int, states: Tensor, positions: Tensor
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Queries, keys and values, [..., d] each, heads side by side, of states [..., d] at
        `positions` [...].

        Row by row: the result of one row depends on no other row. Rotary models rotate queries and
        keys by `positions`; others ignore it.
        """

    @abstractmethod
    def finish(self, layer: int, states: Tensor, context: Tensor) -> Tensor:
        """Output of a layer [..., d] from its input `states` and what attention gave, `context`,
        row by row.
        """

    def held(self, layer: int, states: Tensor, context: Tensor) -> tuple[Tensor, ...]:
        """What `carry` needs of a clean layer, row by row: its blocks' outputs.

        Parameters
        ----------
        layer
            0-based layer.
        states, context
            Clean input of the layer and what attention gave there, [..., d].

        Returns
        -------
        Tensors [..., d] with the rows of `states`.

        Raises
        ------
        UserError
            If the family does not say how its residual stream goes through a layer.
        """
        self.require_direct_path()
        return states, self.finish(layer, states, context)

    def carry(self, layer: int, rows: Tensor, held: tuple[Tensor, ...]) -> Tensor:  # noqa: ARG002
        """Output of a layer for changed `rows` [N, d] when every block's output keeps its clean
        value, `held` at these rows: no attention and no feed-forward reacts.
        """
        before, after = held
        return after + (rows - before)

    @property
    def has_direct_path(self) -> bool:
        """Whether the family says how its residual stream goes through a layer."""
        return self.adds_to_stream or type(self).carry is not Adapter.carry

    def require_direct_path(self) -> None:
        """Check that effects can be split into direct and computed ones.

        Raises
        ------
        UserError
            If the family does not say how its residual stream goes through a layer.
        """
        if not self.has_direct_path:
            raise UserError(
                f"{self.name} ({self.family}) does not say what its residual stream carries on, so"
                " effects cannot be split into direct and computed ones",
                "set adds_to_stream in its adapter (pre-norm layers), or give it `held` and"
                " `carry`: docs/adapters.md; or trace total effects alone with --null-draws 0",
            )

    @abstractmethod
    def whole_forward(self, cell: np.ndarray) -> Whole:
        """States and logits of one cell by another path than this adapter's layers: the library's
        own modules, say.
        """

    def head_rows(self, states: Tensor) -> Tensor:  # noqa: ARG002
        """Nonlinear part of the prediction head on states [N, d]: [N, d], to which `unembed` is
        linear.
        """
        self.no_token_head()

    def unembed(self, rows: Tensor) -> Tensor:  # noqa: ARG002
        """Linear projection of `head_rows` output [N, d] to token logits [N, V]."""
        self.no_token_head()

    def no_token_head(self) -> NoReturn:
        """Say that this model does not predict tokens.

        Raises
        ------
        UserError
            Always.
        """
        raise UserError(
            f"{self.name} ({self.family}) has no token head, so it gives no logits of genes",
            "trace it, or ablate pairs; steering needs a masked-token model such as Geneformer",
        )

    def project_query(self, layer: int, states: Tensor, positions: Tensor) -> Tensor:
        """Queries alone; families override it where that is cheaper."""
        return self.project(layer, states, positions)[0]

    def project_key_value(
        self, layer: int, states: Tensor, positions: Tensor
    ) -> tuple[Tensor, Tensor]:
        """Keys and values alone; families override it where that is cheaper."""
        return self.project(layer, states, positions)[1:]

    def heads(self, x: Tensor) -> Tensor:
        """[..., S, d] to [..., H, S, d / H]."""
        return x.unflatten(-1, (self.n_heads, -1)).transpose(-3, -2)

    def attend(self, query: Tensor, key: Tensor, value: Tensor) -> Tensor:
        """``softmax(q k^T / sqrt(d / H)) v`` per head, for [B, R, d] queries over [B, S, d] keys
        and values: [B, R, d].
        """
        context = functional.scaled_dot_product_attention(
            self.heads(query), self.heads(key), self.heads(value)
        )
        return context.transpose(1, 2).flatten(2)

    def layer(self, layer: int, states: Tensor) -> Tensor:
        """Output of one layer for states [B, S, d]: [B, S, d]."""
        query, key, value = by_row(partial(self.project, layer), states, self._positions(states))
        return by_row(partial(self.finish, layer), states, self.attend(query, key, value))

    def layer_rows(self, layer: int, states: Tensor, rows: tuple[Tensor, Tensor]) -> Tensor:
        """Output of one layer for states [B, S, d] at ``rows = (slot [N], position [N])``: [N, d].

        Keys and values are computed for all rows, everything else for `rows` only; the result is
        exact. Slots ascend.
        """
        key, value = by_row(partial(self.project_key_value, layer), states, self._positions(states))
        chosen = states[rows]
        query = by_row(partial(self.project_query, layer), chosen, rows[1])
        counts = torch.bincount(rows[0], minlength=len(states)).tolist()
        if len(set(counts)) == 1:
            context = self.attend(query.unflatten(0, (len(states), -1)), key, value).flatten(0, 1)
        else:
            # not padded to one length: the attention kernel takes queries in blocks, and what it
            # gives a row may depend on how many there are
            context = torch.cat(
                [
                    self.attend(own[None], key[i : i + 1], value[i : i + 1])[0]
                    for i, own in enumerate(query.split(counts))
                    if len(own)
                ]
            )
        return by_row(partial(self.finish, layer), chosen, context)

    def layer_edited(
        self, layer: int, clean: Tensor, states: Tensor, edited: tuple[Tensor, Tensor]
    ) -> Tensor:
        """Output of one layer for states [B, S, d] that equal `clean` [S, d] except at rows
        ``edited = (slot [N], position [N])``.

        Queries, keys and values of unedited rows are those of `clean`, computed once.
        """
        project = partial(self.project, layer)
        unchanged = by_row(project, clean, self._positions(clean))
        changed = by_row(project, states[edited], edited[1])
        parts = []
        for of_clean, of_edited in zip(unchanged, changed, strict=True):
            part = of_clean.expand(len(states), -1, -1).clone()
            part[edited] = of_edited
            parts.append(part)
        return by_row(partial(self.finish, layer), states, self.attend(*parts))

    def _positions(self, states: Tensor) -> Tensor:
        return torch.arange(states.shape[-2], device=states.device).expand(states.shape[:-1])

    def logits(self, states: Tensor) -> Tensor:
        """Token logits [..., V] of last-layer states [..., d]."""
        return by_row(lambda rows: self.unembed(self.head_rows(rows)), states)

    def mean_logits(self, states: Tensor) -> Tensor:
        """Token logits [B, V] averaged over the rows of last-layer states [B, R, d]. The projection
        to logits is linear, so the mean is taken before it.
        """
        return by_row(self.unembed, by_row(self.head_rows, states).mean(1))

    @torch.inference_mode()
    def clean_states(self, cell: np.ndarray) -> list[Tensor]:
        """Outputs of encoder layers 0 to L-1 for one cell [S]: list of [S, d].

        Raises
        ------
        UserError
            If the cell is longer than the model accepts or has ids outside its vocabulary.
        """
        state, outputs = self.embed(cell)[None], []
        for l in range(self.n_layers):  # noqa: E741
            state = self.layer(l, state)
            outputs.append(state[0])
        return outputs

    def gene_positions(self, cell: np.ndarray) -> Tensor:
        """Positions of a cell [S] that hold genes, ascending."""
        return torch.from_numpy(np.flatnonzero(self._is_gene(cell))).to(self.device)

    def gene_tokens(self, cell: np.ndarray) -> np.ndarray:
        """Token ids at `gene_positions`, [G]."""
        return ids_of(cell)[self._is_gene(cell)]

    def _is_gene(self, cell: np.ndarray) -> np.ndarray:
        return ~np.isin(ids_of(cell), self.special)

    def token_ids(self, cell: np.ndarray) -> Tensor:
        """Token ids of a cell on the device, [S].

        Raises
        ------
        UserError
            If there are none, more than the model accepts, or some that it does not know.
        """
        ids = ids_of(cell)
        if len(ids) > self.max_length:
            raise UserError(
                f"a cell has {len(ids)} tokens, the model {self.name} accepts {self.max_length}",
                f"set --max-length to {self.max_length} or less",
            )
        if len(ids) == 0 or ids.min() < 0 or ids.max() >= self.n_tokens:
            found = "no tokens" if len(ids) == 0 else f"token ids {ids.min()} to {ids.max()}"
            raise UserError(
                f"a cell has {found}, the model {self.name} has ids 0 to {self.n_tokens - 1}",
                "tokenise the cells with this model's own vocabulary",
            )
        return torch.from_numpy(ids).to(self.device)

    @cached_property
    def vocabulary(self) -> Vocabulary:
        """The genes the model knows and how it reads a cell; that of Geneformer V2 unless a family
        says otherwise.
        """
        from scircuit.tracing.tokenisation.vocabulary import geneformer_v2

        return geneformer_v2()

    def parameters(self) -> Iterator[Tensor]:
        """All weights."""
        return self.model.parameters()

    def sample_cell(self, length: int) -> np.ndarray:
        """A made-up cell of different genes, always the same one, for checks."""
        genes = np.setdiff1d(np.arange(self.n_tokens), self.special)
        return np.random.default_rng(0).permutation(genes)[: min(length, self.max_length)]

    def record(self) -> pa.Table:
        """The model as a ``Model`` record."""
        import pyarrow as pa

        from scircuit.core.schema import conform

        row = {
            "id": self.name,
            "name": self.name,
            "family": self.family,
            "layers": self.n_layers,
            "width": self.width,
            "positions": self.max_length,
            "vocabulary": self.n_tokens,
            "sha256": self.sha256,
            **{k: self.losses.get(k) for k in ("mlm_loss", "unigram_loss")},
        }
        return conform("Model", pa.Table.from_pylist([row]))


def ids_of(cell: ArrayLike) -> np.ndarray:
    """Token ids of a cell, int64 [S], whether or not it holds values beside them."""
    cell = np.asarray(cell)
    return (cell["token"] if cell.dtype.names else cell).astype(np.int64)
