"""What was said, when and why; what was seen; and every form in which to hand it on."""

from serval.assistant.timeline.run import RunInfo as RunInfo
from serval.assistant.timeline.run import SourceInfo as SourceInfo
from serval.assistant.timeline.timeline import Timeline as Timeline
from serval.assistant.timeline.timeline import TraceRow as TraceRow
