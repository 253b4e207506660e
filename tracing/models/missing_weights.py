"""Why weights of a model are missing from its files, in words: other names, a projection that is
said to be its own, or another kind of model.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from scircuit.core.errors import UserError
from scircuit.tracing.models.model_config import read_config
from scircuit.tracing.models.weight_names import bare_name, name_in

_PROJECTION = ".decoder."


def missing_weights(
    folder: Path, kind: str, base: str, missing: Sequence[str], unexpected: Sequence[str]
) -> UserError:
    """The error for a folder that lacks weights.

    Parameters
    ----------
    folder
        Model folder.
    kind
        Class of the model in transformers.
    base
        Prefix of the encoder's weights, such as ``bert``.
    missing, unexpected
        Names that the model has and the files do not, and the other way round.
    """
    found = f"{folder} lacks {len(missing)} weights of a {kind}, such as {missing[0]}"
    wanted = {bare_name(name, base): name for name in missing}
    other = {name: ending for name in unexpected if (ending := name_in(name, wanted))}
    if len(other) > len(missing) / 2:
        pairs = [(name, wanted[ending]) for name, ending in other.items()]
        name, own = next((pair for pair in pairs if pair[0].endswith(pair[1])), pairs[0])
        prefix = name.removesuffix(own)
        return UserError(
            f"{folder} has its weights under other names: {len(other)} of them, such as {name}"
            f" where a {kind} has {own}",
            f"{prefix!r} comes from a wrapper: save the state_dict() of the model inside it"
            if prefix != name
            else f"give the checkpoint of a {kind}",
        )
    stated = read_config(folder) or {}
    if stated.get("tie_word_embeddings") is False and all(_PROJECTION in n for n in missing):
        return UserError(
            f"{found}: config.json has tie_word_embeddings: false, so that the projection onto the"
            " vocabulary is no copy of the embedding and must be stored whole",
            "store it, weight and bias (the bias of its own is cls.predictions.bias in a BERT of"
            " transformers 4); or, if it is the embedding, write tie_word_embeddings: true",
        )
    return UserError(
        found,
        "give the masked-LM checkpoint itself, not a fine-tuned classifier or a partial download",
    )
