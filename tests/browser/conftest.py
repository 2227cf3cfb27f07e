"""A real JupyterLab, and Debian's Chromium to look at it; skipped with the reason where one is missing."""

import contextlib
import json
import os
import re
import shutil
import socket
import subprocess
import sys
import time
import urllib.request
from pathlib import Path

import pytest
import torch
from torch import nn

from stg_attr import StochasticGates

HOSTILE = (  # no longer than the pictures leave names
    '<img src=x onerror="harmed=1">',
    "</script><script>harmed=1</script>",
    "'\"><svg onload=harmed=1>",
    '<a href="javascript:harmed=1">go</a>',
    "</style></title><textarea><!--",
    "${harmed=1}`{{harmed=1}}%%style%% $\\bad$",
    "\u202eesrever \u2066aside\x00 \u2028 javascript:harmed=1",
)
CHROMIUM = ("chromium", "chromium-browser", "google-chrome", "chrome")
KERNEL = "window.jupyterapp?.shell.currentWidget?.sessionContext?.session?.kernel"


@pytest.hookimpl(tryfirst=True)  # before those that are not asked for are left out
def pytest_collection_modifyitems(items):
    here = Path(__file__).parent
    for item in items:
        if here in item.path.parents:
            item.add_marker(pytest.mark.browser)


@pytest.fixture(scope="session")
def chromium():
    """The browser, without a sandbox, which root cannot have."""
    sync_api = pytest.importorskip("playwright.sync_api", reason="needs python run.py test-browser")
    path = next(filter(None, map(shutil.which, CHROMIUM)), None)
    if path is None:
        pytest.skip(f"no Chromium: none of {', '.join(CHROMIUM)}; apt-get install chromium")
    arguments = ["--no-sandbox", "--disable-background-networking", "--js-flags=--expose-gc"]
    with sync_api.sync_playwright() as playwright:
        launched = playwright.chromium.launch(
            executable_path=path, args=arguments, ignore_default_args=["--hide-scrollbars"]
        )
        yield launched
        launched.close()


@pytest.fixture(scope="session")
def axe():
    """`axe(page, selector)`: the accessibility violations of a part of a page, as sentences."""
    module = pytest.importorskip(
        "axe_playwright_python.sync_playwright", reason="needs python run.py test-browser"
    )

    def check(page, context=None):
        found = module.Axe().run(page, context=context).response["violations"]
        return [f"{v['id']}: {v['help']}: {[n['html'][:200] for n in v['nodes']]}" for v in found]

    return check


class Watched:
    """A page, and what it complained about or asked for."""

    def __init__(self, context):
        self.page = context.new_page()
        self.requests, self.errors, self.dialogs = [], [], []
        self.page.on("request", lambda request: self.requests.append(request.url))
        self.page.on("pageerror", lambda error: self.errors.append(str(error)))
        self.page.on("console", self._console)
        self.page.on("dialog", self._dialog)

    def _console(self, message):
        if message.type == "error":
            self.errors.append(message.text)

    def _dialog(self, dialog):
        self.dialogs.append(dialog.message)
        dialog.dismiss()

    @property
    def outside(self):
        """Requests that leave the machine."""
        local = ("http://127.0.0.1", "ws://127.0.0.1", "file:", "data:", "blob:")
        return [url for url in self.requests if not url.startswith(local)]


@pytest.fixture
def look(chromium):
    """`look(path, **settings)`: a file in a page of its own."""
    with contextlib.ExitStack() as stack:

        def open_page(path, ready=".stg", **settings):
            context = chromium.new_context(viewport={"width": 1000, "height": 1000}, **settings)
            stack.callback(context.close)
            watched = Watched(context)
            watched.page.goto(f"file://{path}")
            if ready:
                watched.page.wait_for_selector(ready)
            return watched

        yield open_page


def _free_port():
    with socket.socket() as opened:
        opened.bind(("127.0.0.1", 0))
        return opened.getsockname()[1]


@pytest.fixture(scope="session")
def server(tmp_path_factory):
    """A JupyterLab in an empty folder, with settings and trust of its own: its address and the folder."""
    pytest.importorskip("jupyterlab", reason="needs python run.py test-browser")
    root, home, port = tmp_path_factory.mktemp("notebooks"), tmp_path_factory.mktemp("home"), _free_port()
    places = {f"JUPYTER_{name}_DIR": str(home / name.lower()) for name in ("CONFIG", "DATA", "RUNTIME")}
    lab = {
        "JUPYTERLAB_SETTINGS_DIR": str(home / "settings"),
        "JUPYTERLAB_WORKSPACES_DIR": str(home / "spaces"),
    }
    quiet = home / "settings" / "@jupyterlab" / "apputils-extension" / "notification.jupyterlab-settings"
    quiet.parent.mkdir(parents=True)
    quiet.write_text('{"fetchNews": "false"}')
    options = [
        "--no-browser", f"--ServerApp.port={port}", "--ServerApp.ip=127.0.0.1", "--IdentityProvider.token=",
        "--ServerApp.disable_check_xsrf=True", "--allow-root", f"--ServerApp.root_dir={root}",
        "--LabApp.expose_app_in_browser=True",
        "--LabApp.check_for_updates_class=jupyterlab.NeverCheckForUpdate",
    ]  # fmt: skip
    source = str(Path(__file__).parents[2])
    environment = {**os.environ, **places, **lab, "PYTHONPATH": source, "OMP_NUM_THREADS": "1"}
    with open(home / "log", "w") as log:
        process = subprocess.Popen(
            [sys.executable, "-m", "jupyterlab", *options], env=environment, stdout=log, stderr=log
        )
    address = f"http://127.0.0.1:{port}"
    try:
        _wait_for(address, process, home / "log")
        yield address, root
    finally:
        process.terminate()
        process.wait(20)


