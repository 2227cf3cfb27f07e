"""What a step of the slider takes in the browser, what memory 500 of them keep, and how large a page is.

`drawn` is the time from the event to the end of script and layout, `shown` the time to the frame after, which
waits for the display's next refresh, 16.7 ms apart. `processor` is how long script and layout had the
processor, which other work on the machine does not change. Needs `stg_attr[browser]` and a Chromium.
"""

from __future__ import annotations

import argparse
import shutil
import statistics
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

import torch
from torch import nn

from stg_attr import StochasticGates
from stg_attr.widgets import Explorer, TextView, explore

if TYPE_CHECKING:
    from playwright.sync_api import Page

STEPS = 500
STEP = """i => {
    const slider = document.querySelector('.stg input[type=range]');
    slider.value = String(i % (Number(slider.max) + 1));
    slider.dispatchEvent(new Event('input'));
    document.body.offsetHeight;
}"""
MEASURE = """async count => {
    const step = %s;
    const frame = () => new Promise(done => requestAnimationFrame(() => setTimeout(done)));
    const drawn = [], shown = [];
    for (let i = 0; i < count; i++) {
        const began = performance.now();
        step(i);
        drawn.push(performance.now() - began);
        await frame();
        shown.push(performance.now() - began);
    }
    return [drawn, shown];
}""".replace("%s", STEP)
USED = "() => { gc(); gc(); return performance.memory.usedJSHeapSize; }"


def photograph() -> Explorer:
    """224 x 224 pixels, 196 features."""
    images = torch.rand(1, 3, 224, 224, generator=torch.Generator().manual_seed(0))
    cells = torch.arange(224) // 16
    net = nn.Sequential(nn.AvgPool2d(16), nn.Flatten(), nn.Linear(588, 3)).eval()
    explanation = StochasticGates(net).explain(images, feature_mask=(14 * cells[:, None] + cells)[None, None])
    return explore(explanation)


def passage() -> Explorer:
    """512 tokens."""
    embedded = torch.rand(1, 512, 8, generator=torch.Generator().manual_seed(0))
    weight = torch.randn(512, generator=torch.Generator().manual_seed(1))
    stg = StochasticGates(lambda x: x.sum(2) @ weight)
    explanation = stg.explain(embedded, feature_mask=torch.arange(512)[None, :, None])
    return explore(explanation, view=TextView([f"word{i}" for i in range(512)]))


def processor_times(page: Page, steps: int) -> list[float]:
    """Milliseconds for which each step had the processor."""
    session = page.context.new_cdp_session(page)
    session.send("Performance.enable", {"timeDomain": "threadTicks"})
    counted = {"ScriptDuration", "LayoutDuration", "RecalcStyleDuration"}

    def spent() -> float:
        metrics = session.send("Performance.getMetrics")["metrics"]
        return 1e3 * sum(metric["value"] for metric in metrics if metric["name"] in counted)

    times = []
    for i in range(steps):
        before = spent()
        page.evaluate(STEP, i)
        times.append(spent() - before)
    return times


def main(arguments: list[str]) -> int:
    """Print one row for each kind of picture."""
    parser = argparse.ArgumentParser(prog="python run.py bench widgets", description=__doc__)
    parser.add_argument("--steps", type=int, default=STEPS)
    steps = parser.parse_args(arguments).steps
    try:
        from playwright.sync_api import sync_playwright
    except ImportError:
        print("needs playwright: pip install 'stg_attr[browser]'")
        return 1
    chromium = shutil.which("chromium") or shutil.which("google-chrome")
    if chromium is None:
        print("needs a Chromium, for example Debian's: apt-get install chromium")
        return 1
    torch.manual_seed(0)
    heads = [
        *("drawn, median", "95 %", "most"),
        *("processor, median", "most"),
        "shown, median",
        "kept",
        "page",
    ]
    print(f"| {steps} steps | {' | '.join(heads)} |\n|---|{'---:|' * len(heads)}")
    with tempfile.TemporaryDirectory() as folder, sync_playwright() as playwright:
        browser = playwright.chromium.launch(
            executable_path=chromium,
            args=["--no-sandbox", "--js-flags=--expose-gc", "--enable-precise-memory-info"],
        )
        for make in (photograph, passage):
            path = Path(folder) / "page.html"
            make().to_html(path)
            page = browser.new_page()
            page.goto(f"file://{path}")
            page.wait_for_selector(".stg")
            own = processor_times(page, steps)  # first, so that what is measured next is compiled
            before = page.evaluate(USED)
            drawn, shown = page.evaluate(MEASURE, steps)
            kept = page.evaluate(USED) - before
            slow = statistics.quantiles(drawn, n=20)[-1]
            print(
                f"| {(make.__doc__ or '').rstrip('.')} | {statistics.median(drawn):.1f} ms | {slow:.1f} ms "
                f"| {max(drawn):.1f} ms | {statistics.median(own):.1f} ms | {max(own):.1f} ms "
                f"| {statistics.median(shown):.1f} ms | {kept / 1e3:+.0f} kB "
                f"| {path.stat().st_size / 1e3:.0f} kB |",
                flush=True,
            )
            page.close()
        browser.close()
    return 0
