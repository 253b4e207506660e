"""The published tail fit of the map's degrees, fitted again from the degrees that the files state.

The published tail has 157 degrees >= 860; those of the second tracing give 158, of which one that
is exactly 860 is 859 in double precision and is left out. All 157 are known, so the fit at this
xmin is complete; the search for xmin and its bootstrap need the body, which was not published.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import numpy as np

from scircuit.analysis.circuits.discrete_power_law import PowerLaw, fit
from scircuit.analysis.circuits.tail_alternatives import Comparison, compare
from scircuit.analysis.reproduction.checks import Check, Theme
from scircuit.analysis.reproduction.exhaustive.known_degrees import RAW, SUMMARY, known_degrees
from scircuit.analysis.reproduction.study_files import StudyFiles

_XMIN, _N_TAIL = 860, 157
_LARGEST = 200_000  # where the published code ends its sums
_FILES = (RAW, SUMMARY)
STATED = "revision/P4_tail/tail_fit_raw.json"


class _Tail(NamedTuple):
    law: PowerLaw
    others: dict[str, Comparison]


def _all_degrees(files: StudyFiles) -> np.ndarray:
    return np.array(sorted(known_degrees(files).values()))


def _fitted(files: StudyFiles) -> _Tail:
    degrees = _all_degrees(files)
    tail = degrees[degrees >= _XMIN]
    surplus = min(max(tail.size - _N_TAIL, 0), int((tail == _XMIN).sum()))
    tail = tail[surplus:]
    law = fit(tail, xmin=_XMIN)
    if law is None:
        raise ValueError(f"no two different degrees of at least {_XMIN}")
    return _Tail(law, {c.name: c for c in compare(tail, law)})


def _tail(files: StudyFiles) -> _Tail:
    return files.once("tail", _fitted)


def _integers(last: int) -> np.ndarray:
    return np.arange(_XMIN, last + 1, dtype=float)


def _published_ks(files: StudyFiles) -> float:
    """KS distance by the published convention: the model ends at the largest degree, and the data
    step up by 1 / n at each degree, also at equal ones.
    """
    degrees = _all_degrees(files)
    tail = degrees[degrees >= _XMIN][-_N_TAIL:]
    x = _integers(int(tail.max()))
    model = np.cumsum(x ** -_tail(files).law.alpha)
    at = model[tail - _XMIN] / model[-1]
    return float(np.abs(np.arange(1, tail.size + 1) / tail.size - at).max())


def _loglik(files: StudyFiles, log_f: Callable[[np.ndarray], np.ndarray]) -> np.ndarray:
    """Log-likelihood of each degree of the tail, normalised up to the published 200,000."""
    degrees = _all_degrees(files)
    tail = degrees[degrees >= _XMIN][-_N_TAIL:]
    each = log_f(_integers(_LARGEST))
    top = each.max()
    return log_f(tail.astype(float)) - top - np.log(np.exp(each - top).sum())


def _vuong(files: StudyFiles, other: np.ndarray) -> float:
    alpha = _tail(files).law.alpha
    difference = _loglik(files, lambda x: -alpha * np.log(x)) - other
    return float(difference.sum() / (np.sqrt(difference.size) * difference.std()))


def _published_stretched(files: StudyFiles) -> tuple[float, float]:
    """Log-likelihood and Vuong z at the published parameters."""
    rate, beta = files.json(STATED)["comparisons"]["stretched_exp"]["params"]
    each = _loglik(files, lambda x: (beta - 1) * np.log(x) - rate * x**beta)
    return float(each.sum()), _vuong(files, each)


def _truncated_vuong(files: StudyFiles) -> float:
    p = _tail(files).others["truncated"].params
    return _vuong(files, _loglik(files, lambda x: -p["alpha"] * np.log(x) - p["lambda"] * x))


def _at(xmin: int):
    def alpha(files: StudyFiles) -> float:
        degrees = _all_degrees(files)
        found = fit(degrees[degrees >= xmin], xmin=xmin)
        if found is None:
            raise ValueError(f"no two different degrees of at least {xmin}")
        return found.alpha

    return alpha


def _uncorrected(files: StudyFiles) -> tuple[int, float, float]:
    degrees = _all_degrees(files)
    found = fit(degrees[degrees >= _XMIN], xmin=_XMIN)
    if found is None:
        raise ValueError(f"no two different degrees of at least {_XMIN}")
    return found.n_tail, found.alpha, found.ks


def _inconclusive(files: StudyFiles) -> str:
    favoured = {c.favoured for c in _tail(files).others.values()}
    return "all four inconclusive" if favoured == {"neither"} else ", ".join(sorted(favoured))


def _statistic(name: str):
    return lambda files: _tail(files).others[name].statistic


def _param(name: str, param: str):
    return lambda files: _tail(files).others[name].params[param]


_HALF = "the degrees are in half precision where no other file states them"
_BODY = "needs the degrees below 802, of which most were not published"

TAIL = Theme(
    "tail",
    "The tail of the degrees",
    (
        Check("n_tail", "degrees in the tail", "157", lambda f: _tail(f).law.n_tail, _FILES),
        Check(
            "alpha", "exponent at xmin 860", "6.053", lambda f: _tail(f).law.alpha, _FILES, _HALF
        ),
        Check("sigma", "its standard error", "", lambda f: _tail(f).law.sigma, _FILES),
        Check("loglik", "log-likelihood", "-994.5", lambda f: _tail(f).law.loglik, _FILES, _HALF),
        Check(
            "ks",
            "KS distance",
            "0.034",
            _published_ks,
            _FILES,
            "by the published convention: the model ends at the largest degree",
        ),
        Check(
            "ks_standard",
            "KS distance by the usual convention (the model has no end)",
            "",
            lambda f: _tail(f).law.ks,
            _FILES,
        ),
        Check(
            "lognormal_loglik",
            "lognormal: log-likelihood",
            "-994.5",
            lambda f: _tail(f).others["lognormal"].loglik,
            _FILES,
        ),
        Check(
            "lognormal",
            "lognormal: Vuong z, p",
            "-0.09 / 0.93",
            lambda f: [_tail(f).others["lognormal"].statistic, _tail(f).others["lognormal"].p],
            _FILES,
        ),
        Check(
            "exponential_loglik",
            "exponential: log-likelihood",
            "-997.0",
            lambda f: _tail(f).others["exponential"].loglik,
            _FILES,
        ),
        Check("exponential", "exponential: Vuong z", "1.21", _statistic("exponential"), _FILES),
        Check(
            "exponential_p",
            "exponential: p",
            "0.225",
            lambda f: _tail(f).others["exponential"].p,
            _FILES,
        ),
        Check(
            "rate",
            "exponential: rate",
            "0.0047",
            _param("exponential", "lambda"),
            _FILES,
            "in closed form; published 0.00474228, a little before its maximum",
        ),
        Check(
            "stretched",
            "stretched exponential, published parameters: log-likelihood, Vuong z",
            "-994.6 / 0.25",
            _published_stretched,
            (*_FILES, STATED),
        ),
        Check(
            "stretched_best",
            "stretched exponential: largest log-likelihood",
            "-994.6",
            lambda f: _tail(f).others["stretched"].loglik,
            _FILES,
            "the published fit is not at the maximum of its likelihood",
        ),
        Check(
            "truncated_z",
            "truncated power law: Vuong z",
            "-0.23",
            _truncated_vuong,
            _FILES,
            "the power law is nested in it, so this z has no normal distribution",
        ),
        Check(
            "truncated",
            "truncated power law: log-likelihood",
            "-994.45",
            lambda f: _tail(f).others["truncated"].loglik,
            _FILES,
        ),
        Check(
            "truncated_alpha",
            "truncated power law: exponent",
            "5.53",
            _param("truncated", "alpha"),
            _FILES,
            "5.526 published",
        ),
        Check(
            "truncated_test",
            "truncated power law: the valid test of nested models, 2 dL and p",
            "",
            lambda f: [_tail(f).others["truncated"].statistic, _tail(f).others["truncated"].p],
            _FILES,
            "published is a Vuong z (-0.226), which does not hold for nested models",
        ),
        Check("verdict", "the comparisons", "all four inconclusive", _inconclusive, _FILES),
        Check(
            "uncorrected",
            "without the correction of one degree: n, exponent, KS",
            "",
            _uncorrected,
            _FILES,
        ),
        *(
            Check(f"alpha_{xmin}", f"exponent at xmin {xmin}", "", _at(xmin), _FILES)
            for xmin in (802, 820, 840, 880, 900, 1000, 1100)
        ),
        Check("xmin", "the search for xmin", "860", note=_BODY),
        Check("gof", "bootstrap p of the power law", "0.945", note=_BODY),
        Check("median", "median and mean of the positive degrees", "284 / 343.6", note=_BODY),
    ),
)
