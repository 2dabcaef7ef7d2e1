"""Asking aloud and being answered aloud; whoever begins to talk is not talked over."""

import io
import wave
from functools import partial

import numpy as np
import pytest
from playwright.sync_api import expect

from serval.weights import PartMissing, locate
from tests.serving.clip import hand_in
from tests.serving.page.speech import QUESTION


@pytest.fixture
def watched(service):
    """A service with a stream that has seen something, and goes on."""
    client = service.client()
    stream = client.post("/v1/streams", json={"instructions": ["describe every new scene"]}).json()["id"]
    hand_in(client, stream, seconds=3)
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


@pytest.mark.usefixtures("detector")
def test_a_question_is_asked_aloud_and_answered_aloud(watched, visit):
    """With the recogniser and the voice themselves: held, then hands-free."""
    needs("whisper", "hibari")
    page = visit("about:blank")
    page.add_init_script(PLAYERS)
    page.goto(watched.url)
    expect(page.locator("#events li.utterance").first).to_be_visible()
    page.get_by_role("button", name="Speak aloud").click()
    talk(page, 4000)
    expect(page.locator("#talk-state")).to_contain_text("Heard: ")
    answers = page.locator("#answers > li")
    expect(answers.first.locator(".question")).to_have_text(QUESTION)
    expect(answers.first.locator(".answer")).to_contain_text("at the same time")
    expect(page.locator("#caption-words")).to_have_text(answers.first.locator(".answer").inner_text())
    while not page.evaluate("() => window.players.some((each) => each.currentTime > 0)"):  # it is to be heard
        page.wait_for_timeout(20)
    expect(page.locator("#caption")).to_be_hidden()

    microphone = page.get_by_role("button", name="Microphone")
    microphone.click()
    expect(answers).to_have_count(2)
    expect(answers.first.locator(".question")).to_have_text(QUESTION)
    expect(answers.first.locator(".answer")).to_contain_text("at the same time")
    microphone.click()
    expect(page.locator("#hearing")).to_be_hidden()


def test_hands_free_whoever_talks_is_not_talked_over(watched, visit):
    needs("hibari")
    page = visit("about:blank")
    page.route("**/v1/audio/transcriptions", lambda route: route.fulfill(json={"text": "how many vehicles were there?"}))
    asked_aloud(page, watched.url)
    page.get_by_role("button", name="Microphone").click()
    answers = page.locator("#answers > li")
    expect(answers.last).to_contain_text("interrupted")
    expect(answers.first.locator(".question")).to_have_text("how many vehicles were there?")


def needs(*parts):
    for part in parts:
        try:
            locate(part)
        except PartMissing as missing:
            pytest.skip(f"optional: {missing}")


def talk(page, milliseconds=1500):
    """Hold the button while somebody speaks."""
    page.locator("#talk").hover()
    page.mouse.down()
    expect(page.locator("#talk-state")).to_have_text("Listening …")
    page.wait_for_timeout(milliseconds)
    page.mouse.up()
