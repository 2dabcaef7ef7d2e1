"""Vision-language models from files: every name and shape is compared before a number is read."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path

import torch
from torch import Tensor

from serval.language.load import fill_decoder
from serval.language.speech import Speech
from serval.language.vision_language.config import VisionLanguageConfig, read_vision_language_config
from serval.language.vision_language.families import FAMILIES, Family
from serval.language.vision_language.model import VisionLanguageModel
from serval.refusal import Refusal
from serval.weights.checkpoint import Checkpoint, SafetensorsCheckpoint, differences, refuse_differences

_COMPUTED = ("position_ids", "rotary_emb.inv_freq", "rotary_pos_emb.inv_freq")  # old files keep what is computed
_PAPERS = """generation_config.json preprocessor_config.json video_preprocessor_config.json processor_config.json
    chat_template.jinja chat_template.json tokenizer.json tokenizer_config.json tokenizer.model special_tokens_map.json
    added_tokens.json vocab.json merges.txt LICENSE LICENSE.txt README.md""".split()


def load_vision_language_model(
    folder: Path, *, dtype: torch.dtype = torch.float32, device: torch.device | str = "cpu"
) -> VisionLanguageModel:
    """See `VisionLanguageModel.from_pretrained`."""
    from transformers.initialization import no_init_weights

    config = read_vision_language_config(folder)
    family, checkpoint = FAMILIES[config.family], _Today(SafetensorsCheckpoint(folder), FAMILIES[config.family])
    config = _tied_as_written(config, checkpoint, family)
    wanted = {name: tensor for name, tensor in empty_model(config).state_dict().items() if not name.startswith("decoder.")}
    names = {family.written(name): name for name in wanted}
    found = {name: checkpoint.shape(name) for name in checkpoint.names() if not name.startswith((family.text, family.head))}
    wrong = differences({name: tuple(wanted[ours].shape) for name, ours in names.items()}, found)
    refuse_differences(checkpoint.name, wrong, "give the weights that its config.json describes")
    others = tuple(family.names.values())
    decoder = fill_decoder(
        config.text, checkpoint, prefix=family.text, head=family.head, others=others, dtype=dtype, device=device
    )
    with no_init_weights():  # what is computed is made here; the numbers come from the files
        model = VisionLanguageModel(config, decoder)
    state = {ours: checkpoint.tensor(name).to(device=device, dtype=dtype) for name, ours in names.items()}
    model.load_state_dict(state | {f"decoder.{name}": each for name, each in decoder.state_dict().items()}, assign=True)
    listen(model, folder)
    return model.to(device=device).requires_grad_(False).eval()


def listen(model: VisionLanguageModel, folder: Path) -> None:
    """Take tokenizer, chat template and the other papers of ``folder``. Raises `Refusal` as `Speech.from_folder`."""
    ends = getattr(model.config.whole.text_config, "eos_token_id", None)
    model.speech = Speech.from_folder(folder, [ends] if isinstance(ends, int) else ends or ())
    model.papers = {name: (folder / name).read_bytes() for name in _PAPERS if (folder / name).is_file()}


def empty_model(config: VisionLanguageConfig) -> VisionLanguageModel:
    """A model of shapes alone, which takes no memory.

    Raises:
        Refusal: no model can be made of such a configuration.
    """
    try:
        with torch.device("meta"):
            return VisionLanguageModel(config)
    except Refusal:
        raise
    except Exception as error:  # whatever transformers' modules make of sizes that do not fit together
        why = f"no model can be made of it ({' '.join(str(error).split())[:120]})"
        raise Refusal("config.json", why, "fetch the weights again") from None


def _tied_as_written(config: VisionLanguageConfig, checkpoint: Checkpoint, family: Family) -> VisionLanguageConfig:
    """Some files say that the head is the table of embeddings and hold another, or say it of the text half alone: it is what
    the files hold, as in transformers."""
    names, head, table = set(checkpoint.names()), f"{family.head}weight", f"{family.text}embed_tokens.weight"
    tied = config.text.tied
    if tied and {head, table} <= names:
        tied = torch.equal(checkpoint.tensor(head), checkpoint.tensor(table))
    elif head not in names:
        tied = tied or bool(getattr(config.whole.text_config, "tie_word_embeddings", False))
    source = {**config.source, "tie_word_embeddings": tied}
    return replace(config, text=replace(config.text, tied=tied), source=source if tied != config.text.tied else config.source)


class _Today(Checkpoint):
    """A checkpoint's tensors under the names of today."""

    def __init__(self, checkpoint: Checkpoint, family: Family) -> None:
        self.name, self._checkpoint = checkpoint.name, checkpoint
        self._names = {family.today(name): name for name in checkpoint.names() if not name.endswith(_COMPUTED)}

    def names(self) -> Iterable[str]:
        return self._names

    def shape(self, name: str) -> tuple[int, ...]:
        return self._checkpoint.shape(self._names[name])

    def tensor(self, name: str) -> Tensor:
        return self._checkpoint.tensor(self._names[name])
