"""Whatever the service passes on is text to the page, and the page runs nothing but its own files."""

import json

import pytest
from playwright.sync_api import expect

from serval.serving.routes.page import FILES

EVIL = "<img src=x onerror=\"document.title='owned'\"><script>document.title='owned'</script>"


def test_hostile_words_labels_and_names_are_text(service, visit):
    client = service.client()
    stream = client.post("/v1/streams", json={"instructions": [f"say when the “{EVIL}” sign is visible"]}).json()["id"]
    frame = "0" * 64
    evidence = {
        "time": 1.0,
        "frame": frame,
        "source": EVIL,
        "box": [0.1, 0.1, 0.5, 0.5],
        "label": EVIL,
        "score": 0.9,
        "text": EVIL,
    }
    why = {"gate": EVIL, "score": 1.0, "threshold": 0.5, "policy": "wake", "why": EVIL, "words": [], "untuned": None}
    event = {"id": EVIL, "kind": "utterance", "source": EVIL, "instruction": EVIL, "t_start": 1.0, "t_end": 1.0, "said_at": 1.0}
    event |= {"text": EVIL, "data": {}, "evidence": [evidence], "why_now": why, "unverified": EVIL}
    seen = {"source": EVIL, "instruction": EVIL, "gate": EVIL, "time": 1.0, "score": 1.0, "threshold": 0.5}
    seen |= {"action": EVIL, "why": EVIL, "outcome": EVIL}
    told = {"type": "serval.utterance", "stream": stream, "event": event}
    page = visit("about:blank")
    page.route("**/v1/timeline?*", lambda route: route.fulfill(json=[event]))
    page.route("**/v1/why?*", lambda route: route.fulfill(json={"text": EVIL, "said": [], "moments": [seen]}))
    answer = {"text": EVIL, "known": True, "evidence": [evidence], "unverified": EVIL}
    page.route("**/v1/ask", lambda route: route.fulfill(json=answer))
    page.route(
        "**/v1/events", lambda route: route.fulfill(content_type="text/event-stream", body=f"data: {json.dumps(told)}\n\n")
    )
    page.goto(service.url)
    expect(page.locator("#events .what")).to_have_text(EVIL)
    expect(page.locator("#cards .text")).to_contain_text("<img src=x")
    expect(page.locator(".tile .box span")).to_contain_text(EVIL)
    page.get_by_label("A question about what was seen").fill(EVIL)
    page.keyboard.press("Enter")
    expect(page.locator("#answers .answer")).to_have_text(EVIL)
    page.locator("#events button").first.click()
    expect(page.locator("#moment-words")).to_have_text(EVIL)
    expect(page.locator("#moment-table td").first).to_have_text(EVIL)
    assert page.title() == "Serval"
    assert page.locator("img[src=x]").count() == page.locator("body script").count() == 0


