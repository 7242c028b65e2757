"""The hierarchy and its baselines on torch networks: exact where the network is linear."""

import math

import numpy as np
import pytest
import torch
from torch import nn
from torch.func import jacrev

from fewtheory.learning import (
    MAML,
    NIW,
    NIWMeta,
    ProtoNet,
    linear_episode,
    local_objective,
    local_posterior,
)
from fewtheory.learning.niw.learners._torch import prototype_logits
from fewtheory.testbeds import FewShotDigits, FunctionEpisodes, GaussianEpisodes

pytestmark = pytest.mark.usefixtures("one_thread")
EPS = np.finfo(float).eps
TAU2 = np.array([4.0, 1.0, 0.05])
WORLD = GaussianEpisodes(np.zeros(3), np.diag(TAU2), math.sqrt(0.5), design="coordinates")


@pytest.fixture(autouse=True)
def seeded():
    """A torch generator of the test's own."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(20261126)
        yield


def tensors(episode, dtype=torch.float64):
    """Support and query as tensors; targets of regression as a column."""
    return [
        (torch.tensor(x, dtype=dtype), torch.tensor(y, dtype=dtype)[:, None])
        if y.dtype == np.float64
        else (torch.tensor(x, dtype=dtype), torch.tensor(y))
        for x, y in (episode.support, episode.query)
    ]


def batches(world, batch, shots, queries, dtype=torch.float64, seed=0):
    """draw() of a learner's `fit`."""
    rng = np.random.default_rng(seed)

    def draw():
        drawn = [tensors(world.draw(shots, queries, rng=rng), dtype) for _ in range(batch)]
        return tuple(tuple(torch.stack([d[k][j] for d in drawn]) for j in (0, 1)) for k in (0, 1))

    return draw


def linear(d=3, **how):
    """The hierarchy over y = x.theta, in double precision."""
    model = nn.Linear(d, 1, bias=False).double()
    return NIWMeta(model, noise=0.5, spread=2.0, **how)


@pytest.mark.parametrize("covariance", ["low_rank", "full"])
@pytest.mark.parametrize("shots", [2, 7])
def test_a_linear_network_has_the_closed_form_posterior(rng, covariance, shots):
    h = linear(covariance=covariance)
    if covariance == "full":
        h.below = (0.5 * torch.randn(3, 3)).double()
    x, y = rng.standard_normal((shots, 3)), rng.standard_normal(shots)
    law = h.law
    full = NIW(law.m0, 1e12, torch.diag(law.V0) if covariance == "low_rank" else law.V0, law.n0)
    episode = linear_episode(torch.tensor(x), torch.tensor(y), noise=0.5)
    q = local_posterior(full, episode)
    found = h.adapt((torch.tensor(x), torch.tensor(y)[:, None]), prior="training")
    assert np.allclose(found.local.mean, q.m, rtol=0, atol=1e-12)
    x_new = torch.tensor(rng.standard_normal((4, 3)))
    mean, var = found.predict(x_new, samples=0)
    assert np.allclose(mean[:, 0], x_new @ q.m, rtol=0, atol=1e-12)
    told = torch.einsum("ni,ij,nj->n", x_new, q.V, x_new) + 0.25
    assert np.allclose(var[:, 0], told, rtol=0, atol=1e-12)


def test_a_diagonal_design_has_the_papers_diagonal_posterior():
    h = NIWMeta(nn.Linear(3, 1, bias=False).double(), noise=math.sqrt(0.5), spread=1.0)
    support, _ = tensors(WORLD.draw(3, 0, rng=np.random.default_rng(0)))
    episode = linear_episode(support[0], support[1][:, 0], noise=math.sqrt(0.5))
    law = h.law
    q = local_posterior(NIW(law.m0, 1e12, torch.diag(law.V0), law.n0), episode)
    found = h.adapt(support, prior="training").local
    assert np.allclose(found.mean, q.m, rtol=0, atol=1e-12)
    assert np.allclose(found.variance, torch.diagonal(q.V), rtol=0, atol=1e-12)


