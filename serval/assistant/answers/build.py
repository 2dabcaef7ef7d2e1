"""From the name, the folder or the URL on the command line to an answerer."""

from __future__ import annotations

from pathlib import Path

from serval.assistant.answers.answer import Answerer
from serval.assistant.answers.template import TemplateAnswerer
from serval.assistant.timeline.plain import one_line
from serval.refusal import Refusal

NAMES = ("template", "smollm2")


def build_answerer(name_or_url: str | None) -> Answerer:
    """``None`` and "template" speak by templates, "smollm2" rewrites them, a folder holds a vision-language model, and a URL is
    an OpenAI-compatible endpoint.

    Raises:
        Refusal: no such answerer, a URL that cannot be used, a part that has not been fetched, or a model that cannot be read.
    """
    if name_or_url is None or name_or_url == "template":
        return TemplateAnswerer()
    if name_or_url == "smollm2":
        from serval.assistant.answers.rewrite import RewriteAnswerer

        return RewriteAnswerer.open("smollm2")
    if "://" in name_or_url:
        from serval.assistant.answers.endpoint import EndpointAnswerer

        return EndpointAnswerer(name_or_url)
    if Path(name_or_url).is_dir():
        from serval.assistant.answers.vision_language import VisionLanguageAnswerer

        return VisionLanguageAnswerer.open(Path(name_or_url))
    shown = one_line(name_or_url)[:40]
    remedy = f"take {', '.join(NAMES)}, a folder of a vision-language model, or a URL such as http://…/v1#model"
    raise Refusal(f"answerer “{shown}”", "there is none of this name", remedy)