def test_no_box_and_no_outline_breaks_the_page_or_leaves_the_picture(service, visit):
    stream = service.client().post("/v1/streams", json={"instructions": ["tell me when a person comes in"]}).json()["id"]
    far = "1e999"  # no JSON of Serval's has it; to a browser it is infinity
    fine, wide = [[0.2, 0.2], [0.4, 0.2], [0.3, 0.6]], [[-9, -9], [9e9, -1], [0.5, far]]
    shapes = [
        fine,
        wide,
        [[0.1, 0.1]] * 100_000,
        [[EVIL, None], [{}], None],
        "x" * 99,
        {"length": 9},
        7,
        None,
        [[0, 0]] * 2,
        [],
    ]
    boxes = [[0.1, 0.1, 0.5, 0.7]] * len(shapes) + [[-5, far, 5, 5], [None] * 4, [], [EVIL] * 4, EVIL, {"left": 0}, 1]
    common = {"time": 1.0, "frame": "0" * 64, "source": "", "label": "person", "score": 0.9, "text": ""}
    evidence = [{**common, "box": box} for box in boxes]
    for each, shape in zip(evidence, shapes, strict=False):
        each["outline"] = shape
    event = {"id": "e", "kind": "utterance", "source": "s", "instruction": "i", "t_start": 1.0, "t_end": 1.0, "said_at": 1.0}
    event |= {"text": "A person.", "data": {}, "evidence": evidence, "why_now": None, "unverified": ""}
    body = json.dumps({"type": "serval.utterance", "stream": stream, "event": event}).replace(f'"{far}"', far)
    page = visit("about:blank")
    page.route("**/v1/timeline?*", lambda route: route.fulfill(json=[]))
    page.route("**/v1/events", lambda route: route.fulfill(content_type="text/event-stream", body=f"data: {body}\n\n"))
    page.goto(service.url)
    shown = page.locator(".tile .outlines polygon")
    expect(shown).to_have_count(3)
    corners = shown.evaluate_all("(all) => all.map((each) => [...each.points].map(({x, y}) => [x, y]))")
    assert corners[0] == [[pytest.approx(x), pytest.approx(y)] for x, y in fine]
    assert all(0 <= value <= 1 for shape in corners for corner in shape for value in corner)
    sizes = "(all) => all.map(({style}) => [style.left, style.top, style.width, style.height])"
    sizes = page.locator(".tile .box").evaluate_all(sizes)
    assert len(sizes) == 12 and all(0 <= float(each.removesuffix("%")) <= 100 for size in sizes for each in size)
    expect(page.locator(".tile .words")).to_have_text("A person.")
    assert page.title() == "Serval"


def test_even_markup_that_got_in_would_run_nothing_and_reach_nobody(service, browser):
    context = browser.new_context()
    page = context.new_page()
    stopped = []
    page.on("console", lambda said: stopped.append(said.text) if "Content Security Policy" in said.text else None)
    page.goto(service.url)
    page.evaluate("(evil) => document.body.insertAdjacentHTML('beforeend', evil)", EVIL)
    page.evaluate(
        """() => {
            const made = document.createElement("script");
            made.textContent = "document.title = 'owned'";
            document.body.append(made);
        }"""
    )
    reached = page.evaluate("() => fetch('http://127.0.0.2:9/').then(() => 'reached', (error) => error.name)")
    assert page.title() == "Serval" and reached == "TypeError" and len(stopped) >= 3, stopped
    context.close()


def test_every_file_comes_as_what_it_is_and_may_load_nothing_from_elsewhere(service):
    client = service.client()
    for path in ("/", *(f"/page/{each}" for each in FILES)):
        answer = client.get(path)
        assert answer.status_code == 200 and answer.headers["x-content-type-options"] == "nosniff", path
        policy = dict(each.split(" ", 1) for each in answer.headers["content-security-policy"].split("; "))
        assert policy["default-src"] == policy["frame-ancestors"] == policy["base-uri"] == "'none'"
        assert policy["script-src"] == policy["style-src"] == policy["connect-src"] == "'self'"
        assert answer.headers["cache-control"] == ("no-store" if path == "/" else "no-cache")
        kinds = {"js": "text/javascript", "css": "text/css", "svg": "image/svg+xml", "/": "text/html"}
        assert answer.headers["content-type"].startswith(kinds[path.rpartition(".")[2]]), path
        assert "http://" not in answer.text.replace("http://www.w3.org/", "") and "https://" not in answer.text, path


def test_all_files_of_the_page_are_listed_and_nothing_else_is_served(service):
    from serval.serving.routes import page

    folder = page._FOLDER
    assert {each.name for each in folder.iterdir()} == {*FILES, "index.html"}
    client = service.client()
    for path in ("index.html", "..%2Froutes%2Fpage.py", "%2e%2e/app.py", "/etc/passwd", "page.js%00", "PAGE.JS"):
        assert client.get(f"/page/{path}").status_code == 404, path