@pytest.mark.parametrize("covariance", ["diag", "low_rank", "full"])
def test_the_loss_is_the_objective_of_one_time_training(covariance):
    h = linear(covariance=covariance, samples=4000)
    h.log_noise = torch.tensor(math.log(math.sqrt(0.5)), dtype=torch.float64)
    support, query = tensors(WORLD.draw(3, 3, rng=np.random.default_rng(1)))
    x, y = torch.cat([support[0], query[0]]), torch.cat([support[1], query[1]])[:, 0]
    law = h.law
    V = law.V0 if covariance == "full" else torch.diag(law.V0)
    n = 1e10  # the cost of the law itself, of order 1/n0, is left out of the network's loss
    sharp = NIW(law.m0, 1e12, V * (n / law.n0), n)
    told = float(local_objective(sharp, linear_episode(x, y, noise=math.sqrt(0.5))))
    with torch.no_grad():
        found = float(h.loss(support, query))
    # 6 squares of residuals, a posterior variance below 1/4 over 1/2; five standard errors
    assert found == pytest.approx(told, abs=5 * math.sqrt(6) / math.sqrt(4000) + 1e-6)


def test_draws_have_the_posteriors_covariance():
    h = linear(covariance="low_rank")
    x = torch.randn(2, 3).double()
    post = h.adapt((x, x @ torch.ones(3, 1).double()))
    draws, J = post.sample(20_000), torch.eye(3).double()
    told = post.local.along(J)
    assert np.allclose(draws.mean(0), post.local.mean, atol=5 * math.sqrt(float(told.max()) / 2e4))
    assert np.allclose(draws.var(0), told, rtol=5 * math.sqrt(2 / 2e4))


def test_visits_reach_the_worlds_covariance_and_bayes():
    """Claim C8 on torch: three directions, and no common shrinkage can be right for them."""
    model = nn.Linear(3, 1, bias=False).double()
    h = NIWMeta(model, noise=math.sqrt(0.5), spread=1.7, rate=0.03)
    h.fit(batches(WORLD, 16, 3, 3), 80)
    V = h.law.V0 / h.law.n0
    assert float(V[0]) > float(V[1]) > 4 * float(V[2])
    rng, maml = np.random.default_rng(5), 0.23  # 1.5 / 6.55 of the data's weight is the prior's
    losses = []
    for _ in range(60):
        episode = WORLD.draw(3, 3, rng=rng)
        support, query = tensors(episode)
        exact = -WORLD.log_predictive(*episode.support, *episode.query).mean()
        found = -float(h.adapt(support).log_prob(*query, samples=0).mean())
        point = (1 - maml) * support[1][:, 0]
        z2 = (query[1][:, 0] - point) ** 2
        losses.append((found - exact, z2))
    gap = np.array([a for a, _ in losses])
    noise = float(torch.stack([b for _, b in losses]).mean())
    # MAML at its best shrinkage with its best single variance
    rival = 0.5 * (math.log(2 * math.pi * noise) + 1)
    exact = 0.5 * np.mean(np.log(2 * np.pi * (0.5 + TAU2 * 0.5 / (TAU2 + 0.5))) + 1)
    assert gap.mean() < 0.25 * (rival - exact)


@pytest.mark.parametrize("curvature", ["laplace", "sgld"])
def test_other_curvatures_agree_where_the_loss_is_quadratic(curvature):
    how = {"laplace": {"inner": 300}, "sgld": {"inner": 800, "eta": 0.1}}[curvature]
    model = nn.Linear(3, 1, bias=False).double()
    h = NIWMeta(model, noise=math.sqrt(0.5), spread=1.0, curvature=curvature, **how)
    reference = NIWMeta(model, noise=math.sqrt(0.5), spread=1.0)
    reference.m0 = h.m0
    support, _ = tensors(WORLD.draw(3, 0, rng=np.random.default_rng(0)))
    q, told = h.adapt(support).local, reference.adapt(support).local
    # Adam ends within its last steps, 1e-3; of SGLD's 800 iterates 800 eta A / 2 are independent
    tolerance = {"laplace": 0.01, "sgld": 5 / math.sqrt(80)}[curvature]
    assert np.allclose(q.mean, told.mean, atol=tolerance)
    assert np.allclose(q.variance, told.variance, rtol=tolerance)


def test_few_sgld_steps_are_ruled_by_the_clip():
    h = NIWMeta(nn.Linear(2, 1), curvature="sgld", inner=3, eta=1e-6, clip=1e3, spread=1.0)
    x = torch.randn(5, 2)
    q = h.adapt((x, x.sum(1, keepdim=True)), prior="training").local
    assert np.allclose(q.variance, 1 / (1e3 + 1 / q.F.detach() ** 2), rtol=1e-5)


def test_the_modes_prior_is_the_narrower_one():
    h = linear(d=2, covariance="full", n0=3.0)
    support = (torch.zeros(1, 2).double(), torch.zeros(1, 1).double())
    at = [
        h.adapt(support, prior=p).local.along(torch.eye(2).double()) for p in ("mode", "training")
    ]
    # n0 / (n0 + d + 2)
    assert np.allclose(at[0] / at[1], 3 / 7)


