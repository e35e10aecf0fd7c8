"""What a call must keep to: the only place that calls chex and checkify.

Shapes and dtypes are asserted by chex while tracing. Values are stated with `checkify.debug_check`: compiled code
carries no trace of them until the outermost step is wrapped in `chex.chexify` or `checkify.checkify`.
"""

from jaxloss._contracts.options import Options as Contract

__all__ = ["Contract"]
