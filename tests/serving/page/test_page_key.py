"""The key: typed once, of use to nobody else's pages, and asked for when it is taken away."""

import re

from playwright.sync_api import expect


def test_a_key_is_typed_once_into_the_browsers_own_box(serve, key, visit):
    right = key("anna")
    page = visit(serve().url, http_credentials={"username": "anna", "password": right})
    expect(page.locator("#nothing")).to_be_visible()
    expect(page.locator("#line")).to_have_text("live")
    expect(page.locator("#key")).to_be_hidden()
    page.get_by_role("button", name="Turn on the camera").click()  # opens a stream, and hands in pictures
    expect(page.locator(".tile .state")).to_contain_text(re.compile(r"\d:\d\d\.\d"))
    assert page.evaluate("() => [localStorage.length, document.cookie, sessionStorage.getItem('serval-key')]") == [0, "", None]
    page.reload()
    expect(page.locator("#line")).to_have_text("live")
    expect(page.locator("#key")).to_be_hidden()


def test_what_the_browser_remembers_is_of_no_use_to_pages_of_others(serve, key, visit):
    right = key("anna")
    service = serve()
    page = visit(service.url, http_credentials={"username": "anna", "password": right})
    expect(page.locator("#line")).to_have_text("live")
    page.route("http://localhost:1/", lambda route: route.fulfill(content_type="text/html", body="<form method=post></form>"))
    page.goto("http://localhost:1/")
    answers = []
    page.on("response", lambda answer: answers.append((answer.request.method, answer.status)))
    for method, more in (("GET", {}), ("POST", {}), ("POST", {"headers": {"Serval-Page": "1"}})):
        options = {"method": method, "mode": "cors" if more else "no-cors", "credentials": "include", **more}
        found = page.evaluate(
            "([url, options]) => fetch(url, options).then((answer) => answer.status, () => 'kept from it')",
            [f"{service.url}/v1/streams", options],
        )
        assert found in (0, "kept from it"), method  # 0: nothing that the page could read
    with page.expect_navigation():
        page.evaluate("(url) => { document.forms[0].action = url; document.forms[0].submit(); }", f"{service.url}/v1/streams")
    assert {status for _, status in answers} == {403}, answers
    assert service.client(right).get("/v1/streams").json() == []


def test_a_key_that_was_taken_away_is_asked_for_and_can_be_forgotten(serve, key, visit):
    first, right = key("anna"), key("bert")
    service = serve()
    page = visit(service.url, http_credentials={"username": "anna", "password": first})
    expect(page.locator("#line")).to_have_text("live")
    service.parts.keys.remove("anna")
    page.get_by_label("What else to watch for").fill("tell me when a dog appears")  # asks for its read-back
    box = page.get_by_role("dialog", name="A key, please")
    expect(box).to_be_visible()
    page.get_by_label("Key", exact=True).fill("serval-0000-wrong")
    page.get_by_role("button", name="Open", exact=True).click()
    expect(page.locator("#key-why")).to_contain_text("opens nothing here")
    page.get_by_label("Key", exact=True).fill(right)
    page.get_by_role("button", name="Open", exact=True).click()
    expect(box).to_be_hidden()
    expect(page.locator("#read-back")).to_contain_text("a dog comes into view")
    assert page.evaluate("() => [localStorage.length, document.cookie, sessionStorage.getItem('serval-key')]") == [0, "", right]
    page.get_by_role("button", name="Forget key").click()
    page.wait_for_function("() => sessionStorage.getItem('serval-key') === null")


def test_a_key_in_the_address_is_taken_and_cleared_away(serve, key, visit):
    right = key("anna")
    service = serve()
    page = visit(f"{service.url}/#key={right}", http_credentials={"username": "x", "password": right})
    expect(page.locator("#line")).to_have_text("live")
    assert page.evaluate("() => location.href") == f"{service.url}/"
