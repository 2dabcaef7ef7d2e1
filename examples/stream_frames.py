"""A video goes into a session frame by frame; then a question. `python examples/stream_frames.py MODEL_FOLDER VIDEO "…?"`"""

import sys
from pathlib import Path

from serval.language.eviction import Recent
from serval.language.vision_language.model import VisionLanguageModel
from serval.language.vision_language.session import FrameSession
from serval.media.open_video import open_video

folder, video, question = sys.argv[1:4]
model = VisionLanguageModel.from_pretrained(Path(folder))
session = FrameSession(model, 6000, eviction=Recent(4000, sinks=32))  # memory ends here, however long the video
with open_video(video) as opened:
    for frame in opened.frames():
        if frame.time >= session.frames:  # one a second
            session.see(frame)
            print(f"{frame.time:6.1f} s  {session.held} entries held of {session.length} read")
print(session.ask(question, max_tokens=40))  # aside: the stream goes on as if nobody had asked
