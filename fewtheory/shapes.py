"""Shape types of annotations: jaxtyping's, where shapes are checked; else names that cost nothing.

jaxtyping takes 0.1 s to import, a third of the time to the first plan, and annotations are never
evaluated unless its import hook is installed (the tests do that before the package is imported).
"""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING or "jaxtyping" in sys.modules:
    from jaxtyping import Float, Int
else:

    class Float:
        """Float[Array, "n d"]: an array of floating dtype and this shape."""

        def __class_getitem__(cls, item: Any) -> Any:
            return Any

    class Int(Float):
        """Int[Array, "n d"]: an array of integer dtype and this shape."""


__all__ = ["Float", "Int"]
