"""Encoders of label names with random weights, in their native files."""

import json
import string
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from gensim.models import KeyedVectors
from transformers import (
    CLIPConfig,
    CLIPImageProcessor,
    CLIPModel,
    CLIPProcessor,
    CLIPTokenizer,
)


def write_glove(path: Path, names: Sequence[str]) -> Path:
    """A GloVe file: no header, 300 numbers a line."""
    vectors = KeyedVectors(300)
    rows = np.random.default_rng(0).normal(size=(len(names), 300)).astype(np.float32)
    vectors.add_vectors(list(names), rows)
    vectors.save_word2vec_format(str(path), write_header=False)
    return path


def write_clip(folder: Path, projection_dim: int = 12) -> Path:
    """A CLIP with one layer that spells, in the format of transformers."""
    folder.mkdir()
    letters = [*string.ascii_lowercase]
    tokens = [
        *letters,
        *(f"{letter}</w>" for letter in letters),
        "<|startoftext|>",
        "<|endoftext|>",
    ]
    (folder / "vocab.json").write_text(json.dumps({token: i for i, token in enumerate(tokens)}))
    (folder / "merges.txt").write_text("#version: 0.2\n")
    size = {"hidden_size": 16, "intermediate_size": 16, "num_hidden_layers": 1}
    size |= {"num_attention_heads": 2}
    start, end = len(tokens) - 2, len(tokens) - 1
    text = {"vocab_size": len(tokens), "max_position_embeddings": 64}
    text |= {"bos_token_id": start, "eos_token_id": end, "pad_token_id": end}
    vision = {"image_size": 32, "patch_size": 16}
    config = CLIPConfig(
        text_config=size | text, vision_config=size | vision, projection_dim=projection_dim
    )
    CLIPModel(config).save_pretrained(folder)
    tokenizer = CLIPTokenizer.from_pretrained(folder, model_max_length=64)
    CLIPProcessor(CLIPImageProcessor(), tokenizer).save_pretrained(folder)
    return folder
