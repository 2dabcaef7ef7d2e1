"""Asking aloud and being answered aloud; whoever begins to talk is not talked over."""

import io
import wave
from functools import partial

import numpy as np
import pytest
from playwright.sync_api import expect

from serval.weights import locate
from tests.serving.clip import hand_in
from tests.serving.page.speech import speech


@pytest.fixture
def watched(service):
    """A service with a stream that has seen something, and goes on."""
    client = service.client()
    stream = client.post("/v1/streams", json={"instructions": ["describe every new scene"]}).json()["id"]
    hand_in(client, stream, seconds=2)
    return service


def answer(status, content, route):
    route.fulfill(status=status, json=content)


def tone(seconds=30):
    file = io.BytesIO()
    with wave.open(file, "wb") as made:
        made.setnchannels(1)
        made.setsampwidth(2)
        made.setframerate(16_000)
        made.writeframes((np.sin(np.arange(16_000 * seconds) / 6) * 3000).astype("<i2").tobytes())
    return file.getvalue()


PLAYING = "() => window.players.some((each) => !each.paused)"
PLAYERS = """
    window.players = [];
    const play = HTMLAudioElement.prototype.play;
    HTMLAudioElement.prototype.play = function () { if (this.src) window.players.push(this); return play.call(this); };
"""


def asked_aloud(page, url):
    """The answer to a question is being spoken: by a voice that takes half a minute."""
    page.add_init_script(PLAYERS)
    page.route("**/v1/audio/speech", lambda route: route.fulfill(content_type="audio/wav", body=tone()))
    page.goto(url)
    page.get_by_role("button", name="Speak aloud").click()
    expect(page.locator("#events li.utterance").first).to_be_visible()
    ask_and_hear(page)


def ask_and_hear(page):
    page.get_by_label("A question about what was seen").fill("what happened?")
    page.keyboard.press("Enter")
    expect(page.locator("#caption")).to_be_visible()
    expect(page.locator("#caption-words")).to_have_text(page.locator("#answers .answer").first.inner_text())
    while not page.evaluate(PLAYING):
        page.wait_for_timeout(20)


def test_what_is_spoken_is_captioned_and_ends_when_the_person_talks_or_says_so(watched, visit):
    page = visit("about:blank")
    asked_aloud(page, watched.url)
    page.locator("#talk").hover()
    page.mouse.down()
    assert page.evaluate(PLAYING) is False
    expect(page.locator("#caption")).to_be_hidden()
    expect(page.locator("#answers > li").first).to_contain_text("interrupted")
    expect(page.locator("#talk-state")).to_have_text("Listening …")
    page.mouse.up()

    ask_and_hear(page)
    page.keyboard.press("Escape")
    assert page.evaluate(PLAYING) is False
    expect(page.locator("#caption")).to_be_hidden()


def test_a_service_that_cannot_hear_or_speak_says_so(watched, visit):
    page = visit("about:blank")
    for status in (404, 501):
        problem = {"error": {"message": "no", "type": "server_error", "param": None, "code": str(status)}}
        page.unroute_all()
        page.route("**/v1/audio/*", partial(answer, status, problem))
        page.goto(watched.url)
        expect(page.locator("#events li.utterance").first).to_be_visible()
        talk(page)
        expect(page.locator("#talk-state")).to_contain_text("Talking is off")
        expect(page.locator("#talk")).to_be_disabled()
    page.get_by_role("button", name="Speak aloud").click()
    page.get_by_label("A question about what was seen").fill("what happened?")
    page.keyboard.press("Enter")
    expect(page.locator("#caption-words")).to_contain_text("not spoken: there is no voice here")


def test_a_question_is_asked_aloud_held_and_hands_free(watched, visit):
    locate("whisper")
    if speech() is None:
        pytest.skip("optional: the part stamps, whose voice the microphone hears")
    page = visit("about:blank")
    asked_aloud(page, watched.url)
    microphone = page.get_by_role("button", name="Microphone")
    microphone.click()
    answers = page.locator("#answers > li")
    expect(answers.last).to_contain_text("interrupted")  # as somebody talks
    expect(page.locator("#answers > li .question").first).not_to_have_text("what happened?")
    expect(answers.first.locator(".answer")).not_to_have_text("…")
    microphone.click()
    expect(page.locator("#hearing")).to_be_hidden()
    page.get_by_role("button", name="Speak aloud").click()

    before = answers.count()
    talk(page)
    expect(page.locator("#talk-state")).to_contain_text("Heard: ")
    words = page.locator("#talk-state").inner_text().removeprefix("Heard: ")
    expect(answers.first.locator(".question")).to_have_text(words)
    expect(answers.first.locator(".answer")).not_to_have_text("…")
    assert answers.count() > before


def talk(page):
    page.locator("#talk").hover()
    page.mouse.down()
    expect(page.locator("#talk-state")).to_have_text("Listening …")
    page.wait_for_timeout(2500)  # it is held while somebody speaks
    page.mouse.up()
