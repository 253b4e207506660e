"""The published atlases and what is known of them beside their files; an atlas is recognised by its
layers and their width.

The files give the share of positions (`firing_rate`) and the mean over all positions; how many
positions there were, which layer was patched and how links were counted is known from the
publication alone.
"""

from __future__ import annotations

from dataclasses import dataclass

from scircuit.core.address import slug
from scircuit.core.config import ImportAtlasConfig
from scircuit.core.errors import UserError


@dataclass(frozen=True)
class Atlas:
    """One atlas.

    Attributes
    ----------
    model, dictionary
        Names in addresses.
    family
        Adapter of the model; empty when unknown.
    layers, width
        Encoder layers, and features of each.
    hidden, longest
        Hidden width of the model and its longest input; 0 when unknown.
    k
        Active features a position; 0 when unknown.
    positions
        Gene positions over which firing was counted; 0 when unknown.
    trained_on
        Cells of the dictionaries.
    patched
        Layer of the causal patching where its file does not say; -1 when unknown.
    readout
        What the causal patching read.
    links
        How the links between layers were counted.
    origin
        Where the files come from.
    never
        Files that were never published of this atlas.
    """

    model: str
    dictionary: str
    family: str
    layers: int
    width: int
    hidden: int = 0
    longest: int = 0
    k: int = 0
    positions: int = 0
    trained_on: str = ""
    patched: int = -1
    readout: str = ""
    links: str = "published PMI"
    origin: str = ""
    never: tuple[str, ...] = ()

    def dictionary_id(self, layer: int) -> str:
        """Key of the ``Dictionary`` node of a layer."""
        return f"{self.model}/{self.dictionary}/L{layer:02d}"


KNOWN = (
    Atlas(
        "geneformer-v2-316m",
        "k562-x4-k32",
        "geneformer",
        18,
        4608,
        1152,
        2046,
        32,
        4_056_351,
        "2,000 control cells of a CRISPRi screen, 1,000,000 of 4,056,351 positions a layer, seed 42"
        " of the sample",
        11,
        "change of the position's own-token logit",
        "PMI of top-32 activity at 500,000 positions, joint count >= 1, 5 strongest of 500 sources",
        "published feature atlas of Geneformer V2-316M",
    ),
    Atlas(
        "scgpt-whole-human",
        "tabula-sapiens-x4-k32",
        "scgpt",
        12,
        2048,
        512,
        1200,
        32,
        3_561_832,
        "3,000 Tabula Sapiens cells (immune, kidney, lung), all 3,561,832 positions a layer",
        7,
        "norm of the change of the final state, its reconstruction error included",
        "PMI of top-32 activity at all positions, joint count >= 20, PMI >= 3, 200 strongest",
        "published feature atlas of scGPT whole-human",
        (
            "perturbation_response.json",
            "novel_clusters.json",
            "svd_comparison.json",
            "cross_layer_tracking.json",
        ),
    ),
)


def recognise(layers: int, width: int, config: ImportAtlasConfig) -> Atlas:
    """The known atlas of this shape, under the names asked for; an unknown shape needs both names.

    Parameters
    ----------
    layers
        Encoder layers as the summary states them; 0 when there is none, then the width decides.
    width
        Features of each layer.

    Raises
    ------
    UserError
        If the shape is unknown and a name is missing, or a name is not usable.
    """
    found = next((a for a in KNOWN if a.width == width and layers in (0, a.layers)), None)
    names = {"model": config.model_name, "dictionary": config.dictionary_name}
    for option, name in names.items():
        if name and slug(name) != name:
            raise UserError(
                f"the {option} name {name!r} may hold only a-z 0-9 . _ -",
                f"--{option}-name {slug(name)}",
            )
    if found is None:
        if not (config.model_name and config.dictionary_name and layers):
            shapes = "; ".join(
                f"{a.model}: {a.layers} layers of {a.width:,} features" for a in KNOWN
            )
            raise UserError(
                f"no known atlas has {layers or 'an unknown number of'} layers of {width:,}"
                f" features (known are {shapes})",
                "give names for another one: --model-name NAME --dictionary-name NAME, and its"
                " global_summary.json",
            )
        return Atlas(config.model_name, config.dictionary_name, "", layers, width)
    if config.model_name or config.dictionary_name:
        from dataclasses import replace

        return replace(
            found,
            model=config.model_name or found.model,
            dictionary=config.dictionary_name or found.dictionary,
        )
    return found
