"""Networks: one file each, stateless, in plain torch operations that vmap."""

from workers.science.models.mlp import MLP

BUILDERS = {"mlp": MLP}
