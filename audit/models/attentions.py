"""Attention weights, read out of a torch module while it runs, and their gradients."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor, nn
from torch.autograd.graph import GradientEdge
from torch.nn import functional as F
from torch.overrides import TorchFunctionMode

from audit.core import Floats, MissingOffer, ModelError

Kind = Literal["self", "causal", "cross"]
Spot = Tensor | GradientEdge
_SOFTMAX = (F.softmax, torch.softmax, Tensor.softmax)
_PRODUCTS = (torch.matmul, Tensor.matmul, Tensor.__matmul__, torch.bmm, Tensor.bmm, torch.einsum)
_NAMED = re.compile(r"attention|attn", re.IGNORECASE)
_CROSS = re.compile(r"cross_?att|encoder_?att|enc_?dec_?att", re.IGNORECASE)


@dataclass(frozen=True, slots=True, kw_only=True)
class Attentions:
    """Attention weights of every layer in the order of calls; a layer that is called twice is there twice.

    layers: arrays (n, heads, queries, keys), as the module used them. kinds: whether the queries and keys are the same
    tokens ("self"; "causal" where no token sees a later one) or others ("cross"). names: the module that attended.
    gradients: of the explained output with respect to the weights, as layers; None where they were not asked for.
    """

    layers: tuple[Floats, ...]
    kinds: tuple[Kind, ...]
    names: tuple[str, ...]
    gradients: tuple[Floats, ...] | None = None


def attends(module: nn.Module) -> bool:
    """Whether a module has a part that is attention by its class or its name."""
    return any(
        isinstance(each, nn.MultiheadAttention) or _NAMED.search(type(each).__name__) or _NAMED.search(name)
        for name, each in module.named_modules()
    )


def watched(module: nn.Module, rows: int, run: Callable[[], Tensor], *, gradients: bool = False) -> Attentions:
    """The attention weights that a module uses during run(), whose result (n,) is what gradients are taken of.

    Seen are nn.MultiheadAttention (its fast path is left), scaled_dot_product_attention, and every softmax over the
    last axis of three or more that a matrix product then uses: so modules written by hand and those of Hugging Face
    are read without knowing them. The module is left as it was. Raises MissingOffer where nothing attends, ModelError
    where weights do not belong to one row of the inputs each (attention over windows, say).
    """
    reader = _Reader(rows)
    with torch.set_grad_enabled(gradients), _paths(module, reader.path), reader:
        output = run()
    if not reader.calls:
        raise MissingOffer(f"{type(module).__name__}: no attention weights were seen while the module ran")
    layers = tuple(np.nan_to_num(_array(call.weights)) for call in reader.calls)
    slopes = _gradients(output, reader.calls) if gradients else None
    return Attentions(
        layers=layers,
        kinds=tuple(_kind(call, layer) for call, layer in zip(reader.calls, layers, strict=True)),
        names=_counted([call.name for call in reader.calls]),
        gradients=slopes,
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class _Call:
    """One use of attention: weights (n, heads, queries, keys), and where their gradient arrives.

    apart: whether queries and keys came from different tensors, None where that was not seen.
    """

    weights: Tensor
    spot: Spot
    name: str
    apart: bool | None


@dataclass(slots=True)
class _Candidate:
    """A softmax that may turn out to be attention; kept alive so that its identity is not given to another tensor."""

    tensor: Tensor
    used: list[bool] = field(default_factory=list)


class _Reader(TorchFunctionMode):
    """Sees every call of torch in this thread; the mere presence of a mode turns the fused fast paths off."""

    def __init__(self, rows: int) -> None:
        super().__init__()
        self.rows, self.calls, self.path = rows, list[_Call](), list[str]()
        self.candidates: dict[int, _Candidate] = {}

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        if func is F.multi_head_attention_forward:
            return self._multihead(func, *args, **kwargs)
        if func is F.scaled_dot_product_attention:
            return self._scaled(*args, **kwargs)
        if func in _SOFTMAX:
            return self._softmax(func, args, kwargs)
        if func in _PRODUCTS:
            self._product(args)
            return func(*args, **kwargs)
        return self._passed_on(args, func(*args, **kwargs))

    def _record(self, weights: Tensor, spot: Spot, *, apart: bool | None = None) -> None:
        shape = tuple(weights.shape)
        if weights.ndim == 3 and len(weights) % self.rows == 0:
            weights = weights.reshape(self.rows, -1, *shape[1:])
        if weights.ndim != 4 or len(weights) != self.rows:
            raise ModelError(
                f"attention weights of shape {shape} for {self.rows} rows; read are (rows, heads, queries, keys) and "
                "(rows heads, queries, keys): is the attention over windows?"
            )
        name = self.path[-1] if self.path else ""
        self.calls.append(_Call(weights=weights.detach(), spot=spot, name=name, apart=apart))

    def _multihead(self, func: Any, query: Tensor, key: Tensor, value: Tensor, *rest: Any, **options: Any) -> Any:
        apart = query is not key and (query.shape != key.shape or not torch.equal(query, key))
        wanted, averaged = options.get("need_weights", True), options.get("average_attn_weights", True)
        if torch.is_grad_enabled() and not query.requires_grad:
            query = query.detach().requires_grad_()
        asked = {**options, "need_weights": True, "average_attn_weights": False}
        output, weights = func(query, key, value, *rest, **asked)
        self._record(
            weights if weights.ndim == 4 else weights[None],
            _behind(weights) if weights.requires_grad else weights,
            apart=apart,
        )
        if not wanted:
            return output, None
        return output, weights.mean(dim=-3) if averaged else weights

    def _scaled(
        self,
        query: Tensor,
        key: Tensor,
        value: Tensor,
        attn_mask: Tensor | None = None,
        dropout_p: float = 0.0,  # read in evaluation mode: nothing is dropped
        is_causal: bool = False,
        scale: float | None = None,
        enable_gqa: bool = False,
    ) -> Tensor:
        """The same product with its weights in the open; a query that may see nothing gets zeros, as in torch."""
        if enable_gqa:
            key, value = (each.repeat_interleave(query.size(-3) // each.size(-3), -3) for each in (key, value))
        scores = query @ key.transpose(-2, -1) * (query.size(-1) ** -0.5 if scale is None else scale)
        if is_causal:
            scores = scores.masked_fill(~torch.ones_like(scores, dtype=torch.bool).tril(), float("-inf"))
        if attn_mask is not None:
            bias = attn_mask.dtype != torch.bool
            scores = scores + attn_mask if bias else scores.masked_fill(~attn_mask, float("-inf"))
        blind = (scores == float("-inf")).all(dim=-1, keepdim=True)
        weights = _open(torch.softmax(scores.masked_fill(blind, 0.0), dim=-1).masked_fill(blind, 0.0))
        self._record(weights, weights)
        return weights @ value

    def _softmax(self, func: Any, args: Any, kwargs: Any) -> Tensor:
        result: Tensor = func(*args, **kwargs)
        axis = kwargs.get("dim", args[1] if len(args) > 1 else None)
        if result.ndim >= 3 and axis in (-1, result.ndim - 1):
            result = _open(result)
            self.candidates[id(result)] = _Candidate(result)
        return result

    def _passed_on(self, args: Any, result: Any) -> Any:
        """Dropout, masks and changes of shape between the softmax and the product leave it a candidate."""
        found = self.candidates.get(id(args[0])) if args else None
        if found is None or not isinstance(result, Tensor) or result is found.tensor:
            return result
        if result.numel() == found.tensor.numel() and result.shape[-2:] == found.tensor.shape[-2:]:
            self.candidates[id(result)] = _Candidate(result, found.used)
        return result

    def _product(self, args: Any) -> None:
        equation = bool(args) and isinstance(args[0], str)
        for each in args[1:] if equation else args[:1]:
            found = self.candidates.get(id(each))
            if found and not found.used:
                found.used.append(True)
                self._record(each, each)


def _open(weights: Tensor) -> Tensor:
    """Weights that a gradient reaches, also in a module whose parameters are frozen."""
    return weights.detach().requires_grad_() if torch.is_grad_enabled() and not weights.requires_grad else weights


def _behind(view: Tensor) -> GradientEdge:
    """Where the gradient of the weights in use arrives: nn.MultiheadAttention returns only a view beside the path."""
    node = view.grad_fn
    while node is not None and "Softmax" not in node.name():
        node = node.next_functions[0][0]
    if node is None:
        raise ModelError("nn.MultiheadAttention: no softmax lies behind the weights that it returned")
    return GradientEdge(node, 0)


def _gradients(output: Tensor, calls: Sequence[_Call]) -> tuple[Floats, ...]:
    """Gradients of the rows' outputs (n,), one array (n, heads, queries, keys) a call; 0 where a call has no effect."""
    if not output.requires_grad:
        raise ModelError("no gradient reaches the attention weights (is the output detached or quantised?)")
    spots: Any = [call.spot for call in calls]
    found = torch.autograd.grad(output.sum(), spots, allow_unused=True)
    return tuple(
        np.zeros(tuple(call.weights.shape)) if each is None else _array(each.reshape(call.weights.shape))
        for each, call in zip(found, calls, strict=True)
    )


