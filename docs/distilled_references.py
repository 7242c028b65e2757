"""What students are compared with: exact draws, the teacher with many steps, no training at all."""

from __future__ import annotations

import numpy as np
import torch
from distilled_worlds import Numbers, world

import fewtheory as ft
from fewtheory.distill import FewSteps, sample
from fewtheory.plan import grids

EXACT, TEACHER, MANY = "exact draws", "teacher, third-order solver", 50
UNTRAINED = {
    "not trained, fresh noise": "renoise",
    "not trained, deterministic": "deterministic",
}
REFERENCES = [
    (name, method, steps)
    for name in ("mixture", "product", "digits", "digits, UNet")
    for method, counts in {
        EXACT: [0],
        TEACHER: [MANY],
        **{name: [1, 2, 4] for name in UNTRAINED},
    }.items()
    for steps in counts
]


def measured(name: str, method: str, steps: int) -> Numbers:
    """The measures of a world, of one of the references."""
    w, rng = world(name), torch.Generator().manual_seed(7)
    like = torch.zeros(w.samples, *w.shape)
    if method == EXACT:
        return w.measure(exact(name, w.samples))
    if method == TEACHER:
        path = w.path
        plan = ft.samplers.dpm_solver_pp(path, grids.log_snr(path, steps - 1).to_clean(), order=3)
        x = float(path.sigma(path.start)) * torch.randn(like.shape, generator=rng)
        with torch.no_grad():
            return w.measure(plan.run(w.teacher, x))
    few = FewSteps(w.times(steps), UNTRAINED[method])
    return w.measure(sample(w.teacher, few, like, rng=rng))


def exact(name: str, n: int) -> torch.Tensor:
    """Draws of the law; of the digits, which have none, the training digits with replacement."""
    rng = np.random.default_rng(3)
    if name.startswith("digits"):
        x = ft.zoo.digits().x
        return x[torch.tensor(rng.integers(len(x), size=n))]
    law = ft.zoo.data.mixture() if name == "mixture" else ft.zoo.data.product()
    return torch.tensor(law.sample(n, rng=rng))