def _wait_for(address, process, log):
    for _ in range(240):
        if process.poll() is not None:
            pytest.fail(f"JupyterLab ended: {log.read_text()[-2000:]}")
        with contextlib.suppress(OSError):
            urllib.request.urlopen(f"{address}/api", timeout=5).close()
            return
        time.sleep(0.25)
    pytest.fail(f"JupyterLab did not answer: {log.read_text()[-2000:]}")


class Lab(Watched):
    """One notebook open in JupyterLab."""

    def __init__(self, context, server, name):
        super().__init__(context)
        self.address, self.root = server
        self.name = name
        self.page.goto(f"{self.address}/lab/workspaces/{name}-{time.time_ns()}/tree/{name}.ipynb?reset")
        self.page.wait_for_selector(".jp-Notebook .jp-Cell")

    def idle(self, timeout=90):
        """Wait until the kernel has nothing to do."""
        self.page.wait_for_function(f"{KERNEL}?.status === 'idle'", timeout=1000 * timeout)

    def run(self, wait=True):
        """Run all cells."""
        self.idle()
        self.command("notebook:run-all-cells")
        if wait:
            self.page.wait_for_timeout(300)
            self.idle()

    def command(self, name, arguments=None):
        """Do a command of JupyterLab; without waiting for what it does."""
        call = f"window.jupyterapp.commands.execute({json.dumps(name)}, {json.dumps(arguments or {})})"
        self.page.evaluate(f"() => {{ {call}; }}")

    def interrupt(self):
        """What the square button does."""
        self.page.evaluate(f"() => {{ {KERNEL}.interrupt(); }}")

    def ask(self, expression):
        """The value of an expression in the kernel, through JSON."""
        code = f"import json; print(json.dumps({expression}))"
        text = self.page.evaluate(
            f"""async (code) => {{
                const future = {KERNEL}.requestExecute({{ code }});
                let text = "";
                future.onIOPub = (message) => {{
                    if (message.header.msg_type === "stream") text += message.content.text;
                    if (message.header.msg_type === "error") text += message.content.traceback.join("\\n");
                }};
                await future.done;
                return text;
            }}""",
            code,
        )
        return json.loads(text)

    def save(self):
        """Save the notebook, and read what was saved."""
        self.page.evaluate("async () => window.jupyterapp.commands.execute('docmanager:save')")
        return json.loads((self.root / f"{self.name}.ipynb").read_text())


@pytest.fixture(scope="session")
def lab(chromium, server):
    """`lab(name, *cells)`: a new notebook of these cells in JupyterLab; `lab(name)`: one that is there."""
    with contextlib.ExitStack() as stack:

        def open_notebook(name, *cells):
            if cells:
                write_notebook(server[1] / f"{name}.ipynb", *cells)
            context = chromium.new_context(viewport={"width": 1300, "height": 1400})
            stack.callback(context.close)
            return Lab(context, server, name)

        yield open_notebook


@pytest.fixture(scope="session", name="write_notebook")
def _write_notebook():
    return write_notebook


def write_notebook(path, *cells):
    """A notebook of code cells, never run."""
    spec = {"name": "python3", "display_name": "Python 3", "language": "python"}
    blank = {"cell_type": "code", "metadata": {}, "outputs": [], "execution_count": None}
    code = [{**blank, "id": f"cell-{i}", "source": cell} for i, cell in enumerate(cells)]
    notebook = {"nbformat": 4, "nbformat_minor": 5, "metadata": {"kernelspec": spec}, "cells": code}
    path.write_text(json.dumps(notebook))


@pytest.fixture(scope="session")
def photograph():
    """Two photographs of 224 x 224 pixels with 196 features, explained, and the model."""
    torch.manual_seed(0)
    y, x = torch.meshgrid(torch.linspace(0, 1, 224), torch.linspace(0, 1, 224), indexing="ij")
    slopes = torch.stack([x, y, (x - y).abs()])
    images = (slopes + 0.1 * torch.rand(2, 3, 224, 224)).clamp(0, 1)
    cells = torch.arange(224) // 16
    net = nn.Sequential(nn.AvgPool2d(16), nn.Flatten(), nn.Linear(588, 3)).eval()
    mask = (14 * cells[:, None] + cells)[None, None]
    return StochasticGates(net).explain(images, feature_mask=mask, target=1), net


@pytest.fixture(scope="session")
def hostile():
    """Names that must only ever be text."""
    return HOSTILE


@pytest.fixture(scope="session")
def inert():
    """`inert(opened)`: nothing hostile ran, became an element, or turned what stands beside it."""

    def check(opened):
        assert opened.page.evaluate("window.harmed") is None
        for name in ("iframe", "textarea", "svg[onload]", "img[src=x]", "a[href^=javascript]"):
            assert opened.page.locator(name).count() == 0, name
        assert not re.search("[\u202a-\u202e\u2066-\u2069]", opened.page.content())
        assert opened.dialogs == []

    return check


@pytest.fixture(scope="session")
def pixels():
    """`pixels(page)`: what the first canvas holds, as text that changes with it."""
    return lambda page, place=0: page.locator(".stg-canvas").nth(place).evaluate("c => c.toDataURL()")