def test_students_prior_lets_an_outlier_through():
    h = linear(d=1, n0=1.5)
    x = torch.ones(50, 1).double()
    far = [float(h.adapt((x, 1000 * x), prior=p).local.mean[0]) for p in ("mode", "student")]
    assert 1000 - far[1] < 0.02 * (1000 - far[0])


def test_a_product_with_huge_n0_has_one_prior():
    h = linear(n0=1e9)
    x = torch.randn(3, 3).double()
    priors = ("mode", "training", "student")
    mode, training, student = (h.adapt((x, x[:, :1]), prior=p).local.mean for p in priors)
    assert np.allclose(mode, training, rtol=1e-6)
    assert np.allclose(student, training, rtol=1e-6)


def test_prototypes_leave_each_image_out_of_its_own():
    h, y = torch.randn(6, 2).double(), torch.tensor([0, 1, 2, 0, 1, 2])
    found = prototype_logits(h, y, None, 3)
    for i in range(6):
        rest = torch.arange(6) != i
        told = prototype_logits(h[rest], y[rest], h[i : i + 1], 3)[0]
        assert np.allclose(found[i], told)


def test_whitened_rows_are_the_curvature_and_slope_of_the_log_loss():
    from fewtheory.learning.niw.local._torch import whitened

    model = nn.Linear(4, 3).double()
    h = NIWMeta(model, likelihood="categorical")
    x, y = torch.randn(5, 4).double(), torch.tensor([0, 1, 2, 1, 0])

    def loss(theta):
        return -h.log_prob(h.forward(theta, x), y).sum()

    theta = h.m0.detach()
    K, u = whitened("categorical", h.log_noise, h.forward(theta, x), y, jacrev(h.forward)(theta, x))
    assert np.allclose(u @ K, torch.func.grad(loss)(theta), atol=1e-12)
    # the network is linear: Gauss-Newton is the Hessian
    assert np.allclose(K.T @ K, torch.func.hessian(loss)(theta), atol=1e-12)


def test_maml_with_no_steps_is_the_start_and_with_many_on_a_line_least_squares():
    x = torch.randn(20, 2).double()
    y = x @ torch.tensor([[1.0], [2.0]]).double()
    still = MAML(nn.Linear(2, 1, bias=False).double(), steps=0).adapt((x, y))
    assert np.array_equal(still.theta.detach(), still.learner.m0.detach())
    many = MAML(nn.Linear(2, 1, bias=False).double(), steps=500, alpha=0.2).adapt((x, y))
    assert np.allclose(many.theta.detach(), [1.0, 2.0], atol=1e-6)


def test_first_order_maml_is_another_gradient():
    model, x = (
        nn.Sequential(nn.Linear(1, 4), nn.Tanh(), nn.Linear(4, 1)).double(),
        torch.randn(5, 1),
    )
    data = (x.double(), (x.double() * 2))
    grads = []
    for first_order in (False, True):
        learner = MAML(model, steps=3, alpha=0.2, first_order=first_order)
        (g,) = torch.autograd.grad(learner.loss(data, data), learner.m0)
        grads.append(g)

    def after(theta):
        learner.m0 = theta
        return learner.loss(data, data)

    learner = MAML(model, steps=3, alpha=0.2)
    m0, e = learner.m0.detach(), torch.zeros_like(learner.m0).detach()
    e[0] = 1e-5
    slope = (after(m0 + e) - after(m0 - e)) / 2e-5
    assert float(grads[0][0]) == pytest.approx(float(slope), rel=1e-6, abs=1e-7)
    assert not np.allclose(grads[0], grads[1], rtol=1e-3)


NET = {
    "sine": lambda: nn.Sequential(
        nn.Linear(1, 20), nn.Tanh(), nn.Linear(20, 20), nn.Tanh(), nn.Linear(20, 1)
    ),
    "digits": lambda: nn.Sequential(nn.Linear(64, 16), nn.Tanh(), nn.Linear(16, 8)),
}  # fmt: skip


