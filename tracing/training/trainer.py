"""Train a TopK sparse autoencoder, or a transcoder, at each layer, on streamed activations, and
measure it on held-out cells.

One pass over the training cells gives mean, scale and starting columns of each layer (the survey),
`epochs` more train (`scircuit.tracing.training.topk_sae`, `scircuit.tracing.training.
transcoder_training`). Layers that fit the memory together
share these passes; which layers share them changes nothing in the result. Quality is measured on
cells the training never saw: variance explained beside a PCA with as many active numbers a row (k
components), dead share, and L0; of transcoders see `scircuit.tracing.training.training_report`.

A layer needs, in float32, ``(buffer + longest cell + batch) d`` for its rows, ``8 F d`` for
weights, gradients and Adam's averages, ``2 F d`` for the starting rows and ``4 batch F`` for a
step, and the states of one cell at one layer at a time. Rows of transcoders are twice as wide.

The state is saved now and then and when interrupted; the same options continue from it to the same
weights. A layer that already has its dictionary is not trained again.
"""

from __future__ import annotations

import hashlib
import shutil
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor

from scircuit.core.config import TrainConfig
from scircuit.core.errors import UserError
from scircuit.core.files import canonical_json
from scircuit.tracing.cells.held_out import held_out
from scircuit.tracing.clean_pass import activations
from scircuit.tracing.clean_pass.activations import Moments, RowStream
from scircuit.tracing.dictionaries import load_dictionaries, save_dictionary
from scircuit.tracing.dictionaries.training_statistics import write_own
from scircuit.tracing.hardware.memory_plan import parse_bytes
from scircuit.tracing.training import checkpoint
from scircuit.tracing.training.site_options import check_site_options, require_trainable
from scircuit.tracing.training.topk_sae import TopKTrainer
from scircuit.tracing.training.training_report import (
    Report,
    measured,
    quality_of,
    report_of,
    write_metrics,
)
from scircuit.tracing.training.transcoder_training import TranscoderTrainer

if TYPE_CHECKING:
    from scircuit.tracing.cells.cohort import Cohort
    from scircuit.tracing.dictionaries.dictionary import Site
    from scircuit.tracing.interfaces import JsonObject
    from scircuit.tracing.models.adapter import Adapter

CHECKPOINT_SECONDS = 120.0
_WARMUP, _DECAY = 0.05, 0.3  # shares of the steps at the start and at the end
# version of what the weights depend on beside the options; a checkpoint of another is not continued
_FORMAT = 1
_RESULT = ("expansion", "k", "epochs", "batch_rows", "learning_rate", "held_out", "seed")
_OF_TRANSCODERS = {"site": "output", "rule": "topk", "skip": False}  # as they were before

Say = Callable[..., None]


def train_dictionaries(
    adapter: Adapter, cohort: Cohort, config: TrainConfig, progress: Say | None = None
) -> list[Report]:
    """Train, evaluate and write one dictionary or transcoder per layer; continue where the same
    training was interrupted.

    Parameters
    ----------
    adapter
        Model (`scircuit.tracing.models`).
    cohort
        Cells (`scircuit.tracing.cells.cohort.Cohort`); a share is held out by barcode
        (`scircuit.tracing.cells.held_out`).
    config
        Layers, site, rule, skip, expansion, k, epochs, rows per step, learning rate, held-out
        share, seed, folder, memory.
    progress
        Called with (steps done, steps, note); the survey counts as many steps as an epoch.

    Returns
    -------
    One report per layer. ``config.out`` gets ``layerLL/`` folders (dictionary, and firing rates on
    the held-out cells) and ``metrics.json`` (all layers of the folder, and settings of this
    training).

    Raises
    ------
    UserError
        If a layer does not exist, k exceeds the number of latents, the model has no MLP site, an
        option is one of transcoders only, there are too few cells or rows, the folder holds a
        dictionary of another training, or the training diverges.
    KeyboardInterrupt
        After Ctrl-C or SIGTERM, once the state is on disk; its argument is the signal.
    """
    started = time.perf_counter()
    job = _Job(adapter, cohort, config)
    reports = {layer: report for layer in job.layers if (report := job.finished(layer)) is not None}
    groups = [group for group in job.groups() if not set(group) <= set(reports)]
    each = (1 + config.epochs) * job.steps
    with checkpoint.Interruption() as stop:
        for number, group in enumerate(groups):

            def say(done: int, note: str, number: int = number) -> None:
                if progress is not None:
                    progress(number * each + done, len(groups) * each, note)

            todo = tuple(layer for layer in group if layer not in reports)
            path = (
                Path(config.out) / ".training" / _hash([job.id, group]) / "checkpoint.safetensors"
            )
            reports |= {
                report.layer: report for report in _Group(job, todo, path, stop, say).train()
            }
    _remove_outdated(Path(config.out) / ".training", job.id, set(reports))
    ordered = [reports[layer] for layer in job.layers]
    facts = {
        "seconds": round(time.perf_counter() - started, 1),
        "expansion": config.expansion,
        "k": config.k,
        **job.provenance,
        "torch": torch.__version__,
    }
    write_metrics(Path(config.out), ordered, job.id, facts)
    return ordered


