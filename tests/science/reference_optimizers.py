"""Every update rule once more, one tensor at a time: torch.optim where it has the rule, else its formula.

`step(grads, rate)` moves `params` (a list of tensors) in place; `evaluation_point()` is where to evaluate.
"""

import math

import torch


class Reference:
    """What is common: moments by tensor, and decay that is apart from the rate."""

    def __init__(self, spec, params):
        self.spec, self.params, self.t = spec, params, 0
        self.m = [torch.zeros_like(p) for p in params]
        self.v = [torch.zeros_like(p) for p in params]

    def decay(self, p):
        return self.spec.weight_decay if self.spec.decay_on == "all" or p.dim() >= 2 else 0.0

    def coupled(self, p):
        return self.decay(p) if self.spec.couple_to_lr else 0.0

    def step(self, grads, rate):
        self.t += 1
        apart = [0.0 if self.spec.couple_to_lr else self.decay(p) * p for p in self.params]
        self.move(grads, rate)
        for p, shrink in zip(self.params, apart, strict=True):
            p -= shrink

    def move(self, grads, rate):
        for i, (p, g) in enumerate(zip(self.params, grads, strict=True)):
            self.move_one(i, p, g, rate)

    def adam_direction(self, i, g):
        (b1, b2), eps = self.spec.betas, self.spec.eps
        self.m[i] = b1 * self.m[i] + (1 - b1) * g
        self.v[i] = b2 * self.v[i] + (1 - b2) * g**2
        return self.m[i] / (1 - b1**self.t) / ((self.v[i] / (1 - b2**self.t)).sqrt() + eps)

    def evaluation_point(self):
        return self.params


class Torch(Reference):
    def __init__(self, spec, params):
        super().__init__(spec, params)
        groups = [{"params": [p], "weight_decay": self.coupled(p)} for p in params]
        if spec.kind == "sgd":
            extra = {"momentum": spec.momentum, "nesterov": spec.nesterov}
        else:
            extra = {"betas": spec.betas, "eps": spec.eps}
        kinds = {"sgd": "SGD", "adam": "Adam", "adamw": "AdamW", "radam": "RAdam"}
        self.optim = getattr(torch.optim, kinds[spec.kind])(groups, 1.0, foreach=False, **extra)

    def move(self, grads, rate):
        for p, g, group in zip(self.params, grads, self.optim.param_groups, strict=True):
            p.grad, group["lr"] = g.clone(), rate
        self.optim.step()


class GIAdam(Reference):
    def move_one(self, i, p, g, rate):
        g = g + self.coupled(p) * p
        if self.t == 1:
            self.v[i] = g**2
        p -= rate * self.adam_direction(i, g)


class Lion(Reference):
    def move_one(self, i, p, g, rate):
        b1, b2 = self.spec.betas
        direction = torch.sign(b1 * self.m[i] + (1 - b1) * g)
        self.m[i] = b2 * self.m[i] + (1 - b2) * g
        p -= rate * (direction + self.coupled(p) * p)


def is_adapted(spec, p):
    return spec.adapt_on == "all" or p.dim() >= 2


class LARS(Reference):
    def move_one(self, i, p, g, rate):
        decay, ratio = self.coupled(p), 1.0
        if is_adapted(self.spec, p) and p.norm() > 0 and g.norm() > 0:
            ratio = self.spec.trust_coefficient * p.norm() / (g.norm() + decay * p.norm())
        self.m[i] = self.spec.momentum * self.m[i] + ratio * (g + decay * p)
        p -= rate * self.m[i]


class LAMB(Reference):
    def move_one(self, i, p, g, rate):
        r, ratio = self.adam_direction(i, g) + self.coupled(p) * p, 1.0
        if is_adapted(self.spec, p) and p.norm() > 0 and r.norm() > 0:
            ratio = p.norm() / r.norm()
        p -= rate * ratio * r


class AdamW2(Reference):
    def move_one(self, i, p, g, rate):
        direction, alpha = self.adam_direction(i, g), rate
        if p.dim() >= 2:
            sigma = max(torch.linalg.matrix_norm(p.flatten(1), 2), self.spec.sigma_floor)
            alpha = min(rate, self.spec.tau * sigma / torch.linalg.matrix_norm(direction.flatten(1), 2))
        p -= alpha * (direction + self.coupled(p) * p)


class ScheduleFreeAdamW(Reference):
    """The authors' form, in z and x; params are y."""

    def __init__(self, spec, params):
        super().__init__(spec, params)
        self.z, self.x = [p.clone() for p in params], [p.clone() for p in params]
        self.largest, self.total = 0.0, 0.0

    def step(self, grads, rate):
        self.t += 1
        (b1, b2), eps = self.spec.betas, self.spec.eps
        self.largest = max(self.largest, rate)
        weight = self.t**self.spec.r * self.largest**self.spec.weight_lr_power
        self.total += weight
        c = weight / self.total if self.total else 0.0
        for i, (y, g) in enumerate(zip(self.params, grads, strict=True)):
            self.v[i] = b2 * self.v[i] + (1 - b2) * g**2
            direction = g / ((self.v[i] / (1 - b2**self.t)).sqrt() + eps)
            shrink = (rate if self.spec.couple_to_lr else 1.0) * self.decay(y)
            self.z[i] = self.z[i] - rate * direction - shrink * y
            self.x[i] = (1 - c) * self.x[i] + c * self.z[i]
            y.copy_((1 - b1) * self.z[i] + b1 * self.x[i])

    def evaluation_point(self):
        return self.x


class PaperRAdam(Reference):
    """arXiv 1908.03265, algorithm 2, where torch's threshold is not asked for."""

    def move_one(self, i, p, g, rate):
        (b1, b2), t = self.spec.betas, self.t
        g = g + self.coupled(p) * p
        self.m[i] = b1 * self.m[i] + (1 - b1) * g
        self.v[i] = b2 * self.v[i] + (1 - b2) * g**2
        longest = 2 / (1 - b2) - 1
        rho = longest - 2 * t * b2**t / (1 - b2**t)
        step = self.m[i] / (1 - b1**t)
        if rho > self.spec.rectify_above:
            r = math.sqrt((rho - 4) * (rho - 2) * longest / ((longest - 4) * (longest - 2) * rho))
            step = step * r * math.sqrt(1 - b2**t) / (self.v[i].sqrt() + self.spec.eps)
        p -= rate * step


KINDS = {
    **dict.fromkeys(("sgd", "adam", "adamw", "radam"), Torch),
    "gi_adam": GIAdam,
    "lion": Lion,
    "adamw_w2": AdamW2,
    "lars": LARS,
    "lamb": LAMB,
    "schedule_free_adamw": ScheduleFreeAdamW,
}


def reference(spec, params):
    """The reference for a spec, which will move `params`."""
    if spec.kind == "radam" and spec.rectify_above != 5:
        return PaperRAdam(spec, params)
    return KINDS[spec.kind](spec, params)
