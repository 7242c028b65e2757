"""Testbeds: laws about which the truth is known in closed form. One file a law.

| you want | take |
| --- | --- |
| every sampler's output law without sampling | `Gaussian` |
| a law that is not Gaussian, with an exact flow map, in any dimension | `ProductMixture` |
| one dimension, with an exact flow map | `mixture_1d` |
| any mixture: classes, Hessians, posteriors, thousands of components | `GaussianMixture` |
| the statistics of your own data | `fit_gaussian`, `fit_product_mixture` |
| structures in three dimensions | `GaussianChain` |
| a reward, a product or a power of laws, with its normaliser | `reward_tilt`, `tilted` |
| discrete diffusion | `MaskedDiffusion`, `UniformDiffusion` |
| tokens one after another, and their code vectors | `NextTokenLaw`, `CodebookSequence` |
| Gaussian tokens one after another | `GaussianSequence` |
| a rich and a poor input of one head | `SwitchedConditioning` |
| a network of layers, any of which may be left out | `LayeredDenoiser` |
| k frames of T, with every set's scores; digits in motion | `ClipBandit`, `MovingDigits` |
| matrices with known leverage scores, sensitivities, Lewis weights | `LpDesign`, `lp_designs` |
| yes and no with a memory, in closed form | `MarkovCoin`, `BalancingSeries`, `HistoryCoin` |
| where sampling by sensitivity needs more rows than their total | `TwoBlocks` |
| tries until a verifier that errs accepts | `TaskKinds`, `BetaTasks`, `BetaBetaTasks` |
| few-shot tasks and their best predictions | `GaussianEpisodes`, `FunctionEpisodes` |
| few-shot tasks of real images | `FewShotDigits` |
| samples of one law at two noise levels | `TwoVarianceSample` |

The continuous ones give, on any path: `at(path, t)` (the law of x_t), `sample`, `log_prob`,
`model(path, prediction)` (the exact denoiser as a `Model`), and where they are exact `flow(path)`
(the flow map (x, t, s)), `average_velocity(path)` and `posterior(path, x, t)` (the law of x_0 given
x_t).
"""

from __future__ import annotations

from . import lp_designs, tilted
from .autoregressive import NextTokenLaw, chain_kl, markov_chain
from .chain import GaussianChain, augmented, centred, random_rotations
from .clips import ClipBandit, Clips, MovingDigits, clip_bandit
from .codebook import CodebookMixture, CodebookSequence
from .coins import BalancingSeries, HistoryCoin, MarkovCoin
from .conditioning import SwitchableHead, SwitchedConditioning
from .covariances import LowRank
from .discrete import MaskedDiffusion, UniformDiffusion
from .episodes import Episode, FewShotDigits, FunctionEpisodes, GaussianEpisodes
from .fit import fit_gaussian, fit_product_mixture
from .gaussian import Gaussian
from .gaussian_sequence import GaussianSequence, exchangeable_cov
from .layered import LayeredDenoiser, chebyshev_roots
from .lp_designs import LpDesign
from .mixture import GaussianMixture
from .product import ProductMixture, mixture_1d
from .schedules import Constant, Geometric, LogLinear
from .tilted import Reward, TiltedLaw, reward_tilt
from .tokens import (
    TokenLaw,
    countdown_law,
    dirichlet_law,
    markov_chain_law,
    parity_law,
)
from .two_blocks import TwoBlocks
from .two_variances import TwoVarianceSample
from .verifier import Outcomes, first_accept
from .verifier_kinds import TaskKinds
from .verifier_laws import BetaBetaTasks, BetaTasks, DirichletTasks

__all__ = [
    "BalancingSeries",
    "BetaBetaTasks",
    "BetaTasks",
    "ClipBandit",
    "Clips",
    "CodebookMixture",
    "CodebookSequence",
    "Constant",
    "DirichletTasks",
    "Episode",
    "FewShotDigits",
    "FunctionEpisodes",
    "Gaussian",
    "GaussianChain",
    "GaussianEpisodes",
    "GaussianMixture",
    "GaussianSequence",
    "Geometric",
    "HistoryCoin",
    "LayeredDenoiser",
    "LogLinear",
    "LowRank",
    "LpDesign",
    "MarkovCoin",
    "MaskedDiffusion",
    "MovingDigits",
    "NextTokenLaw",
    "Outcomes",
    "ProductMixture",
    "Reward",
    "SwitchableHead",
    "SwitchedConditioning",
    "TaskKinds",
    "TiltedLaw",
    "TokenLaw",
    "TwoBlocks",
    "TwoVarianceSample",
    "UniformDiffusion",
    "augmented",
    "centred",
    "chain_kl",
    "chebyshev_roots",
    "clip_bandit",
    "countdown_law",
    "dirichlet_law",
    "exchangeable_cov",
    "first_accept",
    "fit_gaussian",
    "fit_product_mixture",
    "lp_designs",
    "markov_chain",
    "markov_chain_law",
    "mixture_1d",
    "parity_law",
    "random_rotations",
    "reward_tilt",
    "tilted",
]
