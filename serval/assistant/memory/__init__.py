"""What a watch still holds of what it saw, under one hard cap."""

from serval.assistant.memory.memory import Eviction as Eviction
from serval.assistant.memory.memory import Keyframe as Keyframe
from serval.assistant.memory.memory import Layer as Layer
from serval.assistant.memory.memory import Memory as Memory
from serval.assistant.memory.note import Note as Note
