"""A question about a picture. `python examples/chat_about_a_picture.py MODEL_FOLDER PICTURE "What is in it?"`

The folder is that of LLaVA, LLaVA-NeXT, LLaVA-OneVision, SmolVLM, Idefics3, InternVL, Qwen2-VL, Qwen2.5-VL, or any other that
transformers opens as AutoModelForImageTextToText.
"""

import sys
from pathlib import Path

from serval.conversation.messages import Media, Message, Text
from serval.language.vision_language.chat import open_seeing_model
from serval.media.image import read_image

folder, picture, question = sys.argv[1:4]
model = open_seeing_model(Path(folder))
shown = Media(kind="image", path=picture)
message = Message(role="user", parts=(shown, Text(text=question)))
model.reply([message], {shown: read_image(Path(picture))}, on_text=lambda text: print(text, end="", flush=True))
print()
