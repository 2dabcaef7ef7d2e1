"""The page for everybody: screen readers, keyboards, phones; light and dark."""

import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import expect

from tests.serving.clip import hand_in


def serious(page):
    """What axe finds that is more than a matter of taste."""
    found = Axe().run(page).response["violations"]
    return [
        f"{each['id']} ({each['impact']}): {[node['html'] for node in each['nodes']][:3]}"
        for each in found
        if each["impact"] in ("serious", "critical", "moderate")
    ]


@pytest.fixture
def watched(service):
    """A service with a stream that has said something, and goes on."""
    client = service.client()
    told = ["describe every new scene", "tell me when a person comes in"]
    stream = client.post("/v1/streams", json={"instructions": told}).json()["id"]
    hand_in(client, stream, seconds=4)
    return service


@pytest.mark.usefixtures("detector")
def test_it_is_for_everybody(watched, visit):
    page = visit(watched.url)
    expect(page.locator("#events li.utterance").first).to_be_visible()
    page.get_by_label("A question about what was seen").fill("how many vehicles were there?")
    page.keyboard.press("Enter")
    expect(page.locator("#answers .answer").first).not_to_have_text("…")
    for scheme in ("light", "dark"):
        page.emulate_media(color_scheme=scheme)
        assert serious(page) == [], scheme
        page.locator("#events li.utterance button").last.focus()
        page.keyboard.press("Enter")
        expect(page.locator("#moment-picture")).to_be_visible()
        expect(page.locator("#moment-table table")).to_be_visible()
        assert serious(page) == [], f"a moment, {scheme}"
        page.keyboard.press("Escape")
        expect(page.locator("#moment")).to_be_hidden()
        assert page.evaluate("() => document.activeElement.className") == "moment-of"  # the focus is back where it was

    page.emulate_media(color_scheme="light")
    for width in (390, 320):
        page.set_viewport_size({"width": width, "height": 844})
        assert page.evaluate("() => document.documentElement.scrollWidth") == width
        assert serious(page) == [], f"{width} wide"
        page.locator("#events li.utterance button").last.click()
        expect(page.locator("#moment-picture")).to_be_visible()
        assert page.evaluate("() => document.documentElement.scrollWidth") == width
        page.keyboard.press("Escape")


def test_nothing_yet_and_no_key_are_for_everybody_too(serve, key, visit):
    right = key("anna")
    service = serve()
    wrong = "serval-0000-wrong"
    page = visit(f"{service.url}/#key={wrong}", http_credentials={"username": "anna", "password": right}, color_scheme="dark")
    expect(page.get_by_role("dialog", name="A key, please")).to_be_visible()
    assert serious(page) == [], "the key's box"
    page.keyboard.type(right)  # it has the focus already
    page.keyboard.press("Enter")
    expect(page.locator("#nothing")).to_be_visible()
    assert serious(page) == [], "nothing yet"


def test_colours_are_chosen_and_remembered(service, visit):
    page = visit(service.url, color_scheme="light")
    ground = "() => getComputedStyle(document.body).backgroundColor"
    light = page.evaluate(ground)
    page.get_by_role("button", name="Colours").click()
    page.get_by_role("button", name="Colours").click()
    dark = page.evaluate(ground)
    assert dark != light
    page.reload()
    expect(page.get_by_role("button", name="Colours: dark")).to_be_visible()
    assert page.evaluate(ground) == dark


def test_the_keyboard_reaches_everything_in_order(service, visit):
    page = visit(service.url)
    expect(page.locator("#nothing")).to_be_visible()
    reached = []
    for _ in range(30):
        page.keyboard.press("Tab")
        reached.append(page.evaluate("() => document.activeElement.id || document.activeElement.textContent.trim()"))
    wanted = ["Go to the content", "aloud", "theme", "Camera", "Turn on the camera", "wanted", "question", "talk", "search"]
    places = [reached.index(each) for each in wanted]
    assert places == sorted(places)
