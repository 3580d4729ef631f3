"""A small package of somebody else's: parts that are sound, and parts that are not. Imports nothing of ours."""

import random

import numpy as np
import torch
from torch import nn


def net(width: int = 8, inputs: int = 12, classes: int = 5):
    return nn.Sequential(nn.Flatten(), nn.Linear(inputs, width), nn.Tanh(), nn.Linear(width, classes))


def linear(inputs: int = 12, classes: int = 5):
    return nn.Linear(inputs, classes)


class Convolving(nn.Module):
    """Convolves without a layer of that kind."""

    def __init__(self):
        super().__init__()
        self.kernel, self.linear = nn.Parameter(torch.randn(2, 1, 3)), nn.Linear(2 * 10, 5)

    def forward(self, inputs):
        return self.linear(nn.functional.conv1d(inputs[:, None], self.kernel).flatten(1))


def norm_net(width: int = 8, inputs: int = 12, classes: int = 5):
    return nn.Sequential(nn.Linear(inputs, width), nn.BatchNorm1d(width), nn.Tanh(), nn.Linear(width, classes))


def drop_net(width: int = 8, p: float = 0.5, inputs: int = 12, classes: int = 5):
    return nn.Sequential(nn.Linear(inputs, width), nn.Tanh(), nn.Dropout(p), nn.Linear(width, classes))


class Branching(nn.Module):
    """Takes another path where the mean of its input is negative."""

    def __init__(self):
        super().__init__()
        self.one, self.other = nn.Linear(12, 5), nn.Linear(12, 5)

    def forward(self, inputs):
        return self.one(inputs) if float(inputs.mean()) > 0 else self.other(inputs)


class Scaled(nn.Module):
    """A buffer that is drawn with the weights."""

    def __init__(self):
        super().__init__()
        self.register_buffer("scale", torch.rand(12))
        self.linear = nn.Linear(12, 5)

    def forward(self, inputs):
        return self.linear(inputs * self.scale)


class NumpyNoise(nn.Module):
    """Draws from numpy, which vmap does not see."""

    def __init__(self):
        super().__init__()
        self.linear = nn.Linear(12, 5)

    def forward(self, inputs):
        return self.linear(inputs) * (1.0 + 0.1 * np.random.rand() + 0.1 * random.random())


class Moded(nn.Module):
    """Gives something else in evaluation mode."""

    def __init__(self):
        super().__init__()
        self.linear = nn.Linear(12, 5)

    def forward(self, inputs):
        return self.linear(inputs) * (1.0 if self.training else 0.5)


class Tied(nn.Module):
    """One weight under two names, and a frozen one."""

    def __init__(self):
        super().__init__()
        self.first, self.second, self.last = nn.Linear(12, 12), nn.Linear(12, 12), nn.Linear(12, 5)
        self.second.weight = self.first.weight
        self.last.bias.requires_grad_(False).zero_()

    def forward(self, inputs):
        return self.last(self.second(self.first(inputs).tanh()))


class Counting(nn.Module):
    """Remembers something that no checkpoint holds."""

    def __init__(self):
        super().__init__()
        self.calls, self.linear = 0, nn.Linear(12, 5)

    def forward(self, inputs):
        self.calls += 1
        return self.linear(inputs) / self.calls


class _Linear(nn.Module):
    def __init__(self):
        super().__init__()
        self.linear, self.remembered = nn.Linear(12, 5), torch.zeros(5)


class Remembering(_Linear):
    """Remembers a tensor that is no buffer."""

    def forward(self, inputs):
        outputs = self.linear(inputs)
        self.remembered = 0.9 * self.remembered + 0.1 * outputs.detach().mean(0)
        return outputs - self.remembered


class Writing(_Linear):
    """Writes into what it is given, the validation set, say."""

    def forward(self, inputs):
        return self.linear(inputs.mul_(2.0) if self.training else inputs.sub_(1.0))


class Narrow(_Linear):
    """Has fewer classes in evaluation mode."""

    def forward(self, inputs):
        return self.linear(inputs)[:, : 5 if self.training else 4]


class Pair(_Linear):
    """Gives two things in evaluation mode."""

    def forward(self, inputs):
        return self.linear(inputs) if self.training else (self.linear(inputs), inputs)


