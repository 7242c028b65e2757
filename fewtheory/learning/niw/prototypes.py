"""Prototypes: a class is the mean of its examples, and the nearest mean wins.

softmax(-|x - c|^2) is a linear head, w_c = 2 c and b_c = -|c|^2, since |x|^2 is common to all
classes; ProtoMAML starts its inner loop there. Sheet `niwmeta`, M9 and C10.
"""

from __future__ import annotations

from typing import Any

from ...arrays import Array, namespace
from ...errors import fail, integer
from .. import _forms as forms


def prototypes(x: Array, labels: Any, ways: int) -> Array:
    """The mean of each class's examples, (ways, d). x (n, d); labels (n,) integers below ways.

    Raises ValueError or TypeError by name, also where a class has no example.

    >>> import numpy as np
    >>> prototypes(np.array([[0.0], [2.0], [5.0]]), np.array([0, 0, 1]), 2).tolist()
    [[1.0], [5.0]]
    """
    x = forms.floating("prototypes", "x", x)
    ways = integer("prototypes", "ways", ways, 1)
    xp = namespace(x)
    if len(x.shape) != 2:
        raise fail("prototypes", "x", "of shape (n, d)", tuple(x.shape))
    kind = getattr(labels, "dtype", None)
    if kind is None or not namespace(labels).isdtype(kind, "integral"):
        raise TypeError(f"prototypes: labels must be an array of integers, got {labels!r}")
    if tuple(labels.shape) != (x.shape[0],) or not bool(xp.all((labels >= 0) & (labels < ways))):
        raise fail("prototypes", "labels", f"of shape ({x.shape[0]},) in [0, {ways - 1}]", labels)
    member = xp.stack([xp.astype(labels == c, x.dtype) for c in range(ways)])  # (ways, n)
    count = xp.sum(member, axis=1)
    if not bool(xp.all(count > 0)):
        raise fail("prototypes", "labels", "such that each class has an example", labels)
    return (member @ x) / count[:, None]


def prototype_head(c: Array) -> tuple[Array, Array]:
    """(w, b) = (2 c, -|c|^2) of prototypes (ways, d): logits w.x + b are -|x - c|^2 + |x|^2.

    >>> import numpy as np
    >>> w, b = prototype_head(np.array([[1.0, 2.0]]))
    >>> w.tolist(), b.tolist()
    ([[2.0, 4.0]], [-5.0])
    """
    c = forms.floating("prototype_head", "c", c)
    if len(c.shape) != 2:
        raise fail("prototype_head", "c", "of shape (ways, d)", tuple(c.shape))
    return 2 * c, -namespace(c).sum(c * c, axis=-1)
