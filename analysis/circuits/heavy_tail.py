"""Is the upper tail of a degree distribution a power law? Exact fit, seeded bootstrap,
alternatives, and the `powerlaw` package beside it.

The fit is `scircuit.analysis.circuits.discrete_power_law`; its goodness is a semi-parametric
bootstrap (Clauset et al. 2009): values below xmin are resampled from the data, those above are
drawn from the fit, xmin is found anew by the same scan, and ``p = (1 + #{D* >= D}) / (1 + B)``. A
large p means that the power law is not refuted; whether it is better than a lognormal is another
question, answered by `scircuit.analysis.circuits.tail_alternatives`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from scircuit.analysis.circuits.circuit_plots import plot_tail
from scircuit.analysis.circuits.discrete_power_law import PowerLaw, fit, reaches, sample
from scircuit.analysis.circuits.tail_alternatives import Comparison, compare

if TYPE_CHECKING:
    from matplotlib.axes import Axes

MIN_TAIL = 25
# powerlaw normalises by 1 - (1 - zeta): below this value of zeta the subtraction has lost more than
# 1e-5 of its digits
_SAFE_ZETA = 1e-11


@dataclass(frozen=True)
class TailFit:
    """Result of `fit_tail`; `fit` is None when there is too little to fit, and `sentence` says so.

    Parameters
    ----------
    degrees
        Positive degrees that were fitted, sorted.
    zeros
        Degrees of zero, left out.
    fit
        `PowerLaw`, or None.
    p_gof
        Bootstrap p of the power law (NaN: not computed).
    bootstrap
        Bootstraps behind `p_gof`.
    comparisons
        Alternatives on the same tail.
    package
        The same tail fitted by the `powerlaw` package: method, alpha, xmin, ks, version.
    noun
        What has a degree.
    """

    degrees: np.ndarray
    zeros: int
    fit: PowerLaw | None
    p_gof: float
    bootstrap: int
    comparisons: tuple[Comparison, ...]
    package: dict[str, object]
    noun: str = "features"

    @property
    def alpha(self) -> float:
        """Exponent of ``p(x) ~ x^-alpha`` (NaN: no fit)."""
        return self.fit.alpha if self.fit else float("nan")

    @property
    def xmin(self) -> int:
        """Smallest degree of the tail (0: no fit)."""
        return self.fit.xmin if self.fit else 0

    @property
    def n_tail(self) -> int:
        """Degrees in the tail."""
        return self.fit.n_tail if self.fit else 0

    @property
    def ks(self) -> float:
        """KS distance of tail and fit."""
        return self.fit.ks if self.fit else float("nan")

    @property
    def sentence(self) -> str:
        """The finding in one sentence, with its numbers."""
        n = self.degrees.size
        if self.fit is None:
            kinds = np.unique(self.degrees).size
            return (
                f"no tail fit: {n} {self.noun} with edges and {kinds} distinct degrees (a tail"
                f" needs at least {MIN_TAIL} with different degrees)"
            )
        f = self.fit
        tail = f"tail of {f.n_tail:,} of {n:,} {self.noun} (degree >= {f.xmin:,})"
        if not np.isfinite(self.p_gof):
            verdict = f"alpha {f.alpha:.2f} ± {f.sigma:.2f}, goodness of fit not computed"
        elif self.p_gof <= 0.1:
            verdict = (
                f"a power law (alpha {f.alpha:.2f}) is rejected (bootstrap p = {self.p_gof:.3g})"
            )
        else:
            verdict = (
                f"a power law (alpha {f.alpha:.2f} ± {f.sigma:.2f}) is not rejected (bootstrap p ="
                f" {self.p_gof:.2g})"
            )
        return f"{tail}: {verdict}; {self._against()}"

    def _against(self) -> str:
        lognormal = next((c for c in self.comparisons if c.name == "lognormal"), None)
        others = [
            c
            for c in self.comparisons
            if c.name != "lognormal" and c.favoured not in ("neither", "power law")
        ]
        if lognormal is None:
            return "not compared with other distributions"
        if lognormal.favoured == "neither":
            text = f"power law and lognormal are not distinguishable (p = {lognormal.p:.2g})"
        else:
            text = (
                f"{lognormal.favoured} fits better than"
                f" {'lognormal' if lognormal.favoured == 'power law' else 'power law'} (p ="
                f" {lognormal.p:.2g})"
            )
        if others:
            text += "; better than the power law: " + ", ".join(
                f"{c.name} (p = {c.p:.2g})" for c in others
            )
        return text

    def findings(self) -> dict[str, object]:
        """Numbers for the manifest; NaN becomes None."""

        def number(v: float) -> float | None:
            return float(v) if np.isfinite(v) else None

        return {
            "tail_alpha": number(self.alpha),
            "tail_sigma": number(self.fit.sigma) if self.fit else None,
            "tail_xmin": self.xmin,
            "tail_n": self.n_tail,
            "tail_of": int(self.degrees.size),
            "tail_ks": number(self.ks),
            "tail_p": number(self.p_gof),
            "tail_bootstrap": self.bootstrap,
            "tail_package": self.package,
            "tail_comparisons": [{**c._asdict(), "favoured": c.favoured} for c in self.comparisons],
        }

    def plot(self, ax: Axes | None = None) -> Axes:
        """Share of features with at least this degree, with fit and lognormal on the tail."""
        return plot_tail(self.degrees, self.fit, self.comparisons, ax)


def package_fit(degrees: np.ndarray, xmin: int | None = None) -> dict[str, object]:
    """Fit by the `powerlaw` package, around two defects of version 2.0.

    Its default range caps the exponent at 3, so a range is always given; its discrete normaliser
    cancels for steep tails, so the continuous form with xmin - 0.5 is used where ``zeta(alpha,
    xmin)`` is below 1e-11.

    Parameters
    ----------
    degrees
        Positive integers.
    xmin
        Smallest value of the tail (default: the package's own search, continuous).
    """
    import warnings
    from importlib.metadata import version

    import powerlaw
    from scipy.special import zeta

    ranges = {"alpha": [1.01, 30]}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        low = None if xmin is None else xmin - 0.5
        rough = powerlaw.Fit(
            degrees.astype(float), discrete=False, xmin=low, parameter_ranges=ranges, verbose=0
        )
        start, alpha = (
            int(np.ceil(float(rough.xmin or 1))),
            np.array([rough.power_law.alpha], dtype=float),
        )
        if zeta(alpha, float(start))[0] > _SAFE_ZETA:
            found, method = (
                powerlaw.Fit(
                    degrees, discrete=True, xmin=start, parameter_ranges=ranges, verbose=0
                ),
                "discrete",
            )
        else:
            found, method = rough, "continuous, xmin - 0.5" if xmin is not None else "continuous"
        r, p = found.distribution_compare("power_law", "lognormal", normalized_ratio=True)
    return {
        "method": method,
        "alpha": float(found.power_law.alpha),
        "sigma": float(found.power_law.sigma),
        "xmin": start,
        "ks": float(found.power_law.D),
        "lognormal_ratio": float(r),
        "lognormal_p": float(p),
        "version": version("powerlaw"),
    }


def tail_exponent(degrees: np.ndarray, min_tail: int = MIN_TAIL) -> float | None:
    """The exponent that `fit_tail` finds, without its test and its alternatives; None where there
    is too little to fit.
    """
    positive = np.sort(degrees[degrees > 0]).astype(np.int64)
    best = fit(positive, min_tail=min_tail) if positive.size >= min_tail else None
    return None if best is None else float(best.alpha)


def fit_tail(
    degrees: np.ndarray,
    *,
    seed: int = 0,
    bootstrap: int = 100,
    min_tail: int = MIN_TAIL,
    noun: str = "features",
) -> TailFit:
    """Fit the upper tail of a degree distribution.

    Parameters
    ----------
    degrees
        Non-negative integers; zeros are counted and left out.
    seed, bootstrap
        Bootstraps of the goodness of fit and their seed (0 bootstraps: p is NaN).
    min_tail
        Minimum number of degrees in the tail.
    noun
        What has a degree, for the sentence.

    Raises
    ------
    ValueError
        If a degree is negative.
    """
    degrees = np.asarray(degrees)
    if degrees.size and degrees.min() < 0:
        raise ValueError(f"degrees must not be negative; the smallest is {degrees.min()}")
    positive = np.sort(degrees[degrees > 0]).astype(np.int64)
    zeros = int((degrees == 0).sum())
    best = fit(positive, min_tail=min_tail) if positive.size >= min_tail else None
    if best is None:
        return TailFit(positive, zeros, None, float("nan"), 0, (), {}, noun)
    rng = np.random.default_rng(seed)
    body, above = positive[positive < best.xmin], 0
    for _ in range(bootstrap):
        in_tail = (
            rng.binomial(positive.size, best.n_tail / positive.size) if body.size else positive.size
        )
        drawn = np.concatenate(
            [
                rng.choice(body, positive.size - in_tail) if body.size else body,
                sample(rng, best.alpha, best.xmin, in_tail),
            ]
        )
        above += reaches(drawn, best.ks, min_tail=min_tail)
    p = (1 + above) / (1 + bootstrap) if bootstrap else float("nan")
    return TailFit(
        positive,
        zeros,
        best,
        p,
        bootstrap,
        compare(positive, best),
        package_fit(positive, best.xmin),
        noun,
    )
