"""Folders that `save_pretrained` wrote: what may be opened, and why transformers could not be imported."""

from __future__ import annotations

import contextlib
import importlib
import importlib.util
import json
from collections.abc import Iterator
from importlib import metadata
from pathlib import Path
from typing import Any

from audit.core import MissingExtra, ModelError, Task
from audit.data.tables import listed
from audit.models.seeds import seeded

WEIGHTS = ("model.safetensors", "model.safetensors.index.json")
PICKLES = ("pytorch_model.bin", "pytorch_model.bin.index.json")
CLASSES: dict[Task, str] = {
    "classification": "AutoModelForSequenceClassification",
    "masked_lm": "AutoModelForMaskedLM",
    "causal_lm": "AutoModelForCausalLM",
}


def built(what: str, model: str, config: str, **options: Any) -> Any:
    """A model of transformers with its first, random weights, from a configuration with these options and eager attention.

    what: who asks, in words. The weights come from torch's random state (see `seeded`). Raises ModelError where
    transformers is missing or cannot be imported.
    """
    try:
        library = importlib.import_module("transformers")
        kind, made = getattr(library, model), getattr(library, config)
    except Exception as error:
        if absent("transformers"):
            raise MissingExtra(f"{what} needs transformers: pip install 'neural-audit[transformers]'") from error
        cause = broken_torchvision() or f"transformers cannot be imported: {type(error).__name__}: {error}"
        raise ModelError(f"{what}: {cause}") from error
    with _quiet():
        found = kind(made(**options))
    # Set after construction: the default attention keeps its weights to itself.
    found.set_attn_implementation("eager")
    return found


def absent(package: str) -> bool:
    """Whether a package is not installed."""
    try:
        return importlib.util.find_spec(package) is None
    except ImportError:
        return True


def checked(folder: Path) -> Path:
    """The folder, where it holds a configuration and safetensors; raises ModelError with what is missing."""
    if not folder.is_dir():
        raise ModelError(f"model.path: {folder} is no folder; allowed is a local one made by save_pretrained")
    if not (folder / "config.json").is_file():
        raise ModelError(f"model.path: {folder} holds no config.json; save_pretrained writes one")
    if any((folder / name).is_file() for name in WEIGHTS):
        return folder
    if found := [name for name in PICKLES if (folder / name).is_file()]:
        raise ModelError(
            f"model.path: {folder} holds {found[0]} and no {WEIGHTS[0]}: a pickle can run any code when it is opened, "
            "so only safetensors are read; load it where you trust it and write it again with save_pretrained"
        )
    raise ModelError(f"model.path: {folder} holds no {WEIGHTS[0]}")


def opened(folder: Path, task: Task) -> Any:
    """The model in a folder for a task, in evaluation mode; nothing is fetched and no code of the folder runs.

    Raises ModelError, also where the folder lacks weights that the task needs: they would be random.
    """
    checked(folder)
    with _explained(folder), seeded(0), _quiet():
        kind = getattr(importlib.import_module("transformers"), CLASSES[task])
        model, info = kind.from_pretrained(
            str(folder),
            local_files_only=True,
            trust_remote_code=False,
            use_safetensors=True,
            output_loading_info=True,
        )
        # Set after construction: the default attention keeps its weights to itself.
        model.set_attn_implementation("eager")
    if missing := sorted(info["missing_keys"]):
        raise ModelError(
            f"model.path: {folder} has no weights for {listed(missing)}, which task {task!r} needs; they would be "
            f"random (the folder was saved from {_saved_from(folder)})"
        )
    return model.eval()


def tokenizer(folder: Path) -> Any:
    """The tokenizer in a folder; raises ModelError where there is none, or none that tells which word a token is of."""
    checked(folder)
    with _explained(folder), _quiet():
        found = importlib.import_module("transformers").AutoTokenizer.from_pretrained(
            str(folder), local_files_only=True, trust_remote_code=False
        )
    if not getattr(found, "is_fast", False):
        raise ModelError(
            f"model.path: {folder} needs a tokenizer.json; {type(found).__name__} tells no words of tokens"
        )
    return found


def config(folder: Path) -> Any:
    """The configuration of the model in a folder; raises ModelError."""
    checked(folder)
    with _explained(folder), _quiet():
        kind = importlib.import_module("transformers").AutoConfig
        return kind.from_pretrained(str(folder), local_files_only=True, trust_remote_code=False)


def _saved_from(folder: Path) -> str:
    config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    return listed(config.get("architectures") or ()) or "another kind of model"


@contextlib.contextmanager
def _explained(folder: Path) -> Iterator[None]:
    """What is raised inside becomes a ModelError that names the cause, a broken torchvision where it is that."""
    try:
        yield
    except ModelError:
        raise
    except Exception as error:
        if absent("transformers"):
            raise MissingExtra(
                "model.kind = \"transformers\" needs transformers: pip install 'neural-audit[transformers]'"
            ) from error
        if fault := broken_torchvision():
            raise ModelError(fault) from error
        raise ModelError(f"model.path: {folder} cannot be loaded: {type(error).__name__}: {error}") from error


def broken_torchvision() -> str:
    """Why transformers fails where torchvision is present and does not fit torch, and the cure; "" where that is not so."""
    if importlib.util.find_spec("torchvision") is None:
        return ""
    try:
        importlib.import_module("torchvision")
    except Exception as error:
        return _cure(f"{type(error).__name__}: {error}")
    return ""


def _cure(fault: str) -> str:
    import torch

    try:
        came = metadata.version("torchvision")
    except metadata.PackageNotFoundError:
        came = "of unknown version"
    version, _, build = torch.__version__.partition("+")
    major, minor = version.split(".")[:2]
    # Since torch 2.0 their versions go together: 2.0 and 0.15, 2.1 and 0.16, ...
    fitting = f"'torchvision==0.{int(minor) + 15}.*'" if major == "2" else "the torchvision made for it"
    kind = f", of the build for {build!r}" if build else ""
    return (
        f"torchvision {came} is installed but cannot be imported beside torch {torch.__version__} ({fault}). "
        "transformers imports it wherever it is present, and fails with it. Either remove it (pip uninstall torchvision: "
        f"models of text do not need it), or install the build that belongs to this torch ({fitting}{kind})"
    )


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """No progress bars and no advice of transformers inside; its own settings come back after."""
    logging = importlib.import_module("transformers").utils.logging
    level, bars = logging.get_verbosity(), logging.is_progress_bar_enabled()
    logging.set_verbosity_error()
    logging.disable_progress_bar()
    try:
        yield
    finally:
        logging.set_verbosity(level)
        if bars:
            logging.enable_progress_bar()
