"""Training losses: one file each, mean over a batch, in nats where they are likelihoods."""

from workers.science.losses.cross_entropy import CrossEntropy

BUILDERS = {"cross_entropy": CrossEntropy}
