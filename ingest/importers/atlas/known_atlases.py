"""The published atlases and facts about them that are not in their files; an atlas is recognised by
its layers and their width.

The files give the share of positions (`firing_rate`) and the mean over all positions; the number of
positions, the patched layer and the counting of links come from the publication.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

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
        Encoder layers, and features per layer.
    hidden, longest
        Hidden width of the model and its longest input; 0 when unknown.
    k
        Active features per position; 0 when unknown.
    positions
        Gene positions over which firing was counted; 0 when unknown.
    trained_on
        Cells of the dictionaries.
    patched
        Layer of the causal patching where its file does not say; -1 when unknown.
    readout
        Readout of the causal patching.
    links
        How the links between layers were counted.
    origin
        Where the files come from.
    never
        Files that were not published for this atlas.
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
        model="geneformer-v2-316m",
        dictionary="k562-x4-k32",
        family="geneformer",
        layers=18,
        width=4608,
        hidden=1152,
        longest=2046,
        k=32,
        positions=4_056_351,
        trained_on="2,000 control cells of a CRISPRi screen, 1,000,000 of 4,056,351 positions a"
        " layer, seed 42 of the sample",
        patched=11,
        readout="change of the position's own-token logit",
        links="PMI of top-32 activity at 500,000 positions, joint count >= 1, 5 strongest of 500"
        " sources",
        origin="published feature atlas of Geneformer V2-316M",
    ),
    Atlas(
        model="scgpt-whole-human",
        dictionary="tabula-sapiens-x4-k32",
        family="scgpt",
        layers=12,
        width=2048,
        hidden=512,
        longest=1200,
        k=32,
        positions=3_561_832,
        trained_on="3,000 Tabula Sapiens cells (immune, kidney, lung), all 3,561,832 positions a"
        " layer",
        patched=7,
        readout="norm of the change of the final state, its reconstruction error included",
        links="PMI of top-32 activity at all positions, joint count >= 20, PMI >= 3, 200 strongest",
        origin="published feature atlas of scGPT whole-human",
        never=(
            "perturbation_response.json",
            "novel_clusters.json",
            "svd_comparison.json",
            "cross_layer_tracking.json",
        ),
    ),
)


def recognise(layers: int, width: int, config: ImportAtlasConfig) -> Atlas:
    """The known atlas of this shape, with the requested names; an unknown shape needs both names.

    Parameters
    ----------
    layers
        Encoder layers as the summary states them; 0 without a summary, then the width decides.
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
                f"the {option} name {name!r} may contain only a-z 0-9 . _ -",
                f"--{option}-name {slug(name)}",
            )
    if found is None:
        if not (config.model_name and config.dictionary_name and layers):
            shapes = "; ".join(
                f"{a.model}: {a.layers} layers of {a.width:,} features" for a in KNOWN
            )
            raise UserError(
                f"no known atlas has {layers or 'an unknown number of'} layers of {width:,}"
                f" features (known: {shapes})",
                "for another atlas, give --model-name NAME --dictionary-name NAME, and add its"
                " global_summary.json",
            )
        return Atlas(config.model_name, config.dictionary_name, "", layers, width)
    if config.model_name or config.dictionary_name:
        return replace(
            found,
            model=config.model_name or found.model,
            dictionary=config.dictionary_name or found.dictionary,
        )
    return found