class Fixed(nn.Module):
    """Fits batches of up to 16, which is what it was written for."""

    def __init__(self, inputs: int = 12, classes: int = 5):
        super().__init__()
        self.linear = nn.Linear(inputs, classes)

    def forward(self, inputs):
        outputs = self.linear(inputs)
        return outputs + torch.zeros(16, outputs.shape[1])[: len(inputs)]


class Shrinking(_Linear):
    """Forgets a class once it has been trained for so many steps."""

    def __init__(self, after: int = 5):
        super().__init__()
        self.register_buffer("calls", torch.zeros(()))
        self.after = after

    def forward(self, inputs):
        self.calls += self.training
        outputs = self.linear(inputs)
        return outputs[:, :4] if float(self.calls) > self.after else outputs


class Small(_Linear):
    """Fits small batches alone."""

    def forward(self, inputs):
        return self.linear(inputs)[:16]


class Speechless(nn.Linear):
    """Raises what cannot even be printed."""

    def __init__(self):
        super().__init__(12, 5)

    def forward(self, inputs):
        class Unprintable(Exception):
            def __str__(self):
                raise RuntimeError

        raise Unprintable


class _Once(torch.autograd.Function):
    @staticmethod
    def forward(ctx, inputs):
        ctx.save_for_backward(inputs)
        return inputs**3

    @staticmethod
    def backward(ctx, grads):
        (inputs,) = ctx.saved_tensors
        return grads * 3 * inputs.detach() ** 2  # a derivative of this one is wrong, and says nothing


class Wrong(nn.Module):
    """Its backward pass hides what it depends on."""

    def __init__(self):
        super().__init__()
        self.linear, self.last = nn.Linear(12, 5), nn.Linear(5, 5)

    def forward(self, inputs):
        return self.last(_Once.apply(self.linear(inputs)))


class _OnceOnly(torch.autograd.Function):
    @staticmethod
    def forward(ctx, inputs):
        ctx.save_for_backward(inputs)
        return inputs**3

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx, grads):
        (inputs,) = ctx.saved_tensors
        return grads * 3 * inputs**2


class Once(nn.Module):
    """Says that it has no second derivative."""

    def __init__(self, inputs: int = 12, classes: int = 5):
        super().__init__()
        self.linear = nn.Linear(inputs, classes)

    def forward(self, inputs):
        return _OnceOnly.apply(self.linear(inputs))


class Late(nn.Module):
    """Fails once it has been called often."""

    def __init__(self, after: int = 40):
        super().__init__()
        self.register_buffer("calls", torch.zeros(()))
        self.after, self.linear = after, nn.Linear(12, 5)

    def forward(self, inputs):
        self.calls += self.training
        if float(self.calls) > self.after:
            raise ValueError("too often")
        return self.linear(inputs)


BUILT = []


def growing(after: int, p: float = 0.0, buffer: bool = False):
    """Larger, or with a buffer, once it has been built so often."""
    BUILT.append(1)
    is_other = len(BUILT) > after
    module = nn.Sequential(nn.Linear(12, 9 if is_other and not buffer else 8), nn.Dropout(p), nn.LazyLinear(5))
    if is_other and buffer:
        module.register_buffer("extra", torch.zeros(1))
    return module


def raises():
    raise ValueError("no such thing")


def leaves():
    raise SystemExit(3)


def no_module():
    return 3


def wrong_shape():
    return nn.Linear(12, 4)


def wrong_dtype():
    class Half(nn.Module):
        def __init__(self):
            super().__init__()
            self.linear = nn.Linear(12, 5)

        def forward(self, inputs):
            return self.linear(inputs).to(torch.bfloat16)

    return Half()


def squared(output, target):
    return ((output - nn.functional.one_hot(target, output.shape[-1]).to(output.dtype)) ** 2).mean()


def regression(output, target):
    return ((output.squeeze(-1) - target) ** 2).mean()


def no_scalar(output, target):
    return output.sum(1)


def noisy(output, target):
    return squared(output, target) * (1.0 + torch.rand(()))


COUNTED = []


def counting(output, target):
    COUNTED.append(1)
    return squared(output, target) / len(COUNTED)


def writing(output, target):
    return squared(output, target.mul_(0))


