"""Gaussian mixtures in any dimension: everything about x_t in closed form, but for its flow.

If x_0 ~ sum_k w_k N(m_k, C_k), then x_t is a mixture with means alpha m_k and covariances
alpha^2 C_k + sigma^2 I, and x_0 given x_t is one too. So density, score, Hessian, denoiser, its
Jacobian and the posterior are finite sums; components may carry a class, which gives the
class-conditional models and the class probabilities that guidance needs. Sheet `00-notation`.
The flow map has a closed form for one component and in one dimension only; where more is needed,
`ProductMixture` has one in any dimension.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np

from ..arrays import Array, Rng, as_like, categorical, is_numpy, logsumexp, namespace
from ..errors import fail, finite_array, integer, one_of, state
from ..model import MEANING, PREDICTIONS, Level, Model, over_event
from ..paths import Path
from .base import FlowMap, average_velocity, check_times, exact_model
from .covariances import Elementwise, Form, Full, form_of
from .gaussian import Gaussian
from .mixture_posterior import MixturePosterior, draw
from .mixture_sums import Parts, pairs, sums
from .product import ProductMixture

ANY = -1  # the label that stands for no class: the whole mixture


@dataclass(frozen=True, eq=False)
class GaussianMixture:
    """sum_k weights_k N(means_k, covs_k) in d dimensions.

    weights: (K,), non-negative with sum 1, down to 1e-300; means: (K, d); covs: (K, d, d) full,
    (K, d) diagonal or (K,) isotropic, positive semidefinite, or a `LowRank`; classes: (K,) integers
    from 0, the class of each component. Raises ValueError for anything else.

    >>> bed = GaussianMixture([0.5, 0.5], [[-1.0, 0.0], [1.0, 0.0]], [0.1, 0.1])
    >>> bed.score(np.array([[2.0, 1.0]])).round(3)
    array([[-10., -10.]])
    """

    weights: Any
    means: Any
    covs: Any
    classes: Any = None
    form: Form = field(init=False, repr=False)

    def __post_init__(self) -> None:
        where = "GaussianMixture"
        w, m = (finite_array(where, n, getattr(self, n)) for n in ("weights", "means"))
        if w.ndim != 1 or w.size == 0:
            raise fail(where, "weights", "of shape (K,)", w.shape)
        if np.any(w < 0) or abs(w.sum() - 1) > 1e-9:
            raise fail(where, "weights", "non-negative with sum 1", w)
        if m.ndim != 2 or m.shape[0] != w.size or m.shape[1] == 0:
            raise fail(where, "means", f"of shape ({w.size}, d)", m.shape)
        form = form_of(where, self.covs, *m.shape)
        covs = form.array() if isinstance(form, (Elementwise, Full)) else form
        classes = self.classes
        if classes is not None:
            classes = np.array(classes)
            if classes.shape != w.shape or classes.dtype.kind not in "iu" or classes.min() < 0:
                raise fail(where, "classes", f"({w.size},) integers from 0", self.classes)
        given = {"weights": w, "means": m, "covs": covs, "classes": classes, "form": form}
        for name, value in given.items():
            object.__setattr__(self, name, value)

    @property
    def event(self) -> tuple[int, ...]:
        """The shape of one sample, (d,)."""
        return (self.means.shape[1],)

    @property
    def mean(self) -> np.ndarray:
        """E[x_0], (d,)."""
        return self.weights @ self.means

    @property
    def cov(self) -> np.ndarray:
        """Cov[x_0], (d, d): the mean of the covariances and the covariance of the means."""
        off = self.means - self.mean
        return self.form.mean(self.weights) + (self.weights * off.T) @ off

    def at(self, path: Path, t: float) -> GaussianMixture:
        """The law of x_t, again a mixture of this form."""
        path.check_t("GaussianMixture.at", t)
        alpha, sigma = float(path.alpha(t)), float(path.sigma(t))
        form = self.form.at(alpha, sigma)
        return GaussianMixture(self.weights, alpha * self.means, form, self.classes)

    def given(self, label: int) -> GaussianMixture:
        """The law of one class."""
        self._check_label("GaussianMixture.given", label)
        chosen = np.flatnonzero(self.classes == label)
        w, form = self.weights[chosen], self.form.take(chosen)
        return GaussianMixture(w / w.sum(), self.means[chosen], form, self.classes[chosen])

    def _check_label(self, where: str, label: Any) -> None:
        if self.classes is None:
            raise fail(where, "classes", "given, where a label is asked for", None)
        mass = np.bincount(self.classes, self.weights)
        one_of(where, "label", label, np.flatnonzero(mass > 0).tolist())

    def sample(self, n: int, *, rng: Rng, like: Array | None = None) -> Array:
        """n draws, (n, d), float64 NumPy unless `like` says otherwise."""
        integer("GaussianMixture.sample", "n", n, 0)
        kind = np.empty(0) if like is None else like
        xp = namespace(kind)
        weights = as_like(self.weights, xp.astype(xp.reshape(kind, (-1,))[:0], xp.float64))
        which = categorical(rng, weights, (n,))
        return draw(self.form, self.means, which, rng, kind)

    def _log_w(self, x: Array, label: Any = None) -> Array:
        """Log weights, (K,) NumPy, or (n, K) where each row has its own label."""
        with np.errstate(divide="ignore"):
            log_w = np.log(self.weights)
        if label is None:
            return log_w
        where = "GaussianMixture"
        if isinstance(label, (int, np.integer)):
            if label == ANY:
                return log_w
            self._check_label(where, label)
            inside = self.classes == label
            log_class = np.where(inside, log_w, -np.inf)
            return log_class - np.log(self.weights[inside].sum())
        if self.classes is None:
            raise fail(where, "classes", "given, where a label is asked for", None)
        xp = namespace(x)
        if tuple(label.shape) != (x.shape[0],):
            raise fail(where, "label", f"an integer or of shape ({x.shape[0]},)", label.shape)
        labels = np.unique(self.classes)
        known = xp.any(label[:, None] == as_like(np.append(labels, ANY), label)[None, :], axis=1)
        if not bool(xp.all(known)):
            raise fail(where, "label", f"among {[ANY, *labels.tolist()]}", label)
        mass = np.bincount(self.classes, self.weights)[self.classes]
        with np.errstate(divide="ignore", invalid="ignore"):
            within = as_like(log_w - np.log(mass), x)
        same = label[:, None] == as_like(self.classes, label)[None, :]
        chosen = xp.where(same, within, as_like(np.full_like(log_w, -np.inf), x))
        return xp.where(label[:, None] == ANY, as_like(log_w, x), chosen)

    def _parts(self, x: Array, label: Any = None) -> Parts:
        return Parts(self._log_w(x, label), self.means, self.form)

    def _clean(self, where: str, x: Array) -> Parts:
        """Checks for what asks for the density of x_0 itself."""
        state(where, "x", x, self.event)
        if self.form.singular:
            raise fail(where, "covs", "positive definite (no density)", self.covs)
        return self._parts(x)

    def log_prob(self, x: Array) -> Array:
        """The log density at x (n, d), shape (n,); refused where a covariance is singular."""
        parts = self._clean("GaussianMixture.log_prob", x)
        return sums(parts, x, 1.0, 0.0, pull=False, data=False).log_prob

    def score(self, x: Array) -> Array:
        """grad log p(x), (n, d)."""
        parts = self._clean("GaussianMixture.score", x)
        return _negated(sums(parts, x, 1.0, 0.0, data=False).pull)

    def log_prob_and_score(self, x: Array) -> tuple[Array, Array]:
        """Both at once, for little more than the price of one."""
        parts = self._clean("GaussianMixture.log_prob_and_score", x)
        found = sums(parts, x, 1.0, 0.0, data=False)
        return found.log_prob, _negated(found.pull)

    def hessian_vector(self, x: Array, v: Array) -> Array:
        """Hess log p(x) v, (n, d): sum_k r_k (g_k - g)(g_k - g)'v - sum_k r_k C_k^{-1} v.

        g_k is the score of component k and g the mixture's; nothing of size |g|^2 cancels.
        """
        state("GaussianMixture.hessian_vector", "v", v, self.event)
        parts = self._clean("GaussianMixture.hessian_vector", x)
        return -self._derivatives(parts, x, v, 1.0, 0.0)[1]

    def responsibilities(self, x: Array) -> Array:
        """The posterior probability of each component given x_0 = x, (n, K)."""
        return pairs(self._clean("GaussianMixture.responsibilities", x), x, 1.0, 0.0)[1]

    def class_log_probs(self, x: Array) -> Array:
        """log p(class | x_0 = x), (n, classes); at a level: `at(path, t).class_log_probs(x)`."""
        where = "GaussianMixture.class_log_probs"
        parts = self._clean(where, x)
        if self.classes is None:
            raise fail(where, "classes", "given, where a label is asked for", None)
        xp, one = namespace(x), []
        for label in range(int(self.classes.max()) + 1):
            inside = np.where(self.classes == label, parts.log_w, -np.inf)
            if not np.isfinite(inside).any():
                one.append(xp.zeros_like(x[:, 0]) - xp.inf)
                continue
            only = Parts(inside, *parts[1:])
            one.append(sums(only, x, 1.0, 0.0, pull=False, data=False).log_prob)
        joint = xp.stack(one, axis=-1)
        return joint - logsumexp(joint)[:, None]

    def _at_level(self, where: str, alpha: Array, sigma: Array) -> tuple[Any, Any]:
        """Levels as floats, or with an axis over the components."""
        if isinstance(sigma, (int, float)) and sigma == 0 and self.form.singular:
            raise fail(where, "t", "a level with noise (a covariance is singular)", "sigma = 0")

        def deep(v: Array) -> Any:
            return float(v) if isinstance(v, (int, float)) else v[..., None] if v.ndim else v

        return deep(alpha), deep(sigma)

    def means_at(
        self, x: Array, alpha: Array, sigma: Array, label: Any = None
    ) -> tuple[Array, Array]:
        """E[x_0 | x_t] and E[eps | x_t] at the level (alpha, sigma), numbers or (n, 1)."""
        levels = self._at_level("GaussianMixture", alpha, sigma)
        found = sums(self._parts(x, label), x, *levels)
        return found.data, sigma * found.pull

    def score_at(self, x: Array, alpha: Array, sigma: Array, label: Any = None) -> Array:
        """grad log p_t(x) at the level (alpha, sigma), numbers or (n, 1)."""
        levels = self._at_level("GaussianMixture", alpha, sigma)
        return _negated(sums(self._parts(x, label), x, *levels, data=False).pull)

    def model(self, path: Path, prediction: str = "noise") -> Model:
        """The exact model on this path; with classes it takes `label`, a number or (n,).

        A label of -1 is the unconditional model, so that one object serves guidance.
        """
        return exact_model(self, path, prediction)

    def class_gradient(self, path: Path, label: Any) -> Any:
        """(x, t) -> grad log p(label | x_t), for `classifier_guided`: a difference of scores."""
        self._log_w(np.empty((0, self.event[0])), label if isinstance(label, int) else None)
        score = self.model(path, "score")
        return lambda x, t: score(x, t, label=label) - score(x, t)

    def _derivatives(
        self, parts: Parts, x: Array, v: Array, alpha: Any, sigma: Any
    ) -> tuple[Array, Array]:
        """Derivatives along v of E[x_0 | x_t] and of pull = -score, (n, d) each.

        d r_k = -r_k (pull_k - pull)'v, so both are mean slopes of the components less a covariance
        over them, in which sigma does not divide.
        """
        xp = namespace(x)
        _, r, pulls = pairs(parts, x, alpha, sigma)
        slopes, _ = parts.form.solve(v[:, None, :] + 0 * pulls, alpha, sigma)
        r = r[..., None]
        spread = pulls - xp.sum(r * pulls, axis=1, keepdims=True)
        lean = r * xp.sum(spread * v[:, None, :], axis=-1, keepdims=True)
        each = as_like(self.means, x) + alpha * self.form.times(pulls)
        each = each - xp.sum(r * each, axis=1, keepdims=True)
        data = xp.sum(r * alpha * self.form.times(slopes) - lean * each, axis=1)
        return data, xp.sum(r * slopes - lean * spread, axis=1)

    def jvp(
        self, path: Path, x: Array, t: Array, v: Array, prediction: str = "data", label: Any = None
    ) -> Array:
        """The derivative of the model's prediction along v (n, d), in closed form, (n, d).

        Source: Tweedie's second-order formula, d x0hat / dx = (alpha / sigma^2) Cov[x_0 | x_t].
        """
        where = "GaussianMixture.jvp"
        one_of(where, "prediction", prediction, PREDICTIONS)
        check_times(where, path, x, self.event, t)
        state(where, "v", v, self.event)
        level = Level.at(path, t)
        alpha, sigma = (over_event(v, x) for v in level[:2])
        deep = self._at_level(where, alpha, sigma)
        data, pull = self._derivatives(self._parts(x, label), x, v, *deep)
        if prediction == "score":
            return -pull
        a, b = MEANING[prediction](level)
        return over_event(a, x) * data + over_event(b, x) * sigma * pull

    def jacobian(
        self, path: Path, x: Array, t: Array, prediction: str = "data", label: Any = None
    ) -> Array:
        """d prediction / dx, (n, d, d), symmetric: one `jvp` a direction."""
        xp, d = namespace(x), x.shape[-1]
        basis = as_like(np.eye(d), x)
        columns = [
            self.jvp(path, x, t, xp.zeros_like(x) + basis[j, :], prediction, label)
            for j in range(d)
        ]
        return xp.stack(columns, axis=-1)

    def flow(self, path: Path) -> FlowMap:
        """The exact flow map (x, t, s), for one component or in one dimension.

        Raises ValueError otherwise: there is no closed form. `ProductMixture` has one for any d.
        """
        K, d = self.means.shape
        if K == 1:
            cov = self.form.array()[0]
            return Gaussian(self.means[0], cov).flow(path)
        if d == 1:
            stds = np.sqrt(np.reshape(self.form.array(), (1, K)))
            if self.form.singular:
                raise fail("GaussianMixture.flow", "covs", "positive in one dimension", self.covs)
            return ProductMixture(self.weights[None], self.means.T, stds).flow(path)
        allowed = "one component or d = 1 (a ProductMixture has a flow map in any d)"
        raise fail("GaussianMixture.flow", "means", allowed, self.means.shape)

    def average_velocity(self, path: Path) -> FlowMap:
        """The exact average velocity (x, t, s), where `flow` is exact."""
        return average_velocity(self.flow(path), self.model(path, "velocity"))

    def posterior(self, path: Path, x: Array, t: Array, label: Any = None) -> MixturePosterior:
        """The law of x_0 given x_t = x: again a mixture, one for each row of x."""
        where = "GaussianMixture.posterior"
        check_times(where, path, x, self.event, t)
        alpha, sigma = (over_event(f(t), x) for f in (path.alpha, path.sigma))
        deep = self._at_level(where, alpha, sigma)
        parts = self._parts(x, label)
        log_prob, r, pulls = pairs(parts, x, *deep)
        means = as_like(self.means, x) + deep[0] * self.form.times(pulls)
        return MixturePosterior(r, means, parts, x, deep, log_prob)


def _negated(pull: Array) -> Array:
    """The score from a pull that is nobody else's: in place where nothing records it."""
    return np.negative(pull, out=pull) if is_numpy(pull) else -pull
