"""`serval chat`: a word with a model, about pictures if it sees."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:
    from serval.conversation.messages import Media, Message
    from serval.conversation.tokenizer import Tokenizer
    from serval.language.generation.constraint import Constraint
    from serval.language.vision_language.model import Seen

    Reply = Callable[..., str]  # `ChatModel.reply` but for the messages' pictures

_MOST_BYTES = 262_144  # of a file with a schema; 65,536 characters are its limit


def chat(
    words: Annotated[str, typer.Argument(help="What you say first; without it you are asked.", show_default=False)] = "",
    model: Annotated[str, typer.Option(help="smollm2, a model's folder, or a GGUF file.")] = "smollm2",
    image: Annotated[list[Path] | None, typer.Option(help="A picture to talk about; may be given several times.")] = None,
    tokens: Annotated[int, typer.Option(min=1, max=4096, help="Of a reply at the most.")] = 256,
    temperature: Annotated[float, typer.Option(help="0 says the likeliest; 1 draws as the model was trained.")] = 0.0,
    seed: Annotated[int, typer.Option(help="The same seed draws the same words.")] = 0,
    schema: Annotated[Path | None, typer.Option(help="A file with a JSON Schema: replies are JSON of it.")] = None,
    regex: Annotated[str | None, typer.Option(help="Replies are what this expression matches from end to end.")] = None,
    logprobs: Annotated[
        int | None, typer.Option(min=0, max=20, help="Show each token's log-probability, and so many of the likeliest.")
    ] = None,
    once: Annotated[bool, typer.Option("--once", help="End after the first reply.")] = False,
) -> None:
    """Talk with a model on this machine, word by word as it speaks. An empty line ends.

    Examples:

        serval chat "name three fruits" --once

        serval chat --model models/qwen3-0.6b-q8_0.gguf

        serval chat --model models/SmolVLM-256M-Instruct --image door.jpg "who is at the door?"

        serval chat "a cat and two dogs: how many animals?" --schema animals.json --once

        serval chat "is ice cold?" --regex "yes|no" --logprobs 2 --once
    """
    from serval.conversation.messages import Message
    from serval.language.generation.sampling import Sampling

    content = _schema(schema, regex)  # before a model is loaded
    reply, tokenizer = _model(model, image or [])
    options: dict[str, Any] = {"max_tokens": tokens, "sampling": Sampling(temperature=temperature, seed=seed)}
    if tokenizer is not None:
        options |= {"constraint": _constraint(content, regex, tokenizer), "logprobs": logprobs}
    elif content is not None or regex is not None or logprobs is not None:
        from serval.refusal import Refusal

        raise Refusal(model, "transformers runs it, and tells no log-probabilities and takes no schema", "leave them out")
    said: list[Message] = []
    while words or (not once and (words := _asked())):
        said.append(Message.of("user", words))
        lines: list[str] = []
        if tokenizer is not None and logprobs is not None:
            options["on_step"] = lambda step, lines=lines: lines.append(_line(step, tokenizer))
        heard = reply(said, on_text=lambda text: typer.echo(text, nl=False), **options)
        typer.echo("".join(f"\n{line}" for line in lines))
        said.append(Message.of("assistant", heard))
        words = ""
        if once:
            return


def _asked() -> str:
    """The next line of a person; nothing at the end of what is piped in."""
    if sys.stdin.isatty():
        typer.echo("> ", nl=False)
    return sys.stdin.readline().strip()


def _model(model: str, images: list[Path]) -> tuple[Reply, Tokenizer | None]:
    """What replies to the messages so far; and its tokenizer, unless it is transformers' to run."""
    from serval.refusal import Refusal

    if model == "smollm2" or _reads_words(Path(model)):
        if images:
            raise Refusal(images[0].name, f"{model} cannot see pictures", "give the folder of one that can as --model")
        from serval.language.chat_model import ChatModel

        small = ChatModel.open() if model == "smollm2" else ChatModel.from_files(Path(model))
        return small.reply, small.tokenizer
    from serval.conversation.messages import Media
    from serval.language.vision_language.chat import PictureChat, open_seeing_model
    from serval.media.image import read_image

    shown: dict[Media, Seen] = {Media(kind="image", path=str(path)): read_image(path) for path in images}
    seeing = open_seeing_model(Path(model))

    def reply(messages: list[Message], **options: Any) -> str:
        first = messages[0].model_copy(update={"parts": (*shown, *messages[0].parts)})
        return seeing.reply([first, *messages[1:]], shown, **options)

    return reply, seeing.speech.tokenizer if isinstance(seeing, PictureChat) else None


def _schema(path: Path | None, regex: str | None) -> Any:
    """The content of the file; None where there is none."""
    import json

    from serval.refusal import Refusal

    if path is None:
        return None
    if regex is not None:
        raise Refusal("--schema and --regex", "a reply can be held to one of them", "leave one out")
    try:
        with path.open("rb") as file:
            text = file.read(_MOST_BYTES + 1)
        if len(text) > _MOST_BYTES:
            raise Refusal(str(path), f"a schema has at most {_MOST_BYTES:,} bytes", "make it smaller")
        content = json.loads(text)
    except OSError as error:
        raise Refusal(str(path), f"it cannot be read ({error.strerror})", "name a file of JSON") from None
    except (ValueError, RecursionError):
        raise Refusal(str(path), "it is not JSON", "name a file of JSON") from None
    if not isinstance(content, dict | bool):
        raise Refusal(str(path), "it is no JSON Schema", 'begin with {"type": "object"')
    return content


def _constraint(schema: Any, regex: str | None, tokenizer: Tokenizer) -> Constraint | None:
    from serval.language.generation.constraint import Constraint, ConstraintVocabulary

    if schema is not None:
        return Constraint.json_schema(schema, ConstraintVocabulary(tokenizer))
    return None if regex is None else Constraint.regex(regex, ConstraintVocabulary(tokenizer))


def _line(step: Any, tokenizer: Tokenizer) -> str:
    """A token with its log-probability, then the likeliest with theirs."""

    def shown(token: int, logprob: float) -> str:
        return f"{logprob:8.3f} {tokenizer.decode([token])!r}"

    return "".join(f"{each:<24}" for each in [shown(step.token, step.logprob), *(shown(*each) for each in step.top)]).rstrip()


def _reads_words(path: Path) -> bool:
    """The files are of a language model that is known here, without eyes."""
    if path.suffix == ".gguf":
        return True
    from serval.encoders.tower_files import TowerFiles
    from serval.language.families import FAMILIES

    return TowerFiles(path).config().get("model_type") in FAMILIES