def unmoved(output, target):
    return torch.ones((), requires_grad=True) * 2.0


def whole_numbers():
    part = np.arange(240).reshape(20, 12), np.arange(20) % 10
    return {"train": part, "validation": part}


def of_nothing():
    part = np.zeros((20, 0)), np.arange(20) % 10
    return {"train": part, "validation": part}


def account_numbers():
    x = torch.zeros(20, 12)
    return {"train": (x, torch.arange(20) * 10**9), "validation": (x, torch.arange(20))}


def beyond_float32():
    part = np.full((20, 12), 1e300), np.arange(20) % 5
    return {"train": part, "validation": part}


def quadratic_line(num: int = 60, classes: bool = False):
    x = torch.rand(num, 12)
    y = x.sum(1)
    part = x, (y > 6).long() if classes else y
    return {"train": part, "validation": (x[:20] + 0.01, part[1][:20])}


def other_each_time():
    x = np.random.default_rng().normal(size=(50, 12))
    return {"train": (x, x[:, 0] > 0), "validation": (x, x[:, 0] > 0)}


def no_pairs():
    return {"train": torch.zeros(3, 2)}


def smooth(step, warmup_steps, total_steps, power: float = 2.0):
    return min(1.0, (step + 1) / max(1, warmup_steps)) ** power


def over(step, warmup_steps, total_steps):
    return 1.5


def at_random(step, warmup_steps, total_steps):
    return random.random()


class Walk(torch.optim.Optimizer):
    """Signs of an average, with numbers of its own in the state."""

    def __init__(self, params, lr, beta: float = 0.9, warmup_steps: int = 0):
        super().__init__(params, {"lr": lr, "beta": beta, "warmup_steps": warmup_steps})

    @torch.no_grad()
    def step(self, closure=None):
        for group in self.param_groups:
            for p in group["params"]:
                state = self.state[p]
                state["count"] = state.get("count", 0) + 1
                average = state.setdefault("average", torch.zeros_like(p, dtype=torch.float64))
                average.mul_(group["beta"]).add_(p.grad, alpha=1 - group["beta"])
                p.add_(average.sign().to(p.dtype), alpha=-group["lr"] / state["count"] ** 0.5)


class Own(Walk):
    """Sets its own rate."""

    @torch.no_grad()
    def step(self, closure=None):
        super().step()
        for group in self.param_groups:
            group["lr"] *= 0.9


class Forgetful(Walk):
    """Keeps what it remembers where no checkpoint looks."""

    def __init__(self, params, lr):
        super().__init__(params, lr)
        self.made = 0

    @torch.no_grad()
    def step(self, closure=None):
        self.made += 1
        for group in self.param_groups:
            for p in group["params"]:
                p.add_(p.grad, alpha=-group["lr"] / self.made)


class Casting(Walk):
    """Makes its parameters something else."""

    def step(self, closure=None):
        for group in self.param_groups:
            for p in group["params"]:
                p.data = p.data.double()


class Stubborn(Walk):
    """Cannot be restored."""

    def load_state_dict(self, state_dict):
        raise ValueError("never")


PLUGINS = {
    "models": {
        one.__name__: one
        for one in (
            net, linear, norm_net, drop_net, Branching, Scaled, NumpyNoise, Moded, Tied, Counting, Wrong, Once, Late,
            growing, raises, leaves, no_module, wrong_shape, wrong_dtype, Remembering, Writing, Narrow, Pair, Small,
            Fixed, Speechless, Shrinking, Convolving,
        )
    },
    "losses": {one.__name__: one for one in (squared, regression, no_scalar, noisy, counting, writing, unmoved)},
    "datasets": {
        one.__name__: one
        for one in (
            quadratic_line, other_each_time, no_pairs, account_numbers, beyond_float32, whole_numbers, of_nothing,
        )
    },
    "schedules": {one.__name__: one for one in (smooth, over, at_random)},
    "optimizers": {
        "Walk": Walk, "Own": Own, "Forgetful": Forgetful, "NAdam": torch.optim.NAdam, "LBFGS": torch.optim.LBFGS,
        "SGD": torch.optim.SGD, "AdamW": torch.optim.AdamW, "Casting": Casting, "Stubborn": Stubborn,
    },
}  # fmt: skip
