"""The hierarchy for any torch network: each episode is visited once and no inner loop is unrolled.

The law of all weights is an NIW (a product of one-dimensional laws unless covariance="full"). An
episode's loss is replaced by a quadratic, its posterior is a closed form, and the gradient of
E_q l + E KL(q || N(mu, Sigma)) in the law goes through that closed form.
Kim & Hospedales (arXiv 2306.09702), sheet `niwmeta`, M4 to M6 and "Real models".
"""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import partial
from typing import Any

import torch
from torch import nn
from torch.func import grad, hessian, jacrev

from ...errors import fail, integer, number, one_of
from .hierarchy import NIW
from .learners._torch import Data, Learner, prototype_logits
from .local._torch import Local, NetworkPosterior, times, whitened

COVARIANCES = ("diag", "low_rank", "full")
HEADS = ("network", "prototypes")
CURVATURES = ("gauss_newton", "laplace", "sgld")


class NIWMeta(Learner):
    """The hierarchy over the weights of a network.

    model: any nn.Module, called through `functional_call`. likelihood: "gaussian", y (n, k), noise
    a standard deviation (learn_noise trains it, and may end with all called noise: start low); or
    "categorical", logits and integer classes.
    covariance: "diag", V0, A and V_i all diagonal, as in the paper; "low_rank", V0 diagonal and an
    episode's curvature whole, by one solve of the size of its data; "full", V0 a matrix as well
    (adapters: d small).
    curvature: "gauss_newton", `inner` steps from m0, differentiated through where it is one;
    "laplace", the Hessian's diagonal after `inner` steps of Adam; "sgld", the variance of `inner`
    Langevin iterates of step eta from m0 (3, 1e-6 in the authors' settings). The last two give
    diagonals.
    A diagonal A is clipped at `clip`.
    head: "network", the outputs are the network's; "prototypes", they are the logits of a ProtoNet
    whose embedding is the network and whose weights the episode adapts: in its own support each
    image is left out of its class's prototype, so two of each class are needed. With V0 = 0 that is
    a ProtoNet. ways: the classes of an episode, for prototypes.
    n0: of V0, above d - 1 for "full" (above 0 in a product); held, since in the limit of many
    episodes it has no optimum (C4), as l0 has not. spread: the prior's standard deviation at first,
    over the square root of each weight's fan-in; one, or a dict of one for each parameter's name
    (a small one where weights are shared by all episodes). samples: draws of each posterior a step.
    Randomness: torch's own generator (`torch.manual_seed`). Raises ValueError or TypeError by name.

    >>> _ = torch.manual_seed(0)
    >>> h = NIWMeta(nn.Linear(1, 1), noise=0.1)
    >>> x = torch.linspace(-1, 1, 5)[:, None]
    >>> loss = h.step((x, 2 * x), (x, 2 * x))
    >>> mean, var = h.adapt((x, 2 * x)).predict(x, samples=16)
    >>> mean.shape, var.shape
    (torch.Size([5, 1]), torch.Size([5, 1]))
    """

    def __init__(
        self,
        model: nn.Module,
        *,
        covariance: str = "diag",
        curvature: str = "gauss_newton",
        likelihood: str = "gaussian",
        head: str = "network",
        ways: int = 2,
        noise: float | int = 0.1,
        learn_noise: bool = False,
        n0: float | int | None = None,
        spread: Any = 0.3,
        inner: int = 1,
        samples: int = 2,
        rate: float | int = 3e-3,
        clip: float | int = math.inf,
        eta: float | int = 1e-6,
    ):
        super().__init__(model, likelihood, noise, rate)
        self._kinds(covariance, curvature, head)
        self.ways = integer("NIWMeta", "ways", ways, 2)
        self.inner = integer("NIWMeta", "inner", inner, 1)
        self.samples = integer("NIWMeta", "samples", samples, 1)
        if curvature == "sgld" and self.inner < 2:
            raise fail("NIWMeta", "inner", "at least 2 for a variance of SGLD iterates", inner)
        self.eta = number("NIWMeta", "eta", eta, 1e-30)
        if not clip > 0:
            raise fail("NIWMeta", "clip", "positive", clip)
        self.clip, d = clip, len(self.m0)
        self.block = d if covariance == "full" else 1
        self.n0 = self._dof(self.block + 99 if n0 is None else n0)
        self.log_root = torch.cat(self._first_roots(spread)).requires_grad_()
        groups = [{"params": [self.m0]}, {"params": [self.log_root], "lr": 10 * self.rate}]
        if learn_noise:
            groups.append({"params": [self.log_noise.requires_grad_()], "lr": 10 * self.rate})
        self.below: torch.Tensor | None = None
        if covariance == "full":
            self.below = torch.zeros(d, d).to(self.m0).requires_grad_()
            groups.append({"params": [self.below]})
        self.optimiser = torch.optim.Adam(groups, lr=self.rate)

    def _dof(self, n0: float | int) -> float:
        if not number("NIWMeta", "n0", n0, -1e300) > self.block - 1:
            raise fail("NIWMeta", "n0", f"above d - 1 = {self.block - 1}", n0)
        return float(n0)

    def _kinds(self, covariance: str, curvature: str, head: str) -> None:
        one_of("NIWMeta", "covariance", covariance, COVARIANCES)
        one_of("NIWMeta", "curvature", curvature, CURVATURES)
        if curvature != "gauss_newton" and covariance != "diag":
            raise fail("NIWMeta", "covariance", f"'diag' for curvature {curvature!r}", covariance)
        one_of("NIWMeta", "head", head, HEADS)
        if head == "prototypes" and self.likelihood != "categorical":
            raise fail("NIWMeta", "likelihood", "'categorical' for prototypes", self.likelihood)
        self.covariance, self.curvature, self.head = covariance, curvature, head

    @property
    def law(self) -> NIW:
        """The law as an `NIW`; l0 is infinite in the limit of many episodes, here 1e12."""
        root = self._factor().detach()
        V = root**2 if self.below is None else root @ root.T
        return NIW(self.m0.detach(), 1e12, self.n0 * V, self.n0)

    def _first_roots(self, spread: Any) -> list[torch.Tensor]:
        """log of the diagonal of Sigma0^{1/2} at first, one for each parameter."""
        if not isinstance(spread, dict):
            spread = dict.fromkeys(self.shapes, spread)
        if set(spread) != set(self.shapes):
            raise fail("NIWMeta", "spread", f"for {list(self.shapes)}", list(spread))
        roots = []
        for name, shape in self.shapes.items():
            first = math.log(number("NIWMeta", "spread", spread[name], 1e-30))
            fan = math.prod(shape[1:])  # 1 for a vector of offsets
            roots.append(self.m0.detach().new_full((shape.numel(),), first - 0.5 * math.log(fan)))
        return roots

    def _factor(self) -> torch.Tensor:
        scale = self.log_root.exp()
        if self.below is None:
            return scale
        return torch.diag(scale) + scale[:, None] * self.below.tril(-1)

    def outputs(self, theta: torch.Tensor, support: Data, x: torch.Tensor | None) -> torch.Tensor:
        """Outputs (n, k) at x in an episode of this support; for the support itself without x."""
        if self.head == "network":
            return self.forward(theta, support[0] if x is None else x)
        h, h_new = self.forward(theta, support[0]), None if x is None else self.forward(theta, x)
        return prototype_logits(h, support[1], h_new, self.ways)

    def local(
        self, out_of: Callable[..., torch.Tensor], y: torch.Tensor, scale: Any = 1.0
    ) -> Local:
        """The posterior of an episode under N(m0, scale Sigma0), M3; out_of(theta): its outputs."""
        F = self._factor() * scale**0.5
        if self.curvature != "gauss_newton":
            return self._diagonal(out_of, y, F)
        theta, K, S = self.m0, F, F
        for _ in range(self.inner):
            here = theta if self.inner == 1 else theta.detach()
            out, J = out_of(here), jacrev(out_of)(here)
            K, u = whitened(self.likelihood, self.log_noise, out, y, J)
            S = times(F, K) @ K.T + torch.eye(len(K)).to(K)
            theta = self.m0 + torch.linalg.solve(S, K @ (here - self.m0) - u) @ times(F, K)
        variance = None
        if self.covariance == "diag":
            variance = 1 / ((K * K).sum(0).clamp(max=self.clip) + 1 / F**2)
        return Local(theta, F, K, S, variance)

    def _diagonal(self, out_of: Callable[..., Any], y: torch.Tensor, F: torch.Tensor) -> Local:
        """M5's statistics (mbar, A), kept out of the graph, and M3 on them."""

        def loss(theta: torch.Tensor) -> torch.Tensor:
            return -self.log_prob(out_of(theta), y).sum()

        P, m0 = 1 / F**2, self.m0.detach()
        if self.curvature == "sgld":
            trail = [m0]
            for _ in range(self.inner):
                kick = math.sqrt(2 * self.eta) * torch.randn_like(m0)
                trail.append((trail[-1] - self.eta * grad(loss)(trail[-1]) + kick).detach())
            iterates = torch.stack(trail[1:])
            mbar = iterates.mean(0)
            A = (1 / iterates.var(0, correction=0).clamp(min=1e-30)).clamp(max=self.clip)
        else:
            mbar = self._descended(lambda theta: grad(loss)(theta) + P.detach() * (theta - m0), m0)
            A = hessian(loss)(mbar).diagonal().detach().clamp(min=0, max=self.clip)
            # the prior's pull is in mbar already: the point at which M3 gives it back
            mbar = mbar + P.detach() / A.clamp(min=1e-30) * (mbar - m0)
        V = 1 / (A + P)
        none = self.m0.new_zeros(0, len(m0))
        return Local(V * (A * mbar + P * self.m0), F, none, none, V)

    def _descended(self, gradient: Callable[..., Any], theta: torch.Tensor) -> torch.Tensor:
        """`inner` steps of Adam, of which the last are short."""
        m, v = torch.zeros_like(theta), torch.zeros_like(theta)
        for k in range(1, self.inner + 1):
            g = gradient(theta).detach()
            m, v = 0.9 * m + 0.1 * g, 0.99 * v + 0.01 * g * g
            move = m / (1 - 0.9**k) / ((v / (1 - 0.99**k)).sqrt() + 1e-8)
            theta = theta - 0.05 * (1 - k / (self.inner + 1)) * move
        return theta.detach()

    def loss(self, support: Data, query: Data) -> torch.Tensor:
        """M4 of the episode whose data are support and query together, up to what no step moves."""
        y = torch.cat([support[1], query[1]])

        def out_of(theta: torch.Tensor) -> torch.Tensor:
            parts = self.outputs(theta, support, None), self.outputs(theta, support, query[0])
            return torch.cat(parts)

        q = self.local(out_of, y)
        thetas = q.draws(self.samples)
        fit = torch.stack([self.log_prob(out_of(t), y).sum() for t in thetas]).mean()
        return q.divergence(self.m0) - fit

    def adapt(self, support: Data, *, prior: str = "mode") -> NetworkPosterior:
        """The posterior of a novel episode, M6.

        prior: "mode", N(m0, V0/(n0 + d + 2)), the paper's; "training", N(m0, V0/n0); "student",
        Laplace's under t_{n0-d+1}, refused where that has no mean (n0 - d + 1 <= 1); d is 1 in a
        product.
        """
        one_of("NIWMeta.adapt", "prior", prior, ("mode", "training", "student"))
        self._targets("NIWMeta.adapt", "support", support[1])
        out_of = partial(self.outputs, support=support, x=None)
        with torch.no_grad():
            if prior == "student":
                q = self._under_student(out_of, support[1])
            else:
                dof = self.n0 + self.block + 2 if prior == "mode" else self.n0
                q = self.local(out_of, support[1], self._scalar(self.n0 / dof))
        return NetworkPosterior(self, q, support)

    def _under_student(self, out_of: Callable[..., Any], y: torch.Tensor) -> Local:
        """theta given w is Gaussian: w's mean and the posterior in turn, to the mode."""
        dof = self.n0 - self.block + 1
        if not dof > 1:
            allowed = f"above d = {self.block} for a predictive mean to exist"
            raise fail("NIWMeta.adapt", "n0", allowed, self.n0)
        S, w = self.n0 / dof, self._scalar(1.0)
        q = self.local(out_of, y, S / w)
        for _ in range(20):
            F, D = self._factor() * S**0.5, q.mean - self.m0
            z = D / F if F.ndim == 1 else torch.linalg.solve(F, D)
            w = (dof + self.block) / (dof + (z * z if F.ndim == 1 else z @ z))
            q = self.local(out_of, y, S / w)
        return q
