"""VITA: states that come first, towers whose tokens are counted, and two lanes of one model of which noise leaves no trace."""

import numpy as np
import pytest
import torch

from serval.connectors.grid_reducer import depth_to_space, space_to_depth
from serval.conversation.sequence import IGNORED, Modality
from serval.data.worlds.requests import CODES
from serval.encoders.sound import Sound
from serval.encoders.speech_tower import moments
from serval.refusal import Refusal
from serval.systems.assistants.spoken_requests import LETTER, NUMBER, colours, requests
from serval.systems.assistants.vita import (
    SYSTEM,
    TINY_LAYOUT,
    Ask,
    State,
    as_turns,
    recipe,
    sound_tokens,
    stages,
)
from serval.systems.assistants.vita_conversation import Conversation
from serval.training.objectives.next_token import NextToken
from serval.training.parameters import chosen

TINY = SYSTEM.sizes["tiny"]


@pytest.fixture(scope="module")
def model():
    made = SYSTEM.new()
    torch.manual_seed(3)
    for name, parameter in made.named_parameters():
        if "norm" not in name and parameter.ndim > 1:
            torch.nn.init.normal_(parameter, std=0.15)
    return made.eval().requires_grad_(False)


def mel(frames, seed=0):
    return torch.randn(frames, 40, generator=torch.Generator().manual_seed(seed)) * 3 + 10


class TestTowers:
    def test_patches_in_depth_are_a_permutation(self):
        features = torch.arange(32 * 32 * 1024).view(1, 32, 32, 1024)
        shuffled = space_to_depth(features, 2)
        assert shuffled.shape == (1, 16, 16, 4096) and torch.equal(depth_to_space(shuffled, 2), features)
        assert torch.equal(shuffled.flatten().sort().values, features.flatten())

    @pytest.mark.parametrize("frames", [*range(1, 60), 199, 200, 333, 1000])
    def test_sound_has_the_tokens_of_the_formula_or_is_refused(self, model, frames):
        if frames < 7:
            with pytest.raises(Refusal, match="7"):
                model.hear([mel(frames)])
            with pytest.raises(ValueError, match="no token"):
                sound_tokens(frames)
        else:
            assert model.hear([mel(frames)])[0].shape == (sound_tokens(frames), 96)

    def test_the_formula_is_that_of_its_parts_for_all_lengths(self):
        assert all(sound_tokens(frames) == -(-moments(frames) // 2) for frames in range(7, 1001)) and sound_tokens(200) == 25

    def test_sounds_in_company_are_as_alone(self, model):
        together = model.hear([mel(40), mel(90, 1)])
        for found, alone in zip(together, [model.hear([mel(40)])[0], model.hear([mel(90, 1)])[0]], strict=True):
            torch.testing.assert_close(found, alone, atol=1e-4, rtol=1e-4)

    def test_a_picture_is_its_tiles_and_the_whole(self):
        tower = {"model_type": "dinov2", "hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2}
        model = SYSTEM.new(TINY.model_copy(update={"eyes": {**tower, "image_size": 56, "patch_size": 14}}))
        for (height, width), tiles in [((50, 50), 1), ((60, 120), 3), ((300, 100), 13)]:
            seen = model.look(np.zeros((height, width, 3), np.uint8))
            assert seen.shape == (tiles, 4, 4, 16) and model.see(seen).shape == (tiles * 4, 96)

    def test_the_real_one_has_the_card_s_tokens_and_sizes(self):
        model = SYSTEM.empty("mixtral-8x7b")
        seen = torch.empty(13, 32, 32, 1024, device="meta")
        assert model.see(seen).shape == (3328, 4096) and model.decoder.embed_tokens.weight.shape == (51760, 4096)
        counts = {name: sum(each.numel() for each in part.parameters()) / 1e6 for name, part in model.named_children()}
        assert 300 < counts["eyes"] < 310 and 330 < counts["ears"] < 370 and 46_000 < counts["decoder"] < 48_000


class TestTurns:
    ASKS = (
        Ask(sound=mel(60), reply=(3, 50, 0)),
        Ask(sound=mel(33), reply=(4, 50, 0)),
        Ask(words=(20, 21), reply=(5, 50, 0)),
        Ask(words=(20,), seen=torch.randn(2, 4, 4, 8), reply=(5, 51, 0)),
    )

    def test_the_first_label_is_the_state_and_media_have_none(self, model):
        sequence = model.sequences(self.ASKS)
        for row, ask in enumerate(self.ASKS):
            labels = sequence.labels[row][sequence.labels[row] != IGNORED]
            assert tuple(labels.tolist()) == ask.reply and int(labels[0]) == TINY_LAYOUT.states[row if row < 2 else 2][0]
        media = sequence.modality != Modality.TEXT
        assert (sequence.labels[media] == IGNORED).all()
        assert media.sum(1).tolist() == [sound_tokens(60), sound_tokens(33), 0, 8]

    def test_pictures_come_before_words_and_prompts_are_of_their_kind(self, model):
        sequence = model.sequences(self.ASKS[2:])
        kinds = sequence.modality[1].tolist()
        first = kinds.index(Modality.IMAGE)
        assert kinds[:first] == [Modality.TEXT] * first and kinds[first : first + 8] == [Modality.IMAGE] * 8
        embeds = model.decoder.embed(torch.tensor(TINY_LAYOUT.prompts[1]))
        torch.testing.assert_close(sequence.embeds[1, :2], embeds)
        torch.testing.assert_close(sequence.embeds[0, :1], embeds[:1])

    def test_a_row_in_company_learns_as_it_does_alone(self, model):
        objective = NextToken(sequence=as_turns)
        together = objective(model, {"asks": list(self.ASKS)}).total
        alone = sum(objective(model, {"asks": [each]}).total for each in self.ASKS)
        torch.testing.assert_close(together, alone, atol=1e-4, rtol=1e-5)

    def test_a_state_that_is_spelled_is_told_when_it_is_complete(self):
        spelled = TINY_LAYOUT.model_copy(update={"states": ((11, 12, 14), (11, 13, 14), (11, 15, 14))})
        assert spelled.state((11, 13)) is None and spelled.state((11, 13, 14, 40)) is State.NOT_FOR_ME
        assert spelled.state(()) is None and TINY_LAYOUT.state((50, 4)) is None

    def test_worlds_say_what_is_to_be_said(self):
        asks = requests(0, 8)
        states = {TINY_LAYOUT.state(each.reply) for each in asks}
        assert states == set(State) and all((each.sound is None) == bool(each.words) for each in asks)
        assert all(len(set(each.words) & set(range(LETTER, NUMBER))) == len(set(each.words)) for each in asks)
        assert len({each.reply for each in colours(0, 40)}) == 8


def says(model, monkeypatch, script):
    """Let the model's words be known: from the ids of a turn to what it says; sounds are told by their length."""
    decoder, table = model.decoder, {}

    def logits(self, tokens, cache=None, *, last=False, **_):
        self.read(tokens, cache)
        kinds = tokens.modality[0].tolist()
        key = len([each for each in kinds if each == Modality.AUDIO])
        ids = [int((decoder.embed_tokens.weight - row).abs().sum(1).argmin()) for row in tokens.embeds[0]]
        if ids[-1] == TINY_LAYOUT.bot[-1]:
            table[id(cache)] = list(script[key or tuple(each for each in ids if each >= LETTER)])
        made = torch.full((1, 1, 64), -1.0)
        left = table[id(cache)] if table.get(id(cache)) else [0]
        made[0, 0, left.pop(0)] = 1.0
        return made

    monkeypatch.setattr(type(decoder), "forward", logits)


SCRIPT = {
    (20, 21): [5, 50, 51, 52, 53, 0],  # typed
    sound_tokens(100): [3, 40, 41, 0],  # a question
    sound_tokens(60): [4],  # noise
}


class TestLanes:
    TYPED, QUESTION, NOISE = Ask(words=(20, 21)), Ask(sound=mel(100)), Ask(sound=mel(60))

    @pytest.fixture
    def talk(self, model, monkeypatch):
        says(model, monkeypatch, SCRIPT)
        return Conversation(model, 200, most=16)

    def test_noise_puts_nothing_on_the_queue_and_leaves_history_and_cache_as_they_were(self, talk):
        cache, before = talk._caches[1], talk.prefilled
        length = cache.length
        talk.hear(self.NOISE)
        assert talk.step() and not talk.step()
        assert not talk.voice and not talk.history and talk._caches == [None, cache] and cache.length == length
        assert talk.prefilled - before == 1 + sound_tokens(60) + 1  # user, the sound, bot: no prompt is read again

    def test_what_is_said_is_spoken_without_its_state_and_remembered(self, talk):
        talk.hear(self.TYPED)
        spoken = []
        while talk.step():
            while (word := talk.voice.take()) is not None:
                spoken.append(word)
        assert spoken == [(0, each) for each in (50, 51, 52, 53)] and talk.history == [(self.TYPED, (50, 51, 52, 53))]

    def test_noise_while_it_speaks_changes_no_word(self, talk):
        talk.hear(self.TYPED)
        talk.step()
        talk.hear(self.NOISE)
        talk.run()
        assert talk.history == [(self.TYPED, (50, 51, 52, 53))] and talk.duplex.spoke == 0

    def test_a_question_silences_the_answer_that_is_under_way(self, talk):
        talk.hear(self.TYPED)
        for _ in range(2):
            talk.step()
        talk.hear(self.QUESTION)
        spoken = []
        while talk.step():
            while (word := talk.voice.take()) is not None:
                spoken.append(word)
        assert [number for number, _ in spoken] == sorted(number for number, _ in spoken)
        assert talk.history == [(self.TYPED, (50, 51)), (self.QUESTION, (40, 41))]
        assert [word for word in spoken if word[0] == 1] == [(1, 40), (1, 41)]

    def test_many_requests_are_all_judged_in_turn(self, talk):
        for ask in (self.NOISE, self.TYPED, self.NOISE, self.QUESTION):
            talk.hear(ask)
        talk.run()
        assert [ask for ask, _ in talk.history] == [self.TYPED, self.QUESTION] and talk.duplex.waiting == 0

    def test_before_a_cache_is_full_all_but_the_prompt_is_forgotten(self, model, monkeypatch):
        says(model, monkeypatch, SCRIPT)
        talk = Conversation(model, 60, most=16)
        for _ in range(8):
            talk.hear(self.QUESTION)
            talk.run()
        assert len(talk.history) == 8 and talk._caches[talk.duplex.spoke].length <= 60


@torch.inference_mode()
def test_a_fork_reads_what_a_new_conversation_would(model):
    """The lane that judges sees the prompt, the question and the words so far, though it has read none of them itself."""
    talk = Conversation(model, 300, most=4)
    talk.hear(Ask(words=(20, 21)))
    talk._judge(0, Ask(words=(20, 21)))
    talk._act(talk.duplex.judged(True))
    said = [*talk._said[0], talk._next[0]]
    found = talk._judge(1, Ask(words=(22,)))
    assert found is TINY_LAYOUT.state(talk._said[1])
    ids = [*TINY_LAYOUT.prompts[2], 1, 20, 21, 2, *said, 0, 1, 22, 2, *talk._said[1]]
    whole = model.decoder(torch.tensor([ids]), last=True)[0, 0]
    assert int(whole.argmax()) == talk._next[1] and talk._caches[1].length == len(ids)


def test_answers_in_a_batch_are_those_of_a_conversation(model):
    asks = [Ask(words=(20, 21)), Ask(sound=mel(60)), Ask(words=(25,))]
    batch = model.answers(asks, most=5)
    for ask, said in zip(asks, batch, strict=True):
        assert model.answers([ask], most=5) == [said] and len(said) <= 5


def test_stages_are_the_paper_s():
    config = SYSTEM.sizes["mixtral-8x7b"]
    model = SYSTEM.empty(config)
    parts = [{name.split(".")[0] for name in chosen(model, stage)} for stage in stages(config)]
    assert parts == [{"projector"}, {"ears", "adapter"}, {"decoder", "projector"}, {"decoder", "projector"}]
    assert [stage.name for stage in recipe(size="mixtral-8x7b").stages] == [stage.name for stage in stages(config)]


@pytest.mark.parametrize("number", range(4))
def test_every_stage_lets_its_parts_learn(number):
    made = recipe(batch=4)
    stage = made.stages[number]
    model = SYSTEM.new()
    batch = next(iter(made.data[stage.mixture](stage)))
    named = dict(model.named_parameters())
    stage.objective(model, batch).total.backward()
    learns = [name for name in chosen(model, stage) if name.split(".")[0] != "projector" or stage.mixture == "pictures"]
    assert learns and all(
        named[name].grad is not None and named[name].grad.abs().max() > 0 for name in learns if "bias" not in name
    )


def test_sound_may_come_as_codes():
    model = SYSTEM.new(TINY.model_copy(update={"ears": CODES}))
    asks = requests(0, 4, codes=True)
    sequence = model.sequences(asks)
    heard = (sequence.modality == Modality.AUDIO).sum(1).tolist()
    assert heard == [0 if each.sound is None else len(each.sound) for each in asks] and max(heard) > 15
    with pytest.raises(ValueError, match="no ears of its own"):
        model.prepare(Sound(np.zeros(4000, np.float32), 16_000))


def test_a_sound_is_heard_as_it_was_learned(model):
    wave = np.random.default_rng(0).normal(0, 0.1, 16_000).astype(np.float32)
    assert model.prepare(Sound(wave, 16_000)).shape == (98, 40)
