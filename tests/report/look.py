#!/usr/bin/env python3
"""look.py PAGE FOLDER [DOCS]: looks at a report in Chromium at three widths, light, dark and printed, and writes pictures of
it; its plan's part into DOCS as well, for README.

Fails where the console says something, anything is loaded from elsewhere, the page is wider than its window, words lie on
words or lines, or a chart tells no values under the pointer or by the keyboard."""

import base64
import pathlib
import re
import shutil
import sys

from chromium import Chromium

WIDTHS = [390, 800, 1280]
SCHEMES = ["light", "dark"]
CHECKS = (pathlib.Path(__file__).parent / "look.js").read_text()


def said(browser):
    """What the page complained of or loaded, since it was opened."""
    wrong = []
    for event in browser.events:
        method, params = event["method"], event["params"]
        if method == "Runtime.exceptionThrown":
            wrong.append(f"script: {params['exceptionDetails']}")
        elif method == "Runtime.consoleAPICalled" and params["type"] in ("error", "warning", "assert"):
            wrong.append(f"console: {params['args']}")
        elif method == "Log.entryAdded" and params["entry"]["level"] in ("error", "warning"):
            wrong.append(f"log: {params['entry']['text']}")
        elif method == "Network.requestWillBeSent" and not re.match("file:|data:", params["request"]["url"]):
            wrong.append(f"loads {params['request']['url']}")
    return wrong


def values(browser):
    """Every chart tells values under the pointer and by the arrow keys."""
    wrong = []
    charts = browser.value("document.querySelectorAll('svg[data-x]').length")
    for i in range(charts):
        chart = f"document.querySelectorAll('svg[data-x]')[{i}]"
        told = f"{chart}.parentNode.querySelector('output').textContent"
        browser.value(f"{chart}.scrollIntoView({{block: 'center'}})")
        x, y = browser.value(f"(() => {{ const b = {chart}.getBoundingClientRect(); return [b.left + b.width / 2, b.top + b.height / 2] }})()")
        browser("Input.dispatchMouseEvent", type="mouseMoved", x=x, y=y)
        if not re.match(r"at [-0-9.e]+: .+ [-0-9.e]+", browser.value(told)):
            wrong.append(f"chart {i}: the pointer shows '{browser.value(told)}'")
        browser("Input.dispatchMouseEvent", type="mouseMoved", x=0, y=0)
        browser.value(f"{chart}.focus()")
        seen = []
        for _ in range(2):
            browser("Input.dispatchKeyEvent", type="keyDown", key="ArrowRight")
            seen.append(browser.value(told))
        points = browser.value(f"new Set([...{chart}.querySelectorAll('g[data-p]')].flatMap((g) => g.dataset.p.split(' ').map((p) => p.split(',')[0]))).size")
        if not seen[0].startswith("at ") or (points > 1 and seen[0] == seen[1]):
            wrong.append(f"chart {i}: the keys show {seen}")
        browser.value("document.activeElement.blur()")
    return wrong


def plan(browser, docs, scheme):
    """A picture of the section that shows the plan: from its heading to the next one."""
    top, bottom = browser.value("""(() => {
        const all = [...document.querySelectorAll("h2")];
        const i = all.findIndex((h) => h.textContent.includes("planned for"));
        return [all[i], all[i + 1]].map((h) => h.getBoundingClientRect().top + scrollY); })()""")
    box = browser.value("(() => { const b = document.querySelector('main').getBoundingClientRect(); return [b.left, b.width] })()")
    shot = browser("Page.captureScreenshot", format="png", captureBeyondViewport=True,
                   clip=dict(x=box[0], y=top, width=box[1], height=bottom - top - 20, scale=1))
    (docs / f"report-{scheme}.png").write_bytes(base64.b64decode(shot["data"]))


def main():
    page, folder = pathlib.Path(sys.argv[1]).resolve(), pathlib.Path(sys.argv[2])
    folder.mkdir(parents=True, exist_ok=True)
    program = shutil.which("chromium") or sys.exit("no chromium: apt-get install chromium")
    browser, wrong = Chromium(program), []
    try:
        for width in WIDTHS:
            for scheme in SCHEMES:
                browser("Emulation.setDeviceMetricsOverride", width=width, height=900, deviceScaleFactor=1, mobile=width < 500)
                browser("Emulation.setEmulatedMedia", features=[{"name": "prefers-color-scheme", "value": scheme}])
                browser.open(page.as_uri())
                found = browser.value(CHECKS) + (values(browser) if scheme == "light" else []) + said(browser)
                wrong += [f"{width} px, {scheme}: {one}" for one in found]
                browser.value("scrollTo(0, 0)")
                shot = browser("Page.captureScreenshot", format="png", captureBeyondViewport=True,
                               clip=dict(x=0, y=0, width=width, scale=1,
                                         height=min(12000, browser.value("document.documentElement.scrollHeight"))))
                (folder / f"{width}-{scheme}.png").write_bytes(base64.b64decode(shot["data"]))
                if width == 1280 and len(sys.argv) > 3:
                    plan(browser, pathlib.Path(sys.argv[3]), scheme)
        # On paper it is light, whatever the screen is.
        browser("Emulation.setDeviceMetricsOverride", width=720, height=1000, deviceScaleFactor=1, mobile=False)
        browser("Emulation.setEmulatedMedia", media="print", features=[{"name": "prefers-color-scheme", "value": "dark"}])
        browser.open(page.as_uri())
        wrong += [f"print: {one}" for one in browser.value(CHECKS)]
        paper = browser.value("getComputedStyle(document.body).backgroundColor")
        if paper not in ("rgb(255, 255, 255)", "rgba(0, 0, 0, 0)"):
            wrong.append(f"print: the paper is {paper}")
        pdf = base64.b64decode(browser("Page.printToPDF", preferCSSPageSize=True)["data"])
        (folder / "print.pdf").write_bytes(pdf)
        if not pdf.startswith(b"%PDF"):
            wrong.append("print: no PDF")
    finally:
        browser.close()
    for one in wrong:
        print(f"{page.name}: {one}", file=sys.stderr)
    print(f"{page.name}: {page.stat().st_size} bytes, {len(wrong)} faults")
    sys.exit(1 if wrong else 0)


main()
