"""A vision-language model: pictures through a tower and a connector become tokens among those of the text."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor, nn

from serval.conversation.build import encode_pieces
from serval.conversation.messages import Media, Message, media_of
from serval.conversation.segments import MediaSegment, TextSegment, from_segments, grid_positions
from serval.conversation.sequence import Modality, MultimodalSequence
from serval.conversation.template import Piece
from serval.encoders.picture_input import Picture
from serval.language.cache import KVCache
from serval.language.decoder import Decoder
from serval.language.speech import Speech
from serval.language.vision_language.bank import BankConfig, Part, Sight
from serval.language.vision_language.config import VisionLanguageConfig, config_of
from serval.language.vision_language.families import FAMILIES
from serval.language.vision_language.pictures import Plan, checked, pack
from serval.refusal import Refusal

if TYPE_CHECKING:
    from serval.encoders.vision_tower import VisionTower
    from serval.media.frame import Frame

Seen = Picture | Sequence["Frame"]
"""A picture (height, width, 3) uint8 RGB, or the frames of a video."""


@dataclass(frozen=True, eq=False)
class Prepared:
    """A medium as the tower reads it.

    Attributes:
        pixels: for each tower (tiles, 3, side, side) or (patches, numbers of a patch) float32.
        times: seconds of each frame of a video.
    """

    pixels: tuple[Tensor, ...]
    plan: Plan
    times: tuple[float, ...] = ()


class VisionLanguageModel(nn.Module):
    """Tower, connector and decoder of LLaVA-1.5, LLaVA-NeXT, LLaVA-OneVision, Idefics3, SmolVLM, InternVL, Qwen2-VL or
    Qwen2.5-VL, as Hugging Face's folders hold them (`from_pretrained`); or several towers, their connectors and a mixer, an
    `EncoderBank`, before any decoder (`composed`).

    Attributes:
        vision: of `serval.encoders` (CLIP, SigLIP; a bank), or transformers' own module of the family.
        connector: (tiles, tokens, width of the tower) → (tiles, tokens, width of the decoder).
        newline: (width,), what ends rows of tokens, in families that have it.
        speech: tokenizer and chat template; None where the folder has none, or the model is new.
        papers: files of the folder besides weights and configuration, which go with the model when it is saved.
        origin: OWNER/NAME of a model from the hub.
    """

    def __init__(self, config: VisionLanguageConfig, decoder: Decoder | None = None, vision: nn.Module | None = None) -> None:
        super().__init__()
        self.config, self.family = config, FAMILIES[config.family]
        self.vision = self.family.tower(config) if vision is None else vision
        self.connector = self.family.connector(config)
        self.pictures = self.family.pictures(config)
        width = config.text.width
        self.newline = nn.Parameter(torch.randn(width) * width**-0.5) if self.family.newline else None
        self.decoder = Decoder(config.text) if decoder is None else decoder
        self.speech: Speech | None = None
        self.papers: dict[str, bytes] = {}
        self.origin: str | None = None

    @classmethod
    def from_pretrained(
        cls,
        source: Path | str,
        revision: str | None = None,
        *,
        dtype: torch.dtype = torch.float32,
        device: torch.device | str = "cpu",
        allow_download: bool = False,
    ) -> VisionLanguageModel:
        """A model of a folder, frozen and ready to read.

        Args:
            source: the folder; or with ``revision``, the 40 digits of a commit, a model's OWNER/NAME on the hub, which
                has to be on this machine unless ``allow_download``. Only safetensors are ever read.

        Raises:
            Refusal: a file is missing or damaged, or its tensors are not those that ``config.json`` asks for; it says which.
        """
        from serval.encoders.open_tower import hub_folder
        from serval.language.vision_language.load import load_vision_language_model

        folder = Path(source) if revision is None else hub_folder(f"hub:{source}@{revision}", allow_download)
        model = load_vision_language_model(folder, dtype=dtype, device=device)
        model.origin = None if revision is None else str(source)
        return model

    @classmethod
    def composed(
        cls,
        towers: Sequence[VisionTower],
        sights: Sequence[Sight],
        mixer: Part | str,
        decoder: Decoder,
        *,
        tokens: int,
        spoken: Path | None = None,
    ) -> VisionLanguageModel:
        """Towers that may have been trained, new connectors and mixer, and a decoder, as one module.

        MoME's and LION-FS's mixtures of vision encoders, MoF, SPHINX and Eagle are made so (`EncoderBank`). Towers are frozen.

        Args:
            sights: each tower's connector, which ends as wide as the decoder (with ``"channels"`` all of them together).
            mixer: "add", "channels", "interleave" or "behind"; or a `Part`, a "soft_router".
            tokens: how many a picture becomes.
            spoken: a folder with the decoder's tokenizer and a chat template that has a place for pictures.

        Raises:
            ValueError: not as many sights as towers.
            Refusal: a part that is not known, or numbers beyond reason.
        """
        from serval.language.vision_language.load import listen

        told = [
            replace(
                sight,
                tower=tower.config.to_diff_dict(),
                prepared=tower.prepared,
                pooler=getattr(tower.model, "pooler", tower) is not None,
            )
            for tower, sight in zip(towers, sights, strict=True)
        ]
        content = BankConfig(tuple(told), mixer, tokens, None).to_json() | {"text_config": dict(decoder.config.source)}
        config = config_of(json.loads(json.dumps(content)))
        model = cls(config, decoder, config.whole.bank(towers).to(device=decoder.device, dtype=decoder.dtype))
        if spoken is not None:
            listen(model, spoken)
        return model

    def save_pretrained(self, folder: Path | str) -> None:
        """Write what `from_pretrained` reads, and transformers where the family is its own, and a model card."""
        from serval.language.vision_language.save import save_vision_language_model

        save_vision_language_model(self, Path(folder))

    @property
    def dtype(self) -> torch.dtype:
        return self.decoder.dtype

    @property
    def device(self) -> torch.device:
        return self.decoder.device

    def prepare(self, seen: Seen, *, alone: bool = True) -> Prepared:
        """What the tower reads of a picture or a video; ``alone`` says that the conversation has no other picture.

        Raises:
            Refusal: too slim, too many frames, or a video for a model that was made for pictures.
        """
        still = isinstance(seen, np.ndarray)
        frames = [seen] if isinstance(seen, np.ndarray) else [each.rgb for each in seen]
        plan = self.pictures.plan(*checked(frames), 0 if still else len(frames), alone)
        times = () if isinstance(seen, np.ndarray) else tuple(each.time for each in seen)
        pixels = self.pictures.pixels(frames, plan)
        return Prepared(pixels if isinstance(pixels, tuple) else (pixels,), plan, times)

    def look(self, prepared: Prepared, condition: Tensor | None = None) -> Tensor:
        """(tokens, width) of a medium, as the decoder reads them; ``condition`` as in `sequence`."""
        pixels = [each.to(device=self.device, dtype=self.dtype) for each in prepared.pixels]
        told = {} if condition is None else {"condition": condition}
        tokens: Tensor = self.connector(self.family.see(self.config, self.vision, prepared.plan, *pixels, **told))
        return pack(tokens, prepared.plan, self.newline)

    def segments(
        self,
        messages: Sequence[Message],
        media: Mapping[Media, Seen],
        *,
        reply: bool = True,
        learn: bool = False,
        condition: Tensor | None = None,
    ) -> list[TextSegment | MediaSegment]:
        """A conversation as stretches of text and of media; see `sequence`. What a family writes between the tiles of a
        picture is text."""
        if self.speech is None:
            raise Refusal("the model", "it has no tokenizer and chat template", "take a folder that has them")
        parts = list(media_of(messages))
        for number, part in enumerate(parts, 1):
            if part not in media:
                raise Refusal(f"{part.kind} {number} of the conversation", "it was not given", "give every medium")
            if (part.kind == "image") != isinstance(media[part], np.ndarray) or part.kind == "audio":
                raise Refusal(f"{part.kind} {number} of the conversation", "it is no picture and no frames", "give those")
        alone = sum(part.kind == "image" for part in parts) == 1
        ready = {part: self.prepare(media[part], alone=alone) for part in dict.fromkeys(parts)}
        pieces: list[Piece] = []
        for piece in self.speech.template.render(messages, reply=reply):
            layout = ready[parts[piece.medium]].plan.layout if piece.kind == "media" else ()
            pieces += [piece if isinstance(each, int) else Piece("template", each) for each in layout] or [piece]
        features = {part: self.look(each, condition) for part, each in ready.items()}
        waiting = [iter(torch.split(features[part], ready[part].plan.counts)) for part in parts]
        made: list[TextSegment | MediaSegment] = []
        for each in self.speech.begun(encode_pieces(pieces, self.speech.tokenizer, learn=learn)):
            if isinstance(each, TextSegment):
                made.append(each)
                continue
            part, its = parts[each], ready[parts[each]]
            kind = Modality.VIDEO if part.kind == "video" else Modality.IMAGE
            time = self._times(its) if its.times else part.time
            made.append(MediaSegment(next(waiting[each]), kind, each, time, positions=self.positions(its)))
        return made

    def sequence(
        self,
        messages: Sequence[Message],
        media: Mapping[Media, Seen],
        *,
        reply: bool = True,
        learn: bool = False,
        condition: Tensor | None = None,
    ) -> MultimodalSequence:
        """A conversation with its pictures and videos, (1, length, …); a token's ``source`` is the number of its medium.

        Args:
            media: what each media part shows.
            reply: end where the assistant's words begin.
            learn: set ``labels`` to what the assistant says.
            condition: (1, any), what a bank's router follows where an instruction guides it.

        Raises:
            Refusal: a part was not given or cannot be seen, or the template has no place for it.
        """
        return self.joined(self.segments(messages, media, reply=reply, learn=learn, condition=condition))

    def joined(self, segments: Sequence[TextSegment | MediaSegment], *, start: float = 0.0) -> MultimodalSequence:
        """One sequence of `segments`, with as many axes of positions as the family has, from position ``start``."""
        return self._on_axes(from_segments(segments, self.decoder.embed, start=start, device=self.device))

    def _times(self, prepared: Prepared) -> Tensor:
        """(tokens,) seconds of a video, each its frame's."""
        groups = prepared.plan.grid[0]
        together = math.ceil(len(prepared.times) / groups)
        frame = torch.arange(prepared.plan.tokens) // (prepared.plan.tokens // groups)
        return torch.tensor(prepared.times, dtype=torch.float64)[frame.clamp_max(groups - 1) * together]

    def positions(self, prepared: Prepared) -> Tensor | None:
        """(tokens, 3) in Qwen's families (M-RoPE): when, which row, which column. Text goes on after the largest of them, as
        these models were trained; transformers 5 goes on after the largest row or column, also where a video is longer."""
        if self.config.axes == 1:
            return None
        vision, (groups, rows, columns) = self.config.vision, prepared.plan.grid
        interval = 1.0
        if len(prepared.times) > 1 and self.config.family == "qwen2_5_vl":
            apart = max(prepared.times[-1] - prepared.times[0], 0.0) / (len(prepared.times) - 1)
            interval = vision.tokens_per_second * vision.temporal_patch_size * apart
        merge = vision.spatial_merge_size
        return grid_positions(groups, rows // merge, columns // merge, interval)

    def new_cache(self, capacity: int, batch: int = 1, **options: Any) -> KVCache:
        """See `Decoder.new_cache`."""
        return self.decoder.new_cache(capacity, batch, **options)

    def forward(self, tokens: Tensor | MultimodalSequence, cache: KVCache | None = None, **options: Any) -> Tensor:
        """Logits as `Decoder.forward` gives them, of a `sequence`, or of ids (batch, new) that go on after what ``cache``
        holds."""
        logits: Tensor = self.decoder(self._placed(tokens, cache, options), cache, **options)
        return logits

    def read(
        self, tokens: Tensor | MultimodalSequence, cache: KVCache | None = None, **options: Any
    ) -> tuple[Tensor, MultimodalSequence]:
        """States and the tokens that remain, as `Decoder.read` gives them, for objectives to score."""
        return self.decoder.read(self._placed(tokens, cache, options), cache, **options)

    def logits(self, states: Tensor) -> Tensor:
        """See `Decoder.logits`."""
        return self.decoder.logits(states)

    def _placed(
        self, tokens: Tensor | MultimodalSequence, cache: KVCache | None, options: dict[str, Any]
    ) -> MultimodalSequence:
        """A sequence with as many axes of positions as the family has; ``valid`` and ``positions`` of ids leave ``options``."""
        if isinstance(tokens, MultimodalSequence):
            return tokens
        said = {name: options.pop(name, None) for name in ("valid", "positions")}
        return self._on_axes(self.decoder.sequence(tokens, cache, **said))

    def _on_axes(self, sequence: MultimodalSequence) -> MultimodalSequence:
        """Text stands at the same place on every axis."""
        if self.config.axes == 1 or sequence.position.ndim > 2:
            return sequence
        return replace(sequence, position=sequence.position[..., None].expand(-1, -1, self.config.axes))
