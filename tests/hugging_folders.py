"""Folders of tiny transformers with random weights, written by save_pretrained, and tokenizers over given words."""

from pathlib import Path
from typing import Any

import torch

SPECIAL = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
WORDS = [
    "a",
    "the",
    "good",
    "bad",
    "film",
    "story",
    "truly",
    "dull",
    "was",
    "not",
    "very",
    "end",
    "of",
    "it",
    "and",
    "he",
    "she",
    "nurse",
    "doctor",
    "works",
    "home",
]


def word_tokenizer(words: list[str] = WORDS, *, pad: bool = True, length: int = 32) -> Any:
    """A WordPiece tokenizer that puts [CLS] before and [SEP] behind a text; the ending ##s is a piece of its own."""
    from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, processors
    from transformers import PreTrainedTokenizerFast

    vocabulary = {word: place for place, word in enumerate([*SPECIAL, *words, "##s", ".", ","])}
    raw = Tokenizer(models.WordPiece(vocabulary, unk_token="[UNK]"))
    raw.normalizer = normalizers.Lowercase()
    raw.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    raw.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]", special_tokens=[("[CLS]", 2), ("[SEP]", 3)]
    )
    return PreTrainedTokenizerFast(
        tokenizer_object=raw,
        unk_token="[UNK]",
        cls_token="[CLS]",
        sep_token="[SEP]",
        mask_token="[MASK]",
        pad_token="[PAD]" if pad else None,
        model_max_length=length,
    )


def causal_tokenizer(words: list[str] = WORDS) -> Any:
    """A tokenizer of words as GPT-2's: one token begins and ends texts, is not added by itself, and nothing pads."""
    from tokenizers import Tokenizer, models, normalizers, pre_tokenizers
    from transformers import PreTrainedTokenizerFast

    vocabulary = {word: place for place, word in enumerate(["<end>", "<unk>", *words, ".", ","])}
    raw = Tokenizer(models.WordLevel(vocabulary, unk_token="<unk>"))
    raw.normalizer = normalizers.Lowercase()
    raw.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    return PreTrainedTokenizerFast(tokenizer_object=raw, unk_token="<unk>", bos_token="<end>", eos_token="<end>")


def bert(folder: Path, task: str = "SequenceClassification", *, words: list[str] = WORDS, **options: Any) -> Path:
    """A BERT of two layers with random weights and the word tokenizer; options go into its configuration."""
    import transformers

    tokenizer = word_tokenizer(words)
    config = transformers.BertConfig(
        vocab_size=len(tokenizer),
        hidden_size=16,
        num_hidden_layers=2,
        num_attention_heads=2,
        intermediate_size=24,
        max_position_embeddings=32,
        initializer_range=0.4,
        **options,
    )
    return _saved(getattr(transformers, f"BertFor{task}"), config, tokenizer, folder)


def gpt(folder: Path, task: str = "LMHeadModel", *, words: list[str] = WORDS, places: int = 24, **options: Any) -> Path:
    """A GPT-2 of two layers with random weights, its output tied to its embedding."""
    import transformers

    tokenizer = causal_tokenizer(words)
    config = transformers.GPT2Config(
        vocab_size=len(tokenizer),
        n_embd=16,
        n_layer=2,
        n_head=2,
        n_positions=places,
        initializer_range=0.4,
        bos_token_id=0,
        eos_token_id=0,
        **options,
    )
    return _saved(getattr(transformers, f"GPT2{task}"), config, tokenizer, folder)


def _saved(kind: Any, config: Any, tokenizer: Any, folder: Path) -> Path:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        model = kind(config)
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder
