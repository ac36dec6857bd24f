"""Uses the page of `distune serve` in headless Chromium, as people would: with a mouse, by keyboard alone, on a phone and on a desk, light
and dark, with one model and with two, with a key and without.

    python .ci/serve_page.py DISTUNE RUN PICTURES/

Starts the program DISTUNE on a free port with the model RUN, and keeps pictures. Fails where the page does not do what it says, on
anything that the console calls an error, on any request to another place, and where the page is wider than the window. Needs the package
playwright and a Chromium (CHROMIUM names another than /usr/bin/chromium).
"""

import contextlib
import csv
import os
import pathlib
import subprocess
import sys
import tempfile

from playwright.sync_api import expect, sync_playwright

OPTIONS = ["--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking",
           "--disable-component-update", "--disable-sync"]
TEXT = "A charming and often affecting journey, but <b>far</b> too long \U0001F3AC and rather dull."
KEY = "of-this-test"


@contextlib.contextmanager
def served(program, *arguments, **environment):
    """The address of a server, which ends with the block."""
    command = [program, "serve", "--port", "0", "--quiet", *arguments]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env={**os.environ, **environment})
    try:
        yield process.stdout.readline().split()[-1]
    finally:
        process.terminate()
        process.wait(timeout=30)


class Visit:
    """A page that is open, and what is wrong with it."""

    def __init__(self, browser, address, **context):
        self.address, self.faults = address, []
        self.page = browser.new_page(**context)
        self.page.set_default_timeout(30_000)
        self.page.on("console", self.said)
        self.page.on("pageerror", lambda error: self.faults.append(f"error: {error}"))
        self.page.on("request", self.asked)
        self.allowed = ()
        self.page.goto(address, wait_until="networkidle")

    def said(self, message):
        if message.type in ("error", "warning") and not any(part in message.text for part in self.allowed):
            self.faults.append(f"console: {message.text}")

    def asked(self, request):
        if not request.url.startswith((self.address, "blob:" + self.address, "data:")):
            self.faults.append(f"request: {request.url[:200]}")

    def width(self):
        wide, window = self.page.evaluate("[document.documentElement.scrollWidth, document.documentElement.clientWidth]")
        if wide > window:
            self.faults.append(f"width: the page is {wide} px wide in a window of {window}")

    def end(self, name):
        self.page.close()
        print(f"{name}: {'; '.join(self.faults) or 'nothing wrong'}")
        return self.faults


def cards(page, number):
    """The results, when they and their explanations are there."""
    expect(page.locator("#results .card")).to_have_count(number)
    expect(page.locator("#results .explained details")).to_have_count(number, timeout=60_000)
    return page.locator("#results .card")


def click(visit, picture):
    """Types a text, clicks, and looks at label, probabilities and words."""
    page = visit.page
    page.get_by_label("Text", exact=True).fill(TEXT)
    page.get_by_role("button", name="Predict", exact=True).click()
    card = cards(page, 1).first
    probabilities = card.get_by_label("Probabilities")
    expect(card.locator(".answer")).to_have_text(probabilities.locator("th").first.text_content())
    # what a screen reader is told
    expect(page.get_by_role("status")).to_contain_text(card.locator(".answer").text_content())
    shares = [float(cell.split()[0]) for cell in probabilities.locator("td.number").all_text_contents()]
    assert len(shares) == 2 and abs(sum(shares) - 100) < 0.2 and shares[0] >= 50, shares
    # the whole text, markup and all, and some of it marked on either side or on one
    assert card.locator(".words").text_content() == TEXT
    assert card.locator(".words .for, .words .against").count() > 0
    visit.width()
    page.screenshot(path=picture, full_page=True)
    # the other label
    label = card.locator("select")
    other = [name for name in label.locator("option").all_text_contents() if name != label.input_value()][0]
    label.select_option(other)
    expect(card.locator(".legend")).to_contain_text(f"speaks for {other}")
    # a text that is cut
    page.get_by_label("Show which words").uncheck()
    page.get_by_label("Text", exact=True).fill("too long " * 600)
    page.get_by_role("button", name="Predict", exact=True).click()
    expect(page.locator("#results .error")).to_contain_text("what comes after them was left out")


def keyboard(visit):
    """The same with no mouse at all."""
    page = visit.page
    page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.id") == "text", page.evaluate("document.activeElement.outerHTML")
    page.keyboard.type("dull, lifeless and far too long")
    page.keyboard.press("Control+Enter")
    cards(page, 1)
    visited = []
    for _ in range(12):
        page.keyboard.press("Tab")
        visited.append(page.evaluate("document.activeElement.id || document.activeElement.tagName"))
    # in the order of the page
    expected = ["predict", "explain", "SELECT", "P", "SUMMARY", "file", "A"]
    assert [name for name in visited if name in expected][:len(expected)] == expected, visited
    names = page.evaluate("[...document.querySelectorAll('input, textarea, select, progress')].map(x => x.labels.length)")
    assert all(names), names


