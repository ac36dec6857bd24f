"""Looks at a run's report.html in headless Chromium, as a person would: on a phone and on a desk, light, dark and printed.

    python .ci/page.py RUN/report.html PICTURES/

Keeps the pictures. Fails on anything that the console calls an error, on any request beside the page itself, and where the page is wider
than the window. Needs the package playwright and a Chromium (CHROMIUM names another than /usr/bin/chromium).
"""

import os
import pathlib
import sys
import tempfile

from playwright.sync_api import sync_playwright

OPTIONS = ["--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking",
           "--disable-component-update", "--disable-sync"]
WIDTHS = {"phone": 390, "desk": 1280}


def look(context, path, picture=None, pdf=None):
    """What is wrong with a page."""
    faults = []
    page = context.new_page()
    page.on("console", lambda said: faults.append(f"console: {said.text}") if said.type in ("error", "warning") else None)
    page.on("pageerror", lambda error: faults.append(f"error: {error}"))
    page.on("request", lambda asked: faults.append(f"request: {asked.url[:200]}") if asked.url != path.as_uri() else None)
    page.goto(path.as_uri(), wait_until="load")
    # what unfolds is looked at too
    page.evaluate("document.querySelectorAll('details').forEach(part => part.open = true)")
    wide, window = page.evaluate("[document.documentElement.scrollWidth, document.documentElement.clientWidth]")
    if wide > window:
        faults.append(f"width: the page is {wide} px wide in a window of {window}")
    page.evaluate("document.querySelectorAll('details').forEach(part => part.open = false)")
    if picture:
        page.screenshot(path=picture, full_page=True)
    if pdf:
        page.pdf(path=pdf, format="A4", margin={side: "15mm" for side in ("top", "bottom", "left", "right")})
    page.close()
    return faults


def main(path, pictures):
    pictures.mkdir(parents=True, exist_ok=True)
    failed = False
    with sync_playwright() as playwright, tempfile.TemporaryDirectory() as profile:
        launch = lambda **more: playwright.chromium.launch_persistent_context(
            tempfile.mkdtemp(dir=profile), executable_path=os.environ.get("CHROMIUM", "/usr/bin/chromium"), args=OPTIONS, **more)
        for name, width in WIDTHS.items():
            for scheme in ("light", "dark"):
                context = launch(viewport={"width": width, "height": 900}, color_scheme=scheme)
                pdf = pictures / "report.pdf" if (name, scheme) == ("desk", "light") else None
                faults = look(context, path, pictures / f"{name}-{scheme}.png", pdf)
                print(f"{name} {scheme}: {'; '.join(faults) or 'nothing wrong'}")
                failed |= bool(faults)
                context.close()
        # and a page with every fault is found out
        bad = pathlib.Path(profile) / "bad.html"
        wrong = "<script>console.error('no')</script><img src='missing.png'><p style='width:3000px'>wide</p>"
        bad.write_text(path.read_text().replace("<main>", "<main>" + wrong))
        context = launch(viewport={"width": 390, "height": 900})
        kinds = {fault.split(":")[0] for fault in look(context, bad)}
        context.close()
        if not {"console", "width"} <= kinds:
            print(f"a page with a script, a picture from elsewhere and a wide line passes: {kinds}")
            failed = True
    sys.exit(failed)


main(pathlib.Path(sys.argv[1]).resolve(), pathlib.Path(sys.argv[2]))
