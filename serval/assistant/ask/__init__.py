"""Questions about what was seen, answered from the run's own record."""

from serval.assistant.ask.answering import Reply as Reply
from serval.assistant.ask.answering import ask as ask
