"""What the annotations of the public functions are made of."""

from collections.abc import Hashable, Sequence
from typing import Any, Protocol, TypeAlias, runtime_checkable

import jax


@runtime_checkable
class SupportsJaxArray(Protocol):
    """Anything that turns itself into a JAX array, such as `flax.nnx.Param`."""

    def __jax_array__(self) -> Any:
        """The array."""
        ...


ArrayLike: TypeAlias = jax.typing.ArrayLike | SupportsJaxArray

# One axis of a mesh, or several.
AxisName: TypeAlias = Hashable | Sequence[Hashable]