def file(visit, directory, picture):
    """Drops a CSV file, predicts its rows, and reads what is downloaded."""
    page = visit.page
    texts = ["a charming film", 'dull, "lifeless"\nand long', "  ", "caf\u00e9", "far too long " * 200]
    rows = [[str(at), text, "false"] for at, text in enumerate(texts * 20)]
    path = directory / "rows.csv"
    with open(path, "w", newline="", encoding="utf-8") as out:
        csv.writer(out).writerows([["id", "review", "truncated"], *rows])
    # a file that is dropped is made in the page: no program can hold one over a window
    data = page.evaluate_handle("text => { const data = new DataTransfer(); data.items.add(new File([text], 'rows.csv')); return data }", path.read_bytes().decode())
    page.dispatch_event("#drop", "drop", {"dataTransfer": data})
    expect(page.locator("#file-about")).to_have_text("rows.csv: 100 rows, 3 columns")
    expect(page.get_by_label("Column with the text")).to_have_value("1")
    page.get_by_role("button", name="Predict every row").click()
    expect(page.locator("#summary")).to_contain_text("20 rows without a text left out.", timeout=60_000)
    expect(page.locator("#summary")).to_contain_text("20 texts cut at 128 tokens")
    shown = page.locator("#summary .rows tbody tr")
    expect(shown).to_have_count(50)
    for at in range(5):
        cut = shown.nth(at).locator("td").nth(2)
        expect(cut).to_have_text("" if at == 2 else str(at == 4).lower())
    visit.width()
    page.screenshot(path=picture, full_page=True)
    with page.expect_download() as download:
        page.get_by_role("link", name="Download rows.predicted.csv").click()
    got = list(csv.reader(open(download.value.path(), newline="", encoding="utf-8")))
    assert got[0] == ["id", "review", "predicted", "probability_negative", "probability_positive", "truncated"], got[0]
    assert [line[:2] for line in got[1:]] == [row[:2] for row in rows]
    for line in got[1:]:
        label, scores, truncated = line[2], line[3:5], line[5]
        if line[1].strip():
            assert label == ("negative", "positive")[float(scores[1]) > float(scores[0])] and abs(sum(map(float, scores)) - 1) < 1e-4, line
            assert truncated == str(line[1] == texts[4]).lower(), line
        else:
            assert line[2:] == ["", "", "", ""], line
    # and one that is wrong, chosen instead of dropped
    (directory / "bad.csv").write_text('text,id\n"a",1\nb\n')
    page.get_by_label("Choose a .csv").set_input_files(directory / "bad.csv")
    expect(page.get_by_role("alert")).to_have_text("bad.csv, row 2: has 1 field, but the heading has 2.")


def two(visit, picture):
    """Compares two models."""
    page = visit.page
    page.get_by_label("Compare with").select_option("second")
    page.get_by_label("Text", exact=True).fill(TEXT)
    page.get_by_role("button", name="Predict", exact=True).click()
    both = cards(page, 2)
    assert both.locator("h3").all_text_contents() == ["first", "second"]
    left, right = (both.nth(at).bounding_box() for at in (0, 1))
    beside = left["y"] == right["y"] and left["x"] + left["width"] <= right["x"]
    assert beside == (page.viewport_size["width"] > 700), (left, right)
    visit.width()
    page.screenshot(path=picture, full_page=True)


def with_key(visit, picture):
    """A server that asks for a key says so, refuses a wrong one and takes the right one."""
    page = visit.page
    expect(page.locator("#about")).to_have_text("This server asks for a key.")
    expect(page.get_by_role("alert")).to_be_hidden()
    expect(page.locator("#work")).to_be_hidden()
    page.get_by_label("API key").fill("another")
    page.keyboard.press("Enter")
    expect(page.get_by_role("alert")).to_contain_text("401: expected the header Authorization")
    visit.width()
    page.screenshot(path=picture, full_page=True)
    page.get_by_label("API key").fill(KEY)
    page.keyboard.press("Enter")
    expect(page.locator("#key-form")).to_be_hidden()
    page.get_by_label("Text", exact=True).fill(TEXT)
    page.get_by_role("button", name="Predict", exact=True).click()
    cards(page, 1)


def main(program, run, pictures):
    pictures.mkdir(parents=True, exist_ok=True)
    failed = []
    with sync_playwright() as playwright, tempfile.TemporaryDirectory() as directory:
        directory = pathlib.Path(directory)
        browser = playwright.chromium.launch(executable_path=os.environ.get("CHROMIUM", "/usr/bin/chromium"), args=OPTIONS)
        # no rule of the style sheet is for a width and a scheme at once
        looks = [(f"{name}-{scheme}", {"viewport": {"width": width, "height": 900}, "color_scheme": scheme})
                 for name, width, scheme in (("phone", 390, "light"), ("desk", 1280, "dark"))]
        with served(program, "--model", run) as address:
            for name, look in looks:
                visit = Visit(browser, address, **look)
                click(visit, pictures / f"serve-{name}.png")
                file(visit, directory, pictures / f"serve-file-{name}.png")
                failed += visit.end(f"one model, {name}")
            visit = Visit(browser, address)
            keyboard(visit)
            failed += visit.end("keyboard alone")
        with served(program, "--model", f"first={run}", "--model", f"second={run}") as address:
            for name, look in looks:
                visit = Visit(browser, address, **look)
                two(visit, pictures / f"serve-two-{name}.png")
                failed += visit.end(f"two models, {name}")
        with served(program, "--model", run, DISTUNE_API_KEY=KEY) as address:
            visit = Visit(browser, "about:blank", viewport={"width": 390, "height": 900})
            # what the browser itself says of a status of 401
            visit.address, visit.allowed = address, ("401",)
            visit.page.goto(address, wait_until="networkidle")
            with_key(visit, pictures / "serve-key.png")
            failed += visit.end("with a key")
        browser.close()
    sys.exit(bool(failed))


main(sys.argv[1], sys.argv[2], pathlib.Path(sys.argv[3]))