@pytest.mark.parametrize("families", [("sine",), ("sine", "line")])
def test_on_functions_the_hierarchys_log_loss_is_below_mamls(families):
    """After 120 batches of visits, told the noise. Not after 50: the hierarchy is then sure of
    a law that it has not learned yet, and MAML, which learns its noise, has the lower loss."""
    visits = 120
    world = FunctionEpisodes(families)
    h = NIWMeta(NET["sine"](), covariance="low_rank", noise=0.3, rate=2e-2)
    h.fit(batches(world, 4, 10, 10, torch.float32), visits)
    rival = MAML(NET["sine"](), noise=1.0, steps=5, alpha=0.02, learn_alpha=True, learn_noise=True,
                 rate=1e-2)  # fmt: skip
    rival.fit(batches(world, 4, 10, 10, torch.float32), visits)
    rng, gaps, above = np.random.default_rng(9), [], []
    for _ in range(30):
        episode = world.draw(10, 10, rng=rng)
        support, query = tensors(episode, torch.float32)
        mine = -float(h.adapt(support).log_prob(*query, samples=0).mean())
        gaps.append(-float(rival.adapt(support).log_prob(*query).mean()) - mine)
        above.append(mine + world.log_predictive(*episode.support, *episode.query).mean())
    assert np.mean(gaps) > 2 * np.std(gaps) / math.sqrt(30)
    assert np.mean(above) > 0  # nothing is below exact Bayes


def test_on_digits_the_hierarchys_log_loss_is_below_its_own_protonets():
    train, novel = FewShotDigits(3), FewShotDigits(3, "novel")
    rival = ProtoNet(NET["digits"](), ways=3, rate=5e-3)
    rival.fit(batches(train, 4, 5, 5, torch.float32), 100)
    model = NET["digits"]()
    nn.utils.vector_to_parameters(rival.m0.detach(), model.parameters())
    h = NIWMeta(model, likelihood="categorical", head="prototypes", ways=3, covariance="low_rank",
                spread=2.0)  # fmt: skip
    rng, gaps = np.random.default_rng(9), []
    for _ in range(20):
        support, query = tensors(novel.draw(5, 8, rng=rng), torch.float32)
        mine = h.adapt(support).log_prob(*query, samples=16)
        gaps.append(float((mine - rival.adapt(support).log_prob(*query)).mean()))
    assert np.mean(gaps) > 2 * np.std(gaps) / math.sqrt(20)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: NIWMeta("net"), "NIWMeta: model must be a torch.nn.Module"),
        (lambda: linear(covariance="dense"), "covariance must be one of"),
        (lambda: linear(curvature="hessian"), "curvature must be one of"),
        (lambda: linear(curvature="sgld", covariance="full"), "covariance must be 'diag'"),
        (lambda: linear(curvature="sgld"), "inner must be at least 2"),
        (lambda: linear(likelihood="poisson"), "likelihood must be one of"),
        (lambda: linear(covariance="full", n0=2.0), "n0 must be above d - 1 = 2"),
        (lambda: linear(n0=0.0), "n0 must be above d - 1 = 0"),
        (lambda: linear(clip=0.0), "clip must be positive"),
        (lambda: linear(samples=0), "samples must be"),
        (lambda: linear(head="prototypes"), "likelihood must be 'categorical'"),
        (lambda: NIWMeta(nn.Linear(2, 1), spread={"weight": 1.0}), "spread must be for"),
        (lambda: NIWMeta(nn.Linear(2, 1), noise=0.0), "noise must be"),
        (lambda: linear(n0=1.0).adapt(DATA, prior="student"), "n0 must be above d = 1 for a pred"),
        (lambda: linear().adapt(DATA, prior="flat"), "prior must be one of"),
        (lambda: linear().step(DATA, (DATA[0], DATA[1][:1])), "query must be x and y of as many"),
        (lambda: linear().step(DATA, (DATA[0], DATA[1] * math.nan)), "query must be finite"),
        (
            lambda: NIWMeta(nn.Linear(3, 2), likelihood="categorical").step(DATA, DATA),
            "integer cla",
        ),
        (lambda: MAML(nn.Linear(3, 1), steps=-1), "MAML: steps must be"),
        (lambda: MAML(nn.Linear(3, 1), alpha=0.0), "MAML: alpha must be"),
        (lambda: MAML(nn.Linear(3, 1)).fit(lambda: None, 0), "MAML.fit: steps must be"),
        (lambda: ProtoNet(nn.Linear(3, 1), ways=0), "ProtoNet: ways must be"),
        (lambda: ProtoNet(nn.Linear(3, 1), ways=3).adapt((DATA[0], CLASSES)), "each class 0 to 2"),
    ],
)
def test_bad_arguments_are_named(own_checks, call, message):
    with pytest.raises((ValueError, TypeError), match=message):
        call()


DATA = (torch.ones(2, 3).double(), torch.ones(2, 1).double())
CLASSES = torch.tensor([0, 1])
