"""A scalar to differentiate where only a gradient is known.

Distribution matching gives the gradient g of a loss in a sample, not the loss. Half the squared
distance of x to the constant x - g has that gradient; its value, half the square of g, is none of
the loss's and no measure of progress. Sheet `dmd-base`, "DMD2 repository".
"""

from __future__ import annotations

import torch

from ...errors import fail, one_of

REDUCTIONS = ("elements", "samples")


def as_loss(x: torch.Tensor, gradient: torch.Tensor, *, over: str = "samples") -> torch.Tensor:
    """A scalar whose gradient in x (n, *event) is `gradient`, divided by n ("samples").

    "samples": the mean over samples of a sum over elements, which makes it the gradient of a mean
    loss; "elements": the mean over all, as mse_loss has it in DMD2's repository, smaller by the
    number of elements of a sample. The value is half the gradient's square, reduced likewise. The
    gradient is a constant, and x - (x - g) is not formed: it loses digits where x is large. Raises
    ValueError by name.

    >>> x = torch.tensor([[1.0, 2.0]], requires_grad=True)
    >>> as_loss(x, torch.tensor([[3.0, 4.0]])).backward(); x.grad.tolist()
    [[3.0, 4.0]]
    """
    one_of("as_loss", "over", over, REDUCTIONS)
    if x.shape != gradient.shape:
        raise fail("as_loss", "gradient", f"of the shape of x, {tuple(x.shape)}", gradient.shape)
    g = gradient.detach()
    half_square = g * (x - x.detach()) + 0.5 * g * g
    return half_square.mean() if over == "elements" else half_square.sum() / x.shape[0]
