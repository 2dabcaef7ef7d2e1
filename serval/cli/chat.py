"""`serval chat`: a word with a model, about pictures if it sees."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from serval.conversation.messages import Media, Message
    from serval.language.generation.sampling import Sampling
    from serval.language.vision_language.model import Seen

    Speaker = Callable[[list[Message], Callable[[str], None]], str]


def chat(
    words: Annotated[str, typer.Argument(help="What you say first; without it you are asked.", show_default=False)] = "",
    model: Annotated[str, typer.Option(help="smollm2, a model's folder, or a GGUF file.")] = "smollm2",
    image: Annotated[list[Path] | None, typer.Option(help="A picture to talk about; may be given several times.")] = None,
    tokens: Annotated[int, typer.Option(min=1, max=4096, help="Of a reply at the most.")] = 256,
    temperature: Annotated[float, typer.Option(help="0 says the likeliest; 1 draws as the model was trained.")] = 0.0,
    seed: Annotated[int, typer.Option(help="The same seed draws the same words.")] = 0,
    once: Annotated[bool, typer.Option("--once", help="End after the first reply.")] = False,
) -> None:
    """Talk with a model on this machine, word by word as it speaks. An empty line ends.

    Examples:

        serval chat "name three fruits" --once

        serval chat --model models/qwen3-0.6b-q8_0.gguf

        serval chat --model models/SmolVLM-256M-Instruct --image door.jpg "who is at the door?"
    """
    from serval.conversation.messages import Message
    from serval.language.generation.sampling import Sampling

    speak = _speaker(model, image or [], tokens, Sampling(temperature=temperature, seed=seed))
    said: list[Message] = []
    while words or (not once and (words := _asked())):
        said.append(Message.of("user", words))
        reply = speak(said, lambda text: typer.echo(text, nl=False))
        typer.echo("")
        said.append(Message.of("assistant", reply))
        words = ""
        if once:
            return


def _asked() -> str:
    """The next line of a person; nothing at the end of what is piped in."""
    if sys.stdin.isatty():
        typer.echo("> ", nl=False)
    return sys.stdin.readline().strip()


def _speaker(model: str, images: list[Path], tokens: int, sampling: Sampling) -> Speaker:
    """What replies to the messages so far."""
    from serval.refusal import Refusal

    if model == "smollm2" or _reads_words(Path(model)):
        if images:
            raise Refusal(images[0].name, f"{model} cannot see pictures", "give the folder of one that can as --model")
        from serval.language.chat_model import ChatModel

        small = ChatModel.open() if model == "smollm2" else ChatModel.from_files(Path(model))
        return lambda messages, tell: small.reply(messages, max_tokens=tokens, on_text=tell, sampling=sampling)
    from serval.conversation.messages import Media
    from serval.language.vision_language.chat import open_seeing_model
    from serval.media.image import read_image

    shown: dict[Media, Seen] = {Media(kind="image", path=str(path)): read_image(path) for path in images}
    seeing = open_seeing_model(Path(model))

    def speak(messages: list[Message], tell: Callable[[str], None]) -> str:
        first = messages[0].model_copy(update={"parts": (*shown, *messages[0].parts)})
        return seeing.reply([first, *messages[1:]], shown, max_tokens=tokens, on_text=tell, sampling=sampling)

    return speak


def _reads_words(path: Path) -> bool:
    """The files are of a language model that is known here, without eyes."""
    if path.suffix == ".gguf":
        return True
    from serval.encoders.tower_files import TowerFiles
    from serval.language.families import FAMILIES

    return TowerFiles(path).config().get("model_type") in FAMILIES