@contextmanager
def _paths(module: nn.Module, path: list[str]) -> Iterator[None]:
    """Keeps the names of the modules that are running now in `path`, the innermost last."""
    handles = []
    for name, each in module.named_modules():
        if not isinstance(each, torch.jit.ScriptModule):
            handles.append(each.register_forward_pre_hook(lambda *_, name=name: path.append(name)))
            handles.append(each.register_forward_hook(lambda *_: _left(path), always_call=True))
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()


def _left(path: list[str]) -> None:
    path.pop()


def _kind(call: _Call, weights: Floats) -> Kind:
    queries, keys = weights.shape[-2:]
    named = _CROSS.search(".".join(call.name.split(".")[-2:]))
    if queries != keys or (named if call.apart is None else call.apart):
        return "cross"
    return "causal" if keys > 1 and not np.triu(weights, 1).any() else "self"


def _counted(names: Sequence[str]) -> tuple[str, ...]:
    """The names, those that come again with the number of the call."""
    often, seen = Counter(names), Counter[str]()
    out = []
    for name in names:
        seen[name] += 1
        out.append(f"{name} (call {seen[name]})" if often[name] > 1 else name)
    return tuple(out)


def _array(tensor: Tensor) -> Floats:
    return np.asarray(tensor.detach().double().cpu().numpy())
