"""The names of what the small encoders know, in the order of their outputs."""

from __future__ import annotations

from importlib.resources import files
from typing import Final

import numpy as np
from numpy.typing import NDArray

# Lin et al., "Microsoft COCO: Common Objects in Context" (2014): the 80 classes with boxes, in the order of their ids.
COCO: Final = tuple(
    """person|bicycle|car|motorcycle|airplane|bus|train|truck|boat|traffic light|fire hydrant|stop sign|parking meter|bench
bird|cat|dog|horse|sheep|cow|elephant|bear|zebra|giraffe|backpack|umbrella|handbag|tie|suitcase|frisbee|skis|snowboard
sports ball|kite|baseball bat|baseball glove|skateboard|surfboard|tennis racket|bottle|wine glass|cup|fork|knife|spoon
bowl|banana|apple|sandwich|orange|broccoli|carrot|hot dog|pizza|donut|cake|chair|couch|potted plant|bed|dining table
toilet|tv|laptop|mouse|remote|keyboard|cell phone|microwave|oven|toaster|sink|refrigerator|book|clock|vase|scissors
teddy bear|hair drier|toothbrush""".replace("\n", "|").split("|")
)

# Classes that the detector takes for one another while the thing stays the same. A group is named by the word a person
# would fall back on, never by the name of a class: "cup" must not stand for a bowl. A class in none is its own group.
COCO_GROUPS: Final[dict[str, tuple[str, ...]]] = {
    "vehicle": ("car", "bus", "train", "truck"),
    "two-wheeler": ("bicycle", "motorcycle"),
    "bag": ("backpack", "handbag", "suitcase"),
    "container": ("wine glass", "cup", "bowl", "vase"),
    "seat": ("bench", "chair", "couch"),
    "screen": ("tv", "laptop"),
    "hoofed animal": ("horse", "sheep", "cow"),
}
_GROUP_OF: Final = {label: group for group, labels in COCO_GROUPS.items() for label in labels}

# Russakovsky et al., "ImageNet Large Scale Visual Recognition Challenge" (2015): the 1000 classes in the order of their
# WordNet ids, each by its first name.
IMAGENET: Final = tuple(files("serval.encoders").joinpath("imagenet.txt").read_text("utf-8").splitlines())


def group_of(label: str) -> str:
    """The group that the COCO class ``label`` belongs to; the label itself when it stands alone."""
    return _GROUP_OF.get(label, label)


def group_scores(scores: NDArray[np.float32]) -> dict[str, float]:
    """``scores [80]`` by group: 1 − Π(1 − p) over the classes of each group (noisy-or), largest first."""
    miss: dict[str, float] = {}
    for label, score in zip(COCO, scores.tolist(), strict=True):
        group = group_of(label)
        miss[group] = miss.get(group, 1.0) * (1.0 - score)
    return dict(sorted(((group, 1.0 - value) for group, value in miss.items()), key=lambda item: -item[1]))
