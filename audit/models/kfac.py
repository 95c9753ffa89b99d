"""K-FAC: the natural gradient of linear layers, with the Fisher matrix as Kronecker products of small ones."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field

import torch
from torch import Tensor, nn

from audit.core import ModelError

DECAY = 0.95  # of the running means of the factors
EVERY = 10  # steps between two looks at the curvature, after the first few


@dataclass(slots=True, kw_only=True)
class Factors:
    """A = mean a aᵀ of a layer's inputs, with a 1 for the bias, and G = mean g gᵀ of what reaches its outputs."""

    a: Tensor
    g: Tensor
    inverse_a: Tensor
    inverse_g: Tensor


@dataclass(slots=True, kw_only=True)
class KFAC:
    """Preconditions the gradients of the linear layers that `watching` listens to.

    The Fisher matrix of a layer is taken as A ⊗ G over its weights and bias, G from the square root of the loss's own
    second derivative at the output: no labels are drawn, and for one linear layer and squared error the step of rate 1 is
    Newton's. damping λ is shared out as π √λ to A and √λ / π to G, π² the ratio of their mean eigenvalues. Other
    parameters keep their plain gradient. Sources: martens2015, martens2020.
    """

    damping: float
    factors: dict[nn.Linear, Factors] = field(default_factory=dict)
    seen: int = 0
    _inputs: dict[nn.Linear, list[Tensor]] = field(default_factory=dict)
    _outputs: dict[nn.Linear, list[Tensor]] = field(default_factory=dict)

    @contextmanager
    def watching(self, module: nn.Module) -> Iterator[None]:
        """Inside, what goes in and comes out of the module's linear layers is kept until `precondition`."""

        def keep(layer: nn.Module, arguments: tuple[Tensor, ...], out: Tensor) -> None:
            if out.requires_grad and isinstance(layer, nn.Linear) and layer.weight.requires_grad:
                self._inputs.setdefault(layer, []).append(arguments[0].detach())
                self._outputs.setdefault(layer, []).append(out)

        layers = [each for each in module.modules() if type(each) is nn.Linear]
        if not layers:
            raise ModelError("kfac: preconditions nn.Linear layers; the module has none")
        handles = [layer.register_forward_hook(keep) for layer in layers]
        try:
            yield
        finally:
            for handle in handles:
                handle.remove()

    def observe(self, loss: Callable[[Tensor, Tensor], Tensor], raw: Tensor, y: Tensor, shares: Tensor | None) -> None:
        """Update the factors from the last forward pass, whose outputs are raw (b, ...); before its backward pass."""
        self.seen += 1
        if self.seen > EVERY and self.seen % EVERY:
            return
        share = raw.new_ones(len(raw)) if shares is None else shares
        layers = list(self._outputs)
        roots = [self._signals(raw, root, layers) for root in output_roots(loss, raw, y)]
        for layer in layers:
            inputs = torch.cat([each.flatten(0, -2) for each in self._inputs[layer]])
            if layer.bias is not None:
                inputs = torch.cat([inputs, inputs.new_ones(len(inputs), 1)], dim=1)
            a = _mean_square(inputs, _repeated(share, len(inputs)), len(inputs))
            g = layer.weight.new_zeros(layer.out_features, layer.out_features)
            for signals in roots:
                g = g + _mean_square(signals[layer], _repeated(share, len(signals[layer])), len(raw))
            self._blend(layer, a, g)

    def _signals(self, raw: Tensor, root: Tensor, layers: Sequence[nn.Linear]) -> dict[nn.Linear, Tensor]:
        outputs = [out for layer in layers for out in self._outputs[layer]]
        found = iter(torch.autograd.grad(raw, outputs, root, retain_graph=True, allow_unused=True))
        return {
            layer: torch.cat([_or_nought(next(found), out).flatten(0, -2) for out in self._outputs[layer]])
            for layer in layers
        }

    def _blend(self, layer: nn.Linear, a: Tensor, g: Tensor) -> None:
        old = self.factors.get(layer)
        if old is not None:
            a, g = (DECAY * before + (1 - DECAY) * now for before, now in ((old.a, a), (old.g, g)))
        pi, root = 1.0, self.damping**0.5
        if a.trace() > 0 and g.trace() > 0:
            pi = float((a.diagonal().mean() / g.diagonal().mean()).sqrt())
        self.factors[layer] = Factors(a=a, g=g, inverse_a=_inverse(a, pi * root), inverse_g=_inverse(g, root / pi))

    def precondition(self) -> None:
        """Replace each layer's gradient (out, in + 1) of weight and bias by G⁻¹ gradient A⁻¹, both damped; after backward."""
        for layer, factors in self.factors.items():
            if layer.weight.grad is None:
                continue
            gradient = layer.weight.grad
            if layer.bias is not None and layer.bias.grad is not None:
                gradient = torch.cat([gradient, layer.bias.grad[:, None]], dim=1)
            natural = factors.inverse_g @ gradient @ factors.inverse_a
            layer.weight.grad = natural[:, : layer.in_features].contiguous()
            if layer.bias is not None:
                layer.bias.grad = natural[:, -1].contiguous()
        self._inputs.clear()
        self._outputs.clear()


def output_roots(loss: Callable[[Tensor, Tensor], Tensor], raw: Tensor, y: Tensor) -> list[Tensor]:
    """Tensors like raw (b,) or (b, k), k of them, whose outer products sum to each row's Hessian of the loss without its negative part."""
    with torch.enable_grad():
        free = raw.detach().requires_grad_()
        (first,) = torch.autograd.grad(loss(free, y).sum(), free, create_graph=True)
        if not first.requires_grad:  # a loss that is linear in the output has no curvature
            return []
        flat = first.reshape(len(raw), -1)
        columns = [torch.autograd.grad(each.sum(), free, retain_graph=True)[0].reshape(len(raw), -1) for each in flat.T]
    hessian = torch.stack(columns, dim=2)
    if hessian.shape[1] == 1:
        roots = hessian.clamp_min(0).sqrt()
    else:
        values, vectors = torch.linalg.eigh(hessian)
        roots = vectors * values.clamp_min(0).sqrt()[:, None]
    return [root.reshape(raw.shape) for root in roots.unbind(dim=2)]


def _mean_square(rows: Tensor, share: Tensor, count: int) -> Tensor:
    return (rows * share[:, None]).T @ rows / count


def _repeated(share: Tensor, count: int) -> Tensor:
    """The shares of rows for `count` positions: rows of several positions, in layers that are called several times."""
    times, rest = divmod(count, len(share))
    if rest or not times:
        raise ModelError(f"kfac: every nn.Linear must see every row; one saw {count} of {len(share)}")
    return share if times == 1 else share.repeat_interleave(times)


def _or_nought(signal: Tensor | None, out: Tensor) -> Tensor:
    return torch.zeros_like(out) if signal is None else signal


def _inverse(factor: Tensor, damping: float) -> Tensor:
    eye = torch.eye(len(factor), dtype=factor.dtype, device=factor.device)
    inverse: Tensor
    inverse, wrong = torch.linalg.inv_ex(factor + damping * eye)
    if int(wrong):
        raise ModelError(f"kfac: a factor is singular with damping {damping:.1e} on its diagonal; more may help")
    return inverse
