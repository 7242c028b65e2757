"""What each learner does in the conjugate world: it shrinks an episode's mean to the common one.

In an eigen-direction with prior variance tau2 and data variance v every learner estimates
mu + g (ybar - mu), and errs by (1 - g)^2 tau2 + g^2 v. Bayes has a gain g of its own in each
direction; MAML's k steps and iMAML's lambda have one number for all of them. Sheet `niwmeta`, M10.
"""

from __future__ import annotations

import math
from functools import partial
from typing import Any

import numpy as np

from ...arrays import Array, namespace, to_numpy
from ...errors import fail, integer, number
from .. import _forms as forms


def bayes_gain(tau2: Array, v: Array) -> Array:
    """tau2 / (tau2 + v): 0 is full pooling, 1 none.

    >>> import numpy as np
    >>> bayes_gain(np.array([4.0]), np.array([1.0])).tolist()
    [0.8]
    """
    tau2, v = _variances("bayes_gain", tau2, v)
    return tau2 / (tau2 + v)


def maml_gain(v: Array, alpha: float | int, steps: int) -> Array:
    """1 - (1 - alpha/v)^steps of `steps` gradient steps of size alpha.

    >>> import numpy as np
    >>> maml_gain(np.array([1.0]), 0.5, 2).tolist()
    [0.75]
    """
    v = _positive("maml_gain", "v", v)
    number("maml_gain", "alpha", alpha, 0.0)
    return 1 - (1 - alpha / v) ** integer("maml_gain", "steps", steps, 0)


def imaml_gain(v: Array, lam: float | int) -> Array:
    """A / (A + lam), A = 1/v, of the proximal step with weight lam.

    >>> import numpy as np
    >>> imaml_gain(np.array([1.0]), 3.0).tolist()
    [0.25]
    """
    v = _positive("imaml_gain", "v", v)
    return 1 / (1 + number("imaml_gain", "lam", lam, 0.0) * v)


def risk(g: Any, tau2: Array, v: Array) -> Array:
    """Squared error (1 - g)^2 tau2 + g^2 v of the gain g, in each direction.

    >>> import numpy as np
    >>> risk(0.5, np.array([4.0]), np.array([1.0])).tolist()
    [1.25]
    """
    tau2, v = _variances("risk", tau2, v)
    return (1 - g) ** 2 * tau2 + g**2 * v


def best_maml(tau2: Array, v: Array, steps: int) -> tuple[float, float]:
    """(alpha, summed risk) at the best common step size of `steps` inner steps.

    >>> import numpy as np
    >>> round(best_maml(np.array([4.0, 1.0, 0.05]), np.full(3, 0.5), 1)[1], 6)
    1.156489
    """
    tau2, v = (to_numpy(x) for x in _variances("best_maml", tau2, v))
    integer("best_maml", "steps", steps, 1)
    top = 2 * float(namespace(v).max(v))  # beyond it every direction is overshot more and more
    return _least(partial(_maml_risk, tau2=tau2, v=v, steps=steps), math.log(top))


def _maml_risk(log_alpha: float, tau2: Array, v: Array, steps: int) -> float:
    g = maml_gain(v, math.exp(log_alpha), steps)
    return float(namespace(v).sum(risk(g, tau2, v)))


def best_imaml(tau2: Array, v: Array) -> tuple[float, float]:
    """(lam, summed risk) at the best common proximal weight.

    >>> import numpy as np
    >>> round(best_imaml(np.array([4.0, 1.0, 0.05]), np.full(3, 0.5))[1], 6)
    1.156489
    """
    tau2, v = (to_numpy(x) for x in _variances("best_imaml", tau2, v))
    top = -math.log(float(namespace(v).min(v))) + 12.0  # lam v = e^12: pooled to 5 digits
    return _least(partial(_imaml_risk, tau2=tau2, v=v), top)


def _imaml_risk(log_lam: float, tau2: Array, v: Array) -> float:
    return float(namespace(v).sum(risk(imaml_gain(v, math.exp(log_lam)), tau2, v)))


def _least(function: Any, top: float) -> tuple[float, float]:
    """(e^x, f(x)) at the minimum of a function on (top - 30, top]: a grid, then golden sections."""
    grid = np.linspace(top - 30.0, top, 301)
    k = int(np.argmin([function(float(x)) for x in grid]))
    low, high = float(grid[max(k - 1, 0)]), float(grid[min(k + 1, 300)])
    golden = (math.sqrt(5) - 1) / 2
    while high - low > 1e-9:
        a, b = high - golden * (high - low), low + golden * (high - low)
        low, high = (low, b) if function(a) <= function(b) else (a, high)
    x = (low + high) / 2
    return math.exp(x), function(x)


def predictive_log_loss(
    g: Any, tau2: Array, v: Array, noise_variance: float | int, posterior_variance: Any
) -> Array:
    """Expected -log p of a new observation in each direction, predicted by
    N(mu + g (ybar - mu), posterior_variance + noise_variance).

    1/2 [log(2 pi s) + (risk(g) + noise_variance) / s], s the variance that is predicted.

    >>> import numpy as np
    >>> tau2, v = np.array([4.0]), np.array([0.5])
    >>> predictive_log_loss(bayes_gain(tau2, v), tau2, v, 0.2, 4 / 9).round(4).tolist()
    [1.1993]
    """
    noise = number("predictive_log_loss", "noise_variance", noise_variance, 1e-300)
    error = risk(g, tau2, v) + noise
    s = posterior_variance + noise + 0 * error
    return 0.5 * (namespace(s).log(2 * math.pi * s) + error / s)


def _positive(where: str, argument: str, x: Array) -> Array:
    x = forms.vector(where, argument, x)
    if not bool(namespace(x).all(x > 0)):
        raise fail(where, argument, "positive", x)
    return x


def _variances(where: str, tau2: Array, v: Array) -> tuple[Array, Array]:
    v = _positive(where, "v", v)
    tau2 = forms.vector(where, "tau2", tau2, v.shape[0])
    if not bool(namespace(tau2).all(tau2 >= 0)):
        raise fail(where, "tau2", "not negative", tau2)
    return tau2, v
