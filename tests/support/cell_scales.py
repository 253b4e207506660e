"""What people do to counts before they store them: harmless, or no longer counts.

Each function takes whole counts [cells, genes] and a generator, and gives the values a file would
hold. `EXPECTED` ones are what the model should read as they are; after the others the counts
themselves are what it should read.
"""

import numpy as np


def per(counts, target=1e4):
    return counts / counts.sum(axis=1, keepdims=True) * target


def raw(counts, rng):
    return counts


def ambient_removed(counts, rng):
    """SoupX: each gene loses its share of the ambient counts of its cell."""
    profile = counts.sum(axis=0) / counts.sum()
    taken = rng.uniform(0.02, 0.1) * counts.sum(axis=1, keepdims=True) * profile
    return np.maximum(counts - taken, 0)


def decontaminated(counts, rng):
    """decontX: each count keeps the chance that it is the cell's own."""
    foreign = rng.uniform(0.03, 0.12)
    odds = (1 - foreign) / foreign * rng.lognormal(0, 1, counts.shape[1])
    return counts * odds / (1 + odds)


def shared_reads(counts, rng):
    """RSEM: of three genes in ten, reads are split with other genes; two decimals."""
    split = rng.random(counts.shape[1]) < 0.3
    shifted = np.round(counts + rng.normal(0, 0.3, counts.shape) * np.sqrt(counts), 2)
    return np.where(split & (counts > 0), np.maximum(shifted, 0.01), counts)


def split_reads(counts, rng):
    """STARsolo's EM: a tenth of the counts holds a part of a read."""
    part = rng.choice([1 / 2, 1 / 3, 2 / 3, 1 / 4], counts.shape)
    return np.where((rng.random(counts.shape) < 0.1) & (counts > 0), counts + part, counts)


def per_10k(counts, rng):
    return per(counts)


def per_million(counts, rng):
    return per(counts, 1e6)


def log1p_per_10k(counts, rng):
    return np.log1p(per(counts))


def log1p_of_counts(counts, rng):
    return np.log1p(counts)


def log2_per_million(counts, rng):
    return np.log2(per(counts, 1e6) + 1)


def log10_per_10k(counts, rng):
    return np.log10(per(counts) + 1)


def over_lengths(counts, rng):
    """TPM."""
    return per(counts / rng.lognormal(7.5, 0.8, counts.shape[1]), 1e6)


def log_over_lengths(counts, rng):
    return np.log1p(over_lengths(counts, rng))


def ones(counts, rng):
    return (counts > 0).astype(float)


def rounded_logs(counts, rng):
    return np.rint(np.log1p(per(counts)))


def logs_cut_to_integers(counts, rng):
    return np.floor(np.log1p(per(counts)))


def rounded_log2(counts, rng):
    return np.rint(np.log2(per(counts, 1e6) + 1))


def rounded_rates(counts, rng):
    return np.rint(over_lengths(counts, rng))


def rounded_per_10k(counts, rng):
    return np.rint(per(counts))


def roots(counts, rng):
    return np.sqrt(counts)


def roots_per_10k(counts, rng):
    return np.sqrt(per(counts))


def twice_logged(counts, rng):
    return np.log1p(np.log1p(per(counts)))


def logs_of_expected(counts, rng):
    return np.log1p(per(ambient_removed(counts, rng)))


def ranks(counts, rng):
    """Genes of each cell in order, the largest last; the value of a gene is its place."""
    places = np.argsort(np.argsort(counts + rng.random(counts.shape), axis=1), axis=1) + 1
    return np.where(counts > 0, places, 0)


def rounded_over_lengths(counts, rng):
    """FPKM: the sums of the cells differ."""
    lengths = rng.lognormal(7.5, 0.8, counts.shape[1])
    return np.rint(counts / lengths * 1e9 / counts.sum(axis=1, keepdims=True))


def scaled(counts, rng):
    logs = np.log1p(per(counts))
    return (logs - logs.mean(axis=0)) / (logs.std(axis=0) + 1e-3)


EXPECTED = (ambient_removed, decontaminated, shared_reads, split_reads)
INVERTED = (
    raw,
    per_10k,
    per_million,
    log1p_per_10k,
    log1p_of_counts,
    log2_per_million,
    log10_per_10k,
)
NO_COUNTS = (
    over_lengths,
    log_over_lengths,
    ones,
    rounded_logs,
    logs_cut_to_integers,
    rounded_log2,
    rounded_rates,
    rounded_per_10k,
    roots,
    roots_per_10k,
    twice_logged,
    logs_of_expected,
    scaled,
)
# Pairs of which one file may hold both, for different cells.
MIXTURES = (
    (raw, log1p_per_10k),
    (raw, over_lengths),
    (raw, per_10k),
    (raw, log10_per_10k),
    (raw, roots),
    (raw, ones),
    (raw, rounded_logs),
    (raw, rounded_rates),
    (raw, scaled),
    (ambient_removed, over_lengths),
    (ambient_removed, log1p_per_10k),
    (shared_reads, log1p_per_10k),
    (log1p_per_10k, log2_per_million),
)


def mixed(first, second, counts, rng, others):
    """Values of the last `others` cells on the second scale, of the rest on the first."""
    values = first(counts, rng).astype(float)
    values[-others:] = second(counts, rng)[-others:]
    return values