def _remove_outdated(folder: Path, training: str, finished: set[int]) -> None:
    """Remove checkpoints of a training whose layers are finished: with another --memory the layers
    were trained in other groups, from the start.
    """
    for place in folder.glob("*"):
        facts = checkpoint.facts_of(place / "checkpoint.safetensors")
        if facts.get("training") == training and set(facts["layers"]) <= finished:
            shutil.rmtree(place)
    if folder.is_dir() and not any(folder.iterdir()):
        folder.rmdir()


class _Job:
    """What is to be trained: checked options, the split of the cells, and the identity of the
    result.
    """

    def __init__(self, adapter: Adapter, cohort: Cohort, config: TrainConfig) -> None:
        self.adapter, self.config = adapter, config
        self.layers = tuple(dict.fromkeys(config.layers)) or tuple(range(adapter.n_layers))
        outside = [layer for layer in self.layers if not 0 <= layer < adapter.n_layers]
        if outside:
            raise UserError(
                f"layers {outside} do not exist: the model has layers 0 to {adapter.n_layers - 1}",
                "choose existing layers",
            )
        self.site: Site = "mlp" if config.site == "mlp" else "output"
        check_site_options(config)
        require_trainable(adapter, config)
        self.latents = config.expansion * adapter.width
        if not 0 < config.k <= self.latents:
            raise UserError(
                f"k = {config.k} of {self.latents} latents",
                "choose k between 1 and expansion x width",
            )
        if (
            config.epochs < 1
            or config.batch_rows < 1
            or not 0 < config.learning_rate < float("inf")
        ):
            raise UserError(
                f"{config.epochs} epochs, {config.batch_rows} rows per batch, learning rate"
                f" {config.learning_rate}: all must be positive and finite",
                "correct these options",
            )
        test = held_out(cohort.barcodes, config.held_out, config.seed)
        self.train_cells = [t for t, h in zip(cohort.tokens, test, strict=True) if not h]
        self.test_cells = [t for t, h in zip(cohort.tokens, test, strict=True) if h]
        each = [
            len(activations.training_positions(adapter, cell, self.site))
            for cell in self.train_cells
        ]
        self.rows, self.longest = sum(each), max(each)
        self.steps = -(-self.rows // config.batch_rows)  # of one epoch
        if self.rows < self.latents:
            raise UserError(
                f"{self.rows:,} {'gene ' * (self.site == 'output')}positions in {len(each)} cells"
                f" for {self.latents:,} latents",
                "give more cells or a smaller expansion",
            )
        options = {name: getattr(config, name) for name in _RESULT}
        # enter the identity where they are used: that of earlier trainings stays valid
        of_transcoder = {
            name: getattr(config, name)
            for name, usual in _OF_TRANSCODERS.items()
            if getattr(config, name) != usual
        }
        identity = {
            "format": _FORMAT,
            "buffer": activations.BUFFER_ROWS,
            **options,
            **of_transcoder,
            "model": adapter.sha256,
            "cells": cohort.sha256,
            "barcodes": list(cohort.barcodes),
            "input": (
                hashlib.sha256(
                    b"".join(np.ascontiguousarray(t).tobytes() for t in cohort.tokens)
                ).hexdigest()
            ),
        }
        self.id = _hash({**identity, "model_config": adapter.config_sha256})
        self.earlier_id = _hash(identity)  # before configurations were recorded
        self.provenance: JsonObject = {
            "cells_file": cohort.file.name,
            "cells_sha256": cohort.sha256,
            "filters": list(cohort.filters),
            "cells": len(self.train_cells),
            "trained_cells": [b for b, h in zip(cohort.barcodes, test, strict=True) if not h],
            "held_out": [b for b, h in zip(cohort.barcodes, test, strict=True) if h],
            "rows": self.rows,
            "model": adapter.name,
            "model_sha256": adapter.sha256,
            **({"model_config_sha256": sha} if (sha := adapter.config_sha256) else {}),
            "seed": config.seed,
            "epochs": config.epochs,
            "batch_rows": config.batch_rows,
            "learning_rate": config.learning_rate,
            **of_transcoder,
            "training": self.id,
            "trained_on": (
                f"{len(self.train_cells)} cells of {cohort.file.name}, {self.rows} positions,"
                f" {config.epochs} epochs, seed {config.seed}"
            ),
        }

    def finished(self, layer: int) -> Report | None:
        """Report of a layer that this training has already finished.

        Raises
        ------
        UserError
            If the folder holds a dictionary of this layer from another training.
        """
        place = Path(self.config.out) / f"layer{layer:02d}"
        if not (place / "config.json").exists():
            return None
        known = load_dictionaries(place)[layer].provenance
        if known.get("training") not in (self.id, self.earlier_id):
            raise UserError(
                f"{place} holds a dictionary of another training"
                f" ({known.get('trained_on', 'not stated')})",
                "give another --out, or delete it",
            )
        return report_of(self.site, layer, place, self.rows, known)

    @property
    def _each(self) -> int:
        """Bytes that the training of one layer needs."""
        d, f, batch = self.width, self.latents, self.config.batch_rows
        held = min(self.rows, activations.BUFFER_ROWS + self.longest + batch)
        return 4 * (held * d + 10 * f * d + 4 * batch * f) + 8 * d * d

    @property
    def width(self) -> int:
        """Width of a row: of transcoders what is read and what is written, side by side."""
        return self.adapter.width * (2 if self.site == "mlp" else 1)

    def learner(self, layer: int, moments: Moments, rows: Tensor) -> TopKTrainer:
        """A layer's dictionary or transcoder before its first step; its latents start at rows."""
        kind = TranscoderTrainer if self.site == "mlp" else TopKTrainer
        return kind(layer, moments, rows, self.config)

    def groups(self) -> Iterator[tuple[int, ...]]:
        """Layers that are trained together: as many as the memory holds, at least one."""
        memory = parse_bytes(self.config.memory) or len(self.layers) * self._each
        size = max(1, memory // self._each)
        for start in range(0, len(self.layers), size):
            yield self.layers[start : start + size]

    def kept(self, layers: int) -> int:
        """Bytes that are left for rows of cells when so many layers are trained together."""
        memory = parse_bytes(self.config.memory)
        left = memory - layers * self._each if memory else activations.KEPT_BYTES
        return min(max(left, 0), activations.KEPT_BYTES)


def _hash(content: object) -> str:
    return hashlib.sha256(canonical_json(content).encode()).hexdigest()[:12]


class _Group:
    """Layers that are trained in the same passes: those of the checkpoint at `path`, or where there
    is none, `layers`.
    """

    def __init__(
        self,
        job: _Job,
        layers: tuple[int, ...],
        path: Path,
        stop: checkpoint.Interruption,
        say: Callable[[int, str], None],
    ) -> None:
        kept = checkpoint.load(path)
        layers = tuple(kept[1]["layers"]) if kept else layers
        self.job, self.layers, self.path, self.stop, self.say = job, layers, path, stop, say
        self.note = (
            f"layer {layers[0]}" if len(layers) == 1 else f"layers {layers[0]}..{layers[-1]}"
        )
        self.moments = {layer: Moments(job.width) for layer in layers}
        self.first: dict[int, list[Tensor]] = {layer: [] for layer in layers}
        self.stream = RowStream(
            job.adapter,
            job.train_cells,
            layers,
            job.config.batch_rows,
            job.config.seed,
            job.kept(len(layers)),
            job.site,
        )
        self.learners: list[TopKTrainer] = []
        self.surveyed = self.done = 0
        self.saved = time.monotonic()
        if kept:
            self._restore(*kept)

    def train(self) -> list[Report]:
        """Survey, train, evaluate, write."""
        self._survey()
        if not self.learners:
            self._start()
        config = self.job.config
        steps = config.epochs * self.job.steps
        with torch.enable_grad():
            for batch in self.stream.batches(config.epochs, self._pause):
                rate = config.learning_rate * min(
                    1.0,
                    (self.done + 1) / (_WARMUP * steps),
                    max(0.0, steps - self.done) / (_DECAY * steps),
                )
                for learner in self.learners:
                    learner.step(
                        batch[learner.layer],
                        rate,
                        patience=min(self.job.rows, 100 * config.batch_rows),
                    )
                self.done += 1
                self.say(self.job.steps + self.done, self.note)
                self._pause()
        self._save()
        reports = self._write()
        # together with temporary files of a killed process, whose names the library chose
        shutil.rmtree(self.path.parent)
        return reports

    def _survey(self) -> None:
        """Moments of every layer, and some rows of every cell at which columns may start."""
        cells, latents = self.job.train_cells, self.job.latents
        for number in range(self.surveyed, len(cells)):
            self._pause()
            self.say(
                self.job.steps * number // len(cells),
                f"survey of {self.note}: cell {number + 1} of {len(cells)}",
            )
            for layer, rows in self.stream.computed.of(number).items():
                self.moments[layer].add(rows)
                share = torch.randperm(
                    len(rows), generator=torch.Generator().manual_seed(self.job.config.seed)
                )[: -(-2 * latents // len(cells))]
                self.first[layer].append(rows[share.to(rows.device)])
            self.surveyed = number + 1

    def _start(self) -> None:
        """Start at rows drawn from those of the survey, which are then freed."""
        latents, seed = self.job.latents, self.job.config.seed
        for layer in self.layers:
            pool = torch.cat(self.first.pop(layer))
            chosen = torch.randperm(
                len(pool), generator=torch.Generator().manual_seed(seed + layer)
            ).repeat(-(-latents // len(pool)))[:latents]
            rows = pool[chosen.to(pool.device)]
            self.learners.append(self.job.learner(layer, self.moments[layer], rows))

    def _pause(self) -> None:
        """Between two steps or cells: save the state if it is time, stop if asked."""
        if self.stop.asked or time.monotonic() - self.saved >= CHECKPOINT_SECONDS:
            self._save()
        if self.stop.asked:
            raise KeyboardInterrupt(self.stop.asked)

    def _save(self) -> None:
        tensors: dict[str, Tensor] = {}
        for layer, moments in self.moments.items():
            tensors |= {f"{layer}.sum": moments.sum, f"{layer}.product": moments.product}
        for layer, parts in self.first.items():
            if parts:
                tensors[f"{layer}.first"] = torch.cat(parts)
        for learner in self.learners:
            tensors |= learner.state()
        rest, place = self.stream.state()
        facts = {
            "training": self.job.id,
            "layers": self.layers,
            "surveyed": self.surveyed,
            "rows": self.moments[self.layers[0]].rows,
            "done": self.done,
            "stream": place,
        }
        checkpoint.save(self.path, tensors | rest, facts)
        self.saved = time.monotonic()

    def _restore(self, tensors: Mapping[str, Tensor], facts: JsonObject) -> None:
        self.surveyed, self.done = facts["surveyed"], facts["done"]
        device = self.job.adapter.device
        for layer, moments in self.moments.items():
            moments.rows, moments.sum, moments.product = (
                facts["rows"],
                tensors[f"{layer}.sum"],
                tensors[f"{layer}.product"],
            )
            if f"{layer}.first" in tensors:
                self.first[layer] = [tensors[f"{layer}.first"].to(device)]
        if any(name.endswith(".encoder") for name in tensors):
            for layer in self.layers:
                self.first.pop(layer)
                rows = torch.zeros(self.job.latents, self.job.width, device=device)
                learner = self.job.learner(layer, self.moments[layer], rows)
                learner.restore(tensors)
                self.learners.append(learner)
            self.stream.restore(tensors, facts["stream"])

    def _write(self) -> list[Report]:
        config, job = self.job.config, self.job
        dictionaries = {
            learner.layer: learner.dictionary(dict(job.provenance)) for learner in self.learners
        }
        quality = quality_of(
            job.adapter, dictionaries, self.moments, config.k, job.test_cells, job.site
        )
        reports = []
        for layer, dictionary in dictionaries.items():
            dictionary.provenance |= {name: quality[layer][name] for name in measured(job.site)}
            place = Path(config.out) / f"layer{layer:02d}"
            place.mkdir(parents=True, exist_ok=True)
            # The dictionary comes last: where it is, the layer is finished.
            write_own(place, quality[layer]["activation_freq"], quality[layer]["mean_activation"])
            save_dictionary(dictionary.to("cpu"), config.out)
            reports.append(report_of(job.site, layer, place, job.rows, quality[layer]))
        return reports
