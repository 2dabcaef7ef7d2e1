"""All that a person taught, as a watch takes it up at its start."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from serval.assistant.teaching import store, thumbs
from serval.assistant.teaching.person import TAUGHT, THUMBS, person_folder
from serval.assistant.teaching.recall import Recall
from serval.assistant.teaching.taste import Taste
from serval.refusal import Refusal

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Taught:
    """``tastes`` are by instruction, see `thumbs.asked_as`."""

    recall: Recall
    tastes: Mapping[str, Taste]

    def told(self) -> dict[str, Any]:
        """What a run keeps of it: the names, and the tastes in full, so that a replay decides alike. No picture, no feature."""
        return {
            "names": list(self.recall.names),
            "tastes": {asked: dict(taste.weights) for asked, taste in self.tastes.items()},
        }


def opened(folder: Path | None, *, can_name: bool = True) -> Taught:
    """What was taught in ``folder``, or in the person's own folder if there is one.

    Args:
        can_name: the encoders are there that things are known by.

    Raises:
        Refusal: a folder was asked for that is none of ours, or what is in it is damaged.
    """
    here = folder or person_folder()
    if folder is not None and not any((folder / name).exists() for name in (TAUGHT, THUMBS)):
        raise Refusal(str(folder), "nothing was taught there", f'teach: serval teach "my mug" photo.jpg --memory {folder}')
    recall = Recall(store.load(here))
    if recall and not can_name:
        log.warning("what was taught is not known again: the detector or the encoder of pictures is off")
        recall = Recall(())
    return Taught(recall, thumbs.tastes(thumbs.load(here)))


def tastes_of(told: Mapping[str, Any]) -> dict[str, Taste]:
    """The tastes of a run, from what it kept."""
    return {asked: Taste(dict(weights)) for asked, weights in told.get("tastes", {}).items()}
