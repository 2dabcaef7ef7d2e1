"""A LoRA in a frozen SmolLM2: taught one answer, then saved for PEFT. `python examples/add_adapter.py [FOLDER]`"""

import sys
from pathlib import Path

import torch
from torch.nn.functional import cross_entropy

from serval.adapters.peft_format import add_adapters, causal_lm_names, save_adapters
from serval.conversation.chat import ChatML
from serval.conversation.messages import Message
from serval.conversation.tokenizer import Tokenizer
from serval.language.generation.generate import generate
from serval.language.generation.session import DecoderSession
from serval.language.load import load_decoder
from serval.weights import locate

folder = locate("smollm2", "model.safetensors").parent
decoder, tokenizer, chat = load_decoder(folder), Tokenizer(folder / "tokenizer.json"), ChatML()
prompt = chat.encode(tokenizer, [Message.of("user", "Where does the serval sit?")])
answer = [*tokenizer.encode("On the windowsill, watching the birds."), *chat.stops(tokenizer)]
torch.manual_seed(0)
adapters = add_adapters(decoder, ["q_proj", "v_proj"], rank=8)  # at first nothing changes
optimizer = torch.optim.AdamW([each for adapter in adapters for each in adapter.parameters() if each.requires_grad], lr=2e-3)
for step in range(13):
    loss = cross_entropy(decoder(torch.tensor([prompt + answer]))[0, len(prompt) - 1 : -1], torch.tensor(answer))
    optimizer.zero_grad(), loss.backward(), optimizer.step()
    if step % 6 == 0:  # before it has learnt anything, half way, and at the end
        said = generate(DecoderSession(decoder, 100), prompt, stops=chat.stops(tokenizer), most=20)
        print(f"step {step}, loss {loss.item():.2f}: {tokenizer.decode(said)}")
save_adapters(decoder, Path(sys.argv[1] if len(sys.argv) > 1 else "runs/adapter"), names=causal_lm_names)
