"""What every model family offers the tracer: states in, states out, layer by layer, as plain
functions of tensors.

``h_l = layer(l, h_{l-1})`` with ``h_{-1} = embed(cell)``; ``h_l`` is the output of 0-based encoder
layer l. No hooks: an edit is a changed state handed to the next layer. A family states what one row
does (`project`, `finish`) and what its queries see (`sight`); attention between rows is computed
here, in one place.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping
from functools import cached_property, partial
from typing import TYPE_CHECKING, NamedTuple, NoReturn

import numpy as np
import torch
from torch import Tensor

from scircuit.core.errors import UserError
from scircuit.tracing.hardware.row_padding import by_row
from scircuit.tracing.models.attention import Sight, attention

if TYPE_CHECKING:
    import pyarrow as pa
    from numpy.typing import ArrayLike

    from scircuit.tracing.dictionaries.dictionary import Site
    from scircuit.tracing.tokenisation.vocabulary import Vocabulary


RowPart = Callable[[int, Tensor, Tensor], Tensor]
"""From a layer, its input [..., d] and what attention gave there to something of each row."""


KeyValue = tuple[Tensor, Tensor]
"""Keys and values of rows, [P, G e] each."""


class Whole(NamedTuple):
    """A forward pass that does not go through the adapter's layers: what the adapter must agree
    with.
    """

    layers: list[Tensor]  # outputs of encoder layers 0 to L-1, [S, d] each
    logits: Tensor | None  # [S, V]; None where the model has no token head


class Adapter(ABC):
    """One loaded model.

    A cell is a one-dimensional array as `scircuit.tracing.cells.cohort.Cohort.tokens` holds it:
    token ids; where the model reads values beside them, a structured array with the fields
    ``token`` and ``value``; where it reads gene names, with the fields ``token`` and ``gene``, the
    number of the gene that a token spells, -1 for none.

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
    has_mlp_site
        Whether the family says what its feed-forward reads and adds to the stream
        (`mlp_stream`, `mlp_norm`): the place of transcoders.
    tokens_are_genes
        Whether each gene is one token, so that logits of tokens are logits of genes.
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
    has_mlp_site: bool = False
    tokens_are_genes: bool = True

    @abstractmethod
    def embed(self, cell: np.ndarray) -> Tensor:
        """Input of layer 0 for one cell [S]: [S, d]; `token_ids` gives its checked ids."""

    @abstractmethod
    def project(
        self, layer: int, states: Tensor, positions: Tensor
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Queries [..., H e], keys and values [..., G e], heads side by side, of states [..., d] at
        `positions` [...]; G is the number of heads H, or a divisor of it where groups of heads
        share keys and values. Scores are ``q . k / sqrt(e)``.

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

    def mlp_stream(self, layer: int, states: Tensor, context: Tensor) -> Tensor:  # noqa: ARG002
        """Residual stream [..., d] that the feed-forward of a layer reads, before its norm, from
        the layer's input and what attention gave, row by row.
        """
        self.no_mlp_site()

    def mlp_norm(self, layer: int, stream: Tensor) -> Tensor:  # noqa: ARG002
        """MLP input [..., d] of rows of that stream: what a transcoder reads."""
        self.no_mlp_site()

    def mlp_input(self, layer: int, states: Tensor, context: Tensor) -> Tensor:
        """MLP input [..., d] from the layer's input and what attention gave, row by row."""
        return self.mlp_norm(layer, self.mlp_stream(layer, states, context))

    def read_part(self, site: Site) -> RowPart | None:
        """What is read of a layer at a site; None for its output."""
        return None if site == "output" else self.mlp_input

    def no_mlp_site(self) -> NoReturn:
        """Say that transcoders have no place in this family.

        Raises
        ------
        UserError
            Always.
        """
        raise UserError(
            f"{self.name} ({self.family}) has no place for transcoders: what its feed-forward gives"
            " is normalised together with the stream, not added to it",
            "give SAEs of its layers' outputs, or a decoder such as GPT-NeoX or Gemma-2",
        )

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

    @property
    def head_size(self) -> int:
        """Entries e of a query, a key or a value of one head."""
        return self.width // self.n_heads

    def sight(self, layer: int) -> Sight:  # noqa: ARG002
        """What the queries of a layer see: every key, unless a family says otherwise."""
        return Sight()

    def heads(self, x: Tensor) -> Tensor:
        """Queries, keys or values [..., S, H e or G e] to [..., H, S, e]; keys and values that
        heads share are repeated.
        """
        split = x.unflatten(-1, (-1, self.head_size)).transpose(-3, -2)
        shared = self.n_heads // split.shape[-3]
        return split if shared == 1 else split.repeat_interleave(shared, dim=-3)

    def attend(
        self,
        layer: int,
        query: Tensor,
        key: Tensor,
        value: Tensor,
        positions: Tensor | None = None,
    ) -> Tensor:
        """``softmax(q k^T / sqrt(e)) v`` per head, for [B, R, H e] queries over the keys and values
        [B, S, G e] of all positions that they see: [B, R, H e].

        The queries' `positions` are [B, R]; None: they are the last R.
        """
        sight, mask = self.sight(layer), None
        if sight.causal:
            places = torch.arange(key.shape[1], device=key.device)
            asked = places[None, -query.shape[1] :] if positions is None else positions
            seen = sight.mask(asked, places, query.dtype)
            mask = None if seen is None else seen[:, None]
        context = attention(self.heads(query), self.heads(key), self.heads(value), mask, sight.cap)
        return context.transpose(1, 2).flatten(2)

    def layer(self, layer: int, states: Tensor, earlier: KeyValue | None = None) -> Tensor:
        """Output of one layer for states [B, S, d]: [B, S, d]. With the keys and values of
        `earlier` rows [P, G e], the states are those of the rows after them.
        """
        places = self._positions(states, earlier)
        query, key, value = by_row(partial(self.project, layer), states, places)
        context = self.attend(layer, query, *_after(earlier, key, value))
        return by_row(partial(self.finish, layer), states, context)

    def layer_rows(
        self,
        layer: int,
        states: Tensor,
        rows: tuple[Tensor, Tensor],
        read: RowPart | None = None,
        earlier: KeyValue | None = None,
    ) -> Tensor:
        """Output of one layer for states [B, S, d] at ``rows = (slot [N], row [N])``: [N, d]; or
        what else `read` makes of a layer, the input and the context of its rows.

        Keys and values are computed for all rows, everything else for `rows` only; the result is
        exact. Slots ascend. `earlier` as in `layer`.
        """
        places = self._positions(states, earlier)
        key, value = _after(
            earlier, *by_row(partial(self.project_key_value, layer), states, places)
        )
        chosen, position = states[rows], places[rows]
        query = by_row(partial(self.project_query, layer), chosen, position)
        counts = torch.bincount(rows[0], minlength=len(states)).tolist()
        if len(set(counts)) == 1:
            each = (len(states), -1)
            context = self.attend(
                layer, query.unflatten(0, each), key, value, position.unflatten(0, each)
            ).flatten(0, 1)
        else:
            # not padded to one length: the attention kernel takes queries in blocks, and what it
            # gives a row may depend on how many there are
            parts = zip(query.split(counts), position.split(counts), strict=True)
            context = torch.cat(
                [
                    self.attend(layer, own[None], key[i : i + 1], value[i : i + 1], at[None])[0]
                    for i, (own, at) in enumerate(parts)
                    if len(own)
                ]
            )
        return by_row(partial(read or self.finish, layer), chosen, context)

    def layer_edited(
        self,
        layer: int,
        clean: Tensor,
        states: Tensor,
        edited: tuple[Tensor, Tensor],
        earlier: KeyValue | None = None,
    ) -> Tensor:
        """Output of one layer for states [B, S, d] that equal `clean` [S, d] except at rows
        ``edited = (slot [N], row [N])``. `earlier` as in `layer`.

        Queries, keys and values of unedited rows are those of `clean`, computed once.
        """
        project, places = partial(self.project, layer), self._positions(clean, earlier)
        unchanged = by_row(project, clean, places)
        changed = by_row(project, states[edited], places[edited[1]])
        parts = []
        for of_clean, of_edited in zip(unchanged, changed, strict=True):
            part = of_clean.expand(len(states), -1, -1).clone()
            part[edited] = of_edited
            parts.append(part)
        query, key, value = parts
        context = self.attend(layer, query, *_after(earlier, key, value))
        return by_row(partial(self.finish, layer), states, context)

    def mlp_inputs(self, layer: int, states: Tensor) -> Tensor:
        """MLP input of one layer for its inputs [B, S, d]: [B, S, d]."""
        parts = by_row(partial(self.project, layer), states, self._positions(states))
        return by_row(partial(self.mlp_input, layer), states, self.attend(layer, *parts))

    def _positions(self, states: Tensor, earlier: KeyValue | None = None) -> Tensor:
        before = 0 if earlier is None else len(earlier[0])
        places = torch.arange(before, before + states.shape[-2], device=states.device)
        return places.expand(states.shape[:-1])

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
        """The gene at each of `gene_positions`, [G]: the index of it in `vocabulary`, which is the
        token id unless the model spells genes by several tokens.
        """
        genes = cell["gene"] if _spells(cell) else ids_of(cell)
        return genes[self._is_gene(cell)]

    def _is_gene(self, cell: np.ndarray) -> np.ndarray:
        return cell["gene"] >= 0 if _spells(cell) else ~np.isin(ids_of(cell), self.special)

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


def _spells(cell: np.ndarray) -> bool:
    names = np.asarray(cell).dtype.names
    return names is not None and "gene" in names


def _after(earlier: KeyValue | None, key: Tensor, value: Tensor) -> KeyValue:
    """Keys and values [B, P + S, G e] of earlier rows and of those [B, S, G e] after them."""
    if earlier is None:
        return key, value
    own = zip(earlier, (key, value), strict=True)
    first, second = (torch.cat([e.expand(len(x), -1, -1), x], 1) for e, x in own)
    return first, second


def ids_of(cell: ArrayLike) -> np.ndarray:
    """Token ids of a cell, int64 [S], whether or not it holds values beside them."""
    cell = np.asarray(cell)
    return (cell["token"] if cell.dtype.names else cell).astype(np.int64)
