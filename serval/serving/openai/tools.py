"""Calls of functions: which one is picked by the model from their names, its arguments are JSON of its schema."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace

from serval.conversation.messages import Message, Text
from serval.language.generation.constraint import Constraint
from serval.serving.openai.asked import Function, Tools, held_to
from serval.serving.openai.speaker import Speaker, Wish
from serval.serving.problems import Problem

_WORDS = "answer"  # what is picked where no function is called


def choose(speaker: Speaker, tools: Tools, wish: Wish, cancelled: Callable[[], bool]) -> Function | None:
    """The function that is to be called; None for an answer in words. The model picks where the client leaves it to it.

    Raises:
        Problem: the model cannot be held to a form.
    """
    if tools.choice == "none":
        return None
    if not speaker.told:
        raise Problem(400, "the model of this server cannot call functions", "tools")
    if tools.named is not None:
        return tools.named
    names = [each.name for each in tools.functions]
    words = next(each for each in (_WORDS, f"-{_WORDS}") if each not in names)
    offered = names if tools.choice == "required" else [words, *names]
    lines = [f"- {each.name}: {each.description or 'a function'}" for each in tools.functions]
    if tools.choice != "required":
        lines.append(f"- {words}: anything else")
    before, behind = "\n".join(["Functions:", *lines, "", "Request: "]), "\nName of the function for this request:"
    picked = Constraint.regex("|".join(offered), speaker.vocabulary)
    said = speaker.say(
        replace(
            wish, messages=_wrapped(wish.messages, before, behind), max_tokens=64, stop=(), constraint=picked, logprobs=None
        ),
        cancelled,
        lambda piece: None,
    )
    return next((each for each in tools.functions if each.name == said.text), None)


def call_of(speaker: Speaker, function: Function, wish: Wish) -> Wish:
    """The wish for a call's arguments. Raises `Problem` for a schema that cannot be held to."""
    about = f": {function.description}" if function.description else ""
    before = f"Function {function.name}({_arguments(function)}){about}\nRequest: "
    behind = f"\nArguments of {function.name} for this request, as JSON:"
    return replace(
        wish,
        messages=_wrapped(wish.messages, before, behind),
        stop=(),
        constraint=held_to(speaker, function.schema_, "tools"),
    )


def _arguments(function: Function) -> str:
    """Their names, and what they are where that is said."""
    known = function.schema_.get("properties")
    if not isinstance(known, dict):
        return ""
    about = {name: each.get("description") if isinstance(each, dict) else None for name, each in known.items()}
    return ", ".join(f"{name} ({said})" if said else str(name) for name, said in about.items())


def _wrapped(messages: Sequence[Message], before: str, behind: str) -> list[Message]:
    """With words before and behind what the user said last: small models do what they read last."""
    last = messages[-1]
    if last.role != "user":
        return [*messages, Message.of("user", before.rpartition("\n")[0] + behind)]
    return [*messages[:-1], last.model_copy(update={"parts": (Text(text=before), *last.parts, Text(text=behind))})]
