"""What people ask who watch a video with somebody: fifty ways and more each to ask for past, present and next, and to chat."""

from __future__ import annotations

from itertools import product
from typing import Literal

About = Literal["past", "present", "next", "chat"]

_OPENINGS = ("", "Hey, ", "Sorry, ", "One question: ")
_WAYS: dict[About, tuple[str, ...]] = {
    "past": (
        "what have I done so far?",
        "what did I just finish?",
        "can you sum up what happened until now?",
        "which steps are behind me?",
        "what was I doing before this?",
        "remind me what I have already done.",
        "what have I completed?",
        "tell me what happened while I was not paying attention.",
        "how did I get here?",
        "what were the last things I did?",
        "did I miss anything I was going to do?",
        "go over the steps I have finished.",
        "what have you seen me do?",
    ),
    "present": (
        "what am I doing right now?",
        "what is going on?",
        "which step am I on?",
        "describe what you see me do.",
        "what is happening at the moment?",
        "can you tell what I am busy with?",
        "what would you call this step?",
        "keep me posted on what I am doing.",
        "where am I in this?",
        "tell me the current step.",
        "what do my hands do?",
        "name what I am at.",
        "what is this part about?",
    ),
    "next": (
        "what comes next?",
        "tell me when the next step begins.",
        "what should I do after this?",
        "let me know what follows.",
        "which step is next?",
        "say when I start something new.",
        "what am I going to do then?",
        "guide me through what is ahead.",
        "what is left to do?",
        "tell me the next step when it is time.",
        "what happens afterwards?",
        "call out the following step.",
        "keep telling me what comes.",
    ),
    "chat": (
        "are you still there?",
        "can you see what I see?",
        "this is fun, isn't it?",
        "I hope this works out.",
        "thanks for your help.",
        "how do you like it so far?",
        "is the light good enough for you?",
        "I am a bit tired today.",
        "do you think I am doing well?",
        "it smells good in here.",
        "are you watching?",
        "wish me luck.",
        "stay with me, please.",
    ),
}


def _said(opening: str, words: str) -> str:
    return opening + words if opening else words[0].upper() + words[1:]


QUESTIONS: tuple[tuple[str, About], ...] = tuple(
    (_said(opening, words), about) for about, ways in _WAYS.items() for opening, words in product(_OPENINGS, ways)
)
