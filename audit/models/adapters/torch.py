"""The torch adapter: any nn.Module, never moved and left in the mode it was in."""

from __future__ import annotations

import contextlib
import copy
import functools
import hashlib
import inspect
import itertools
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Self

import numpy as np
import safetensors.torch
import torch
from torch import Tensor, nn

from audit.core import Card, Dataset, Dtype, Floats, Ints, MissingOffer, ModelError, Offer, Spec
from audit.data.captioned import Captioned
from audit.data.graphs import Graphs
from audit.data.series import Series
from audit.data.texts import Texts
from audit.models.attentions import Attentions, attends, watched
from audit.models.base import Reading, array, class_order, predict
from audit.models.factory import file_of, made
from audit.models.first_layer import FirstLayer, first_layer
from audit.models.kinship import reference_of
from audit.models.layers import Layers, opened
from audit.models.modes import evaluating
from audit.models.offering import Offering
from audit.registry import adapter

TYPES: Mapping[str, torch.dtype] = {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}
HALF = ("bfloat16", "float16")


@dataclass(frozen=True, slots=True, kw_only=True)
class TorchModel(Offering):
    """A torch module behind the protocol; `module` lies on `device` and is open to be counted and differentiated."""

    card: Card
    module: nn.Module
    device: torch.device
    reading: Reading

    @property
    def family(self) -> str:
        """The class of the module."""
        return self.card.family

    @property
    def offers(self) -> frozenset[Offer]:
        """What else the model can do: gradients, its first layer by itself where that is linear, its attention weights."""
        more: set[Offer] = set() if first_layer(self.module, self.reading) is None else {"first_layer"}
        return frozenset({"gradients", *more, *({"attention"} if attends(self.module) else ())})

    def predict(self, inputs: Any) -> Floats:
        """Probability of the positive class (n,), or of every class (n, k); raises ModelError."""
        try:
            return predict(self._answer, inputs, self.reading)
        except ModelError as error:
            if self.card.dtype not in HALF:
                raise
            raise ModelError(
                f"{error} (the module runs in {self.card.dtype}, which not every operation on {self.card.device} knows, "
                'nor every number fits: run.dtype = "auto" leaves it in its own type)'
            ) from error

    def in_type(self, dtype: Dtype) -> Self:
        """The same model over a copy of its module in another number type; raises ModelError where it cannot be copied."""
        module = _placed(self.module, self.device, dtype)
        return replace(self, module=module, card=replace(self.card, dtype=type_of(module)))

    def scores_in(self, dtype: Dtype, inputs: Any) -> Floats:
        """What `predict` gives by a copy of the module in another number type; raises ModelError where it fails in that."""
        return self.in_type(dtype).predict(inputs)

    def _answer(self, inputs: Any) -> Any:
        # no_grad rather than inference_mode: what a module caches must stay usable for gradients afterwards.
        with torch.no_grad(), evaluating(self.module):
            if isinstance(inputs, Graphs):
                return self._nodes(inputs, self.tensor(inputs.features)).double().cpu().numpy()
            return _tensor(self.module(*self.arguments(inputs))).double().cpu().numpy()

    def _nodes(self, graphs: Graphs, features: Tensor, weights: Tensor | None = None) -> Tensor:
        """What module(features, edge_index) says of the nodes that are asked about."""
        edges = torch.as_tensor(graphs.edges.T.copy(), device=self.device)
        raw = self.module(features, edges) if weights is None else self.module(features, edges, weights)
        found = _tensor(raw)
        if found.ndim == 0 or len(found) != len(features):
            raise ModelError(
                f"the module returned shape {tuple(found.shape)} for {len(features)} nodes, expected a row for each"
            )
        return found[torch.as_tensor(graphs.targets, device=self.device)]

    def tie_weights(self, graphs: Graphs, targets: Ints) -> Callable[[Tensor], Tensor]:
        """The log-odds (n,) of each row's target class as a function of a weight (m,) on what each edge passes on.

        For modules of torch_geometric's message passing, and for modules that take edge weights as a third argument;
        raises ModelError for others.
        """
        features = self.tensor(graphs.features)
        messages = [each for each in self.module.modules() if "message_and_aggregate" in dir(each)]
        if messages:
            return functools.partial(self._passing, messages, graphs, features, targets)
        if len(inspect.signature(self.module.forward).parameters) < 3:
            raise ModelError(
                f"{self.family}: ties can be weighted in torch_geometric modules and in modules whose forward takes "
                "(features, edge_index, edge_weight)"
            )
        return lambda weights: _log_odds(self._weighted(graphs, features, weights), self.reading, targets)

    def _weighted(self, graphs: Graphs, features: Tensor, weights: Tensor) -> Tensor:
        with evaluating(self.module):
            return self._nodes(graphs, features, weights)

    def _passing(
        self, messages: list[nn.Module], graphs: Graphs, features: Tensor, targets: Ints, weights: Tensor
    ) -> Tensor:
        """Every message along an edge times its weight; the loops that a layer adds to itself keep theirs."""

        def weighed(module: nn.Module, arguments: Any, output: Tensor) -> Tensor:
            loops = output.new_ones(output.shape[-2 if output.ndim < 3 else 0] - len(weights))
            factor = torch.cat([weights.to(output.dtype), loops])
            return output * factor.reshape(-1, *([1] * (output.ndim - 1)))

        handles = [each.register_message_forward_hook(weighed) for each in messages]  # type: ignore[operator]
        try:
            with evaluating(self.module):
                return _log_odds(self._nodes(graphs, features), self.reading, targets)
        finally:
            for handle in handles:
                handle.remove()

    def tensor(self, inputs: Any) -> Tensor:
        """Inputs or an array (n, ...) as a fresh tensor on the module's device, in the type of its parameters.

        Token ids stay whole numbers: where they stand beside a picture's, the numbers are float32 at least.
        """
        # A copy, so that a module that writes into its input does not write into the data.
        values = array(inputs)
        kind = torch.long if isinstance(inputs, Texts) else _dtype(self.module)
        if isinstance(inputs, Captioned):
            kind = torch.promote_types(kind, torch.float32)
        return torch.tensor(values, dtype=kind, device=self.device)

    def arguments(self, inputs: Any) -> tuple[Tensor, ...]:
        """What the module's forward reads of inputs: their values, and what stands beside them; of a graph all of it."""
        if isinstance(inputs, Graphs):
            return self.tensor(inputs.features), torch.as_tensor(inputs.edges.T.copy(), device=self.device)
        return (self.tensor(inputs), *self._beside(inputs))

    def _beside(self, inputs: Any) -> tuple[Tensor, ...]:
        """What forward reads beside the values: of sequences their lengths (n,), where it has a parameter of that name."""
        if not isinstance(inputs, Series) or "lengths" not in inspect.signature(self.module.forward).parameters:
            return ()
        return (torch.as_tensor(inputs.lengths, device=self.device),)

    def first_layer(self) -> FirstLayer:
        """The module cut behind its first layer; raises MissingOffer where that cannot be done."""
        found = first_layer(self.module, self.reading)
        if found is None:
            raise MissingOffer(f"{self.family}: the module cannot be cut behind a linear first layer")
        return found

    def attribution_point(self, inputs: Any, targets: Ints | None = None) -> tuple[Tensor, Callable[[Tensor], Tensor]]:
        """A leaf (n, ...) that needs gradients, and the function from such leaves (m n, ...) to log-odds (m n,).

        The leaf is the input itself, for texts its embedding (n, tokens, d). Leaves may be stacked copies of the n
        rows, one after the other. targets (n,): the class of each row, by default the positive one; of a model that
        predicts a number the function gives that number. Raises ModelError for texts where the module has no embedding
        of the vocabulary, MissingOffer where no gradient reaches the leaf.
        """
        leaf, through = self._entry(inputs)

        def forward(leaf: Tensor) -> Tensor:
            return _log_odds(self._followed(through, leaf), self.reading, targets)

        return leaf, forward

    def attribution_layers(self, inputs: Any, targets: Ints | None = None) -> Layers:
        """The same way in two halves, through a copy over the same weights that hooks may be attached to.

        Raises ModelError for a module that cannot be copied, and as `attribution_point` does.
        """
        module, output = opened(self.module, self.reading.output)
        twin = replace(self, module=module, reading=replace(self.reading, output=output))
        leaf, through = twin._entry(inputs)

        def raw(leaf: Tensor) -> Tensor:
            return twin._followed(through, leaf).reshape(len(leaf), -1)

        def log_odds(raw: Tensor) -> Tensor:
            return _log_odds(raw, twin.reading, targets)

        return Layers(leaf=leaf, module=module, raw=raw, log_odds=log_odds, output=output)

    def _entry(self, inputs: Any) -> tuple[Tensor, Callable[[Tensor], Tensor]]:
        """The leaf, and the way from leaves to the module's output."""
        ids = self.tensor(inputs)
        if not isinstance(inputs, Texts):
            return ids.requires_grad_(), functools.partial(self._copies, self._beside(inputs))
        table = self._embedding(len(inputs.vocabulary))
        with torch.no_grad():
            leaf = table(ids)
        return leaf.detach().requires_grad_(), functools.partial(self._from_embedding, table, ids)

    def _followed(self, through: Callable[[Tensor], Tensor], leaf: Tensor) -> Tensor:
        raw = through(leaf)
        if leaf.requires_grad and torch.is_grad_enabled() and not raw.requires_grad:
            raise MissingOffer(
                f"{self.family}: no gradient reaches the inputs (is the output detached, constant or quantised?)"
            )
        return raw

    def attentions(self, inputs: Any) -> Attentions:
        """The attention weights that the module uses on inputs (n, ...), which go through it at once.

        Raises MissingOffer where none are seen, ModelError where they belong to no single row.
        """
        return watched(self.module, len(inputs), lambda: self._raw(self.tensor(inputs), *self._beside(inputs)))

    def attention_gradients(self, inputs: Any, targets: Ints | None = None) -> Attentions:
        """The same with the gradients of the log-odds of each row's target class (n,), by default the positive one."""

        def answer() -> Tensor:
            return _log_odds(self._raw(self.tensor(inputs), *self._beside(inputs)), self.reading, targets)

        return watched(self.module, len(inputs), answer, gradients=True)

    def _copies(self, beside: tuple[Tensor, ...], leaf: Tensor) -> Tensor:
        """The module's output for stacked copies of rows, each with what is read beside its values."""
        return self._raw(leaf, *(each.repeat(len(leaf) // len(each)) for each in beside))

    def _raw(self, tensor: Tensor, *beside: Tensor) -> Tensor:
        cudnn = torch.backends.cudnn.flags(enabled=False) if self.device.type == "cuda" else contextlib.nullcontext()
        # cuDNN's recurrent layers refuse a backward pass in evaluation mode.
        with evaluating(self.module), cudnn:
            return _tensor(self.module(tensor, *beside))

    def _embedding(self, vocabulary: int) -> nn.Embedding:
        tables = [each for each in self.module.modules() if isinstance(each, nn.Embedding)]
        fitting = [each for each in tables if each.num_embeddings >= vocabulary]
        if not fitting:
            raise ModelError(
                f"{self.family}: gradients of texts need an nn.Embedding of {vocabulary} tokens; the module has "
                f"{[each.num_embeddings for each in tables] or 'none'}"
            )
        return fitting[0]

    def _from_embedding(self, table: nn.Embedding, ids: Tensor, leaf: Tensor) -> Tensor:
        """The module's output where the embedding of the ids is `leaf`."""
        handle = table.register_forward_hook(lambda module, arguments, output: leaf)
        try:
            return self._raw(ids.repeat(len(leaf) // len(ids), 1))
        finally:
            handle.remove()


def _tensor(raw: Any) -> Tensor:
    if not isinstance(raw, Tensor):
        raise ModelError(f"the module returned {type(raw).__name__}, expected one tensor (n,) or (n, k)")
    return raw


def _log_odds(raw: Tensor, reading: Reading, targets: Ints | None = None) -> Tensor:
    """Log-odds (m n,) of each row's target class (n,), the positive one by default, from raw (m n,), (m n, 1) or (m n, k).

    A number that is predicted is passed on as it is.
    """
    if reading.output == "value":
        return raw.reshape(len(raw))
    classes = np.asarray([1] if targets is None else targets, dtype=np.int64)
    place = torch.as_tensor(np.asarray(reading.order)[classes], device=raw.device).repeat(len(raw) // len(classes))
    if raw.ndim == 2 and raw.shape[1] > 1:
        if reading.output == "probability":
            raw = raw.clamp_min(torch.finfo(raw.dtype).tiny).log()
        chosen = raw.gather(1, place[:, None])[:, 0]
        others = raw.masked_fill(nn.functional.one_hot(place, raw.shape[1]).bool(), float("-inf"))
        return chosen - torch.logsumexp(others, dim=1)
    single = raw.reshape(len(raw))
    if reading.output == "probability":
        single = torch.logit(single, eps=torch.finfo(raw.dtype).eps)
    return torch.where(place == 1, single, -single)


def _dtype(module: nn.Module) -> torch.dtype:
    tensors = itertools.chain(module.parameters(), module.buffers())
    return next((tensor.dtype for tensor in tensors if tensor.is_floating_point()), torch.float32)


def type_of(module: nn.Module) -> str:
    """The number type of a module's first parameter or buffer of numbers, such as "float32"."""
    return str(_dtype(module)).removeprefix("torch.")


def _state(module: nn.Module) -> list[Tensor]:
    return [*module.parameters(), *module.buffers()]


@adapter("torch", title="PyTorch module")
def wrap(module: nn.Module, dataset: Dataset, spec: Spec) -> TorchModel:
    """Any nn.Module from an array (n, ...) to probabilities or logits (n,), (n, 1) or (n, k).

    A table reaches it as a matrix (n, d), images as (n, channels, height, width), sequences as (n, steps, columns), and
    their lengths (n,) where forward has a parameter of that name, texts as token ids (n, tokens), a graph as (features,
    edge_index). The matrix holds the features in their order, categories as indices into their sorted levels. A module on
    another device, or of another number type than the one asked for, is copied. Raises ModelError.
    """
    placed = _placed(module, _device(spec.run.device), spec.run.dtype)
    # Of several devices of one kind the module keeps its own.
    device = next((each.device for each in _state(placed)), _device(spec.run.device))
    inputs = dataset.inputs
    notes = (
        ("Categories reach the module as indices into their levels sorted as text.",)
        if getattr(inputs, "categories", None)
        else ()
    )
    card = Card(
        family=type(module).__name__,
        reference=reference_of(module),
        kind="torch",
        name=spec.model.factory or type(module).__name__,
        classes=dataset.classes,
        output=spec.model.output,
        features=dataset.names,
        parameters=sum(each.numel() for each in placed.parameters()),
        size_bytes=sum(each.numel() * each.element_size() for each in _state(placed)),
        digest=digest(module),
        device=str(device),
        dtype=type_of(placed),
        parameters_open=True,
        notes=notes,
    )
    reading = Reading(output=spec.model.output, order=class_order((), dataset, spec), batch_size=spec.model.batch_size)
    return TorchModel(card=card, module=placed, device=device, reading=reading)


def load(spec: Spec, dataset: Dataset, base: Path) -> TorchModel:
    """The module that model.factory builds, with the weights of model.weights; raises ModelError."""
    module = made(spec, base)
    if not isinstance(module, nn.Module):
        raise ModelError(
            f"model.factory {spec.model.factory!r} returned {type(module).__name__}, expected a torch module"
        )
    if spec.model.weights is not None:
        load_weights(module, file_of(spec.model.weights, spec.model.sha256, base))
    elif spec.model.sha256 is not None:
        raise ModelError("model.sha256 is given without model.weights: there is no file to verify")
    return wrap(module, dataset, spec)


def load_weights(module: nn.Module, path: Path) -> None:
    """Fill a module from .safetensors, or from .pt/.pth holding tensors only; every name and shape must match."""
    try:
        if path.suffix == ".safetensors":
            missing, unexpected = safetensors.torch.load_model(module, path, strict=False)
        elif path.suffix in (".pt", ".pth"):
            state = torch.load(path, map_location="cpu", weights_only=True)
            if not isinstance(state, Mapping):
                raise ModelError(
                    f"{path.name} holds {type(state).__name__}, expected a state dict: torch.save(module.state_dict(), ...)"
                )
            missing, unexpected = module.load_state_dict(state, strict=False)
        else:
            raise ModelError(f"model.weights: {path.name!r} must end in .safetensors, .pt or .pth")
    except ModelError:
        raise
    except Exception as error:
        raise ModelError(f"model.weights: {path.name} cannot be loaded: {error}") from error
    if missing or unexpected:
        raise ModelError(
            f"model.weights: {path.name} does not fit the module; missing: {', '.join(sorted(missing)) or 'nothing'}; "
            f"unexpected: {', '.join(sorted(unexpected)) or 'nothing'}"
        )


def _device(name: str) -> torch.device:
    available = torch.cuda.is_available()
    if name == "cuda" and not available:
        raise ModelError('run.device = "cuda": this machine has no CUDA device that torch can use')
    return torch.device("cuda" if available and name in ("auto", "cuda") else "cpu")


def _placed(module: nn.Module, device: torch.device, dtype: Dtype = "auto") -> nn.Module:
    """The module itself where it lies on the device in the wanted number type, else a copy."""
    wanted = TYPES.get(dtype)
    numbers = [each for each in _state(module) if each.is_floating_point()]
    there = all(each.device.type == device.type for each in _state(module))
    if there and (wanted is None or all(each.dtype == wanted for each in numbers)):
        return module
    place = device if not there else None
    try:
        return copy.deepcopy(module).to(device=place, dtype=wanted)
    except Exception as error:
        kind = "" if wanted is None else f" in {dtype}"
        raise ModelError(f"{type(module).__name__} cannot be copied to {device}{kind}: {error}") from error


def digest(module: nn.Module) -> str:
    """SHA-256 over the names, types, shapes and bytes of the state dict; the same on every device."""
    total = hashlib.sha256()
    for name, value in module.state_dict().items():
        if isinstance(value, Tensor):
            total.update(f"{name} {value.dtype} {tuple(value.shape)}".encode())
            total.update(value.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy().tobytes())
    return total.hexdigest()


def with_facts(model: TorchModel, **facts: Any) -> TorchModel:
    """The same model with other facts on its card."""
    return replace(model, card=replace(model.card, **facts))
