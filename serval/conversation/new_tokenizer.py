"""A tokenizer for a small world: byte-level BPE learnt from its own texts, so that anything a person writes can be spelt."""

from __future__ import annotations

from collections.abc import Iterable, Sequence


def new_tokenizer(texts: Iterable[str], special: Sequence[str], size: int = 512) -> str:
    """The text of a ``tokenizer.json``.

    Args:
        special: tokens that stand for no text, which get the ids from 0.
        size: of the vocabulary at the most; 256 of it are the bytes.
    """
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers

    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=size,
        special_tokens=list(special),
        initial_alphabet=sorted(pre_tokenizers.ByteLevel.alphabet()),
        show_progress=False,
    )
    tokenizer.train_from_iterator(texts, trainer)
    return tokenizer.to_str()
