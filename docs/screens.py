# SPDX-License-Identifier: GPL-3.0-only
# SPDX-FileCopyrightText: ALICE contributors
"""Takes the pictures of every page in docs/screens/: at 390, 1280 and 1920 px, light and dark.

    cargo build && python3 docs/screens.py target/debug

Starts a server of its own on the built-in model, makes an account and some pictures, and looks at the pages with Debian's
chromium. Needs chromium and chromium-driver, and nothing but Python's standard library."""

import base64
import json
import pathlib
import re
import socket
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.parse
import urllib.request

SCREENS = pathlib.Path(__file__).resolve().parent / "screens"
SIZES = {390: 844, 1280: 800, 1920: 1080}
THEMES = ("light", "dark")
# Pages are cut off below this many pixels.
LONGEST = 2600
PROMPTS = [
    "a red apple", "a fox", "a birthday cake", "a flat emoji of a rocket", "a yellow sun", "a blue whale", "a cat face",
    "a green tree", "a slice of pizza", "a soccer ball", "a red heart", "an owl", "a strawberry", "a bicycle",
    "a sunflower", "a penguin", "a cup of coffee", "a guitar", "a snowman", "a mushroom", "a crescent moon", "a bee",
    "a sailboat", "a lemon",
]
TAGS = {"fruit": ("apple", "strawberry", "lemon"), "animals": ("fox", "whale", "cat", "owl", "penguin", "bee")}


def free_port() -> int:
    """A port that nobody listens on."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return listener.getsockname()[1]


def call(method: str, url: str, body: object = None, key: str | None = None) -> dict:
    """A call with JSON."""
    headers = {"content-type": "application/json"}
    if key:
        headers["authorization"] = f"Bearer {key}"
    data = None if body is None else json.dumps(body).encode()
    request = urllib.request.Request(url, method=method, data=data, headers=headers)
    with urllib.request.urlopen(request) as answer:
        return json.load(answer)


class NoRedirect(urllib.request.HTTPRedirectHandler):
    """A redirect is an answer like any other."""

    def redirect_request(self, *_):
        return None


def send(url: str, fields: dict, cookie: str = "") -> urllib.error.HTTPError:
    """A form, as a browser sends it. Gives the redirect that it is answered with."""
    headers = {"sec-fetch-site": "same-origin", "cookie": cookie}
    request = urllib.request.Request(url, data=urllib.parse.urlencode(fields, doseq=True).encode(), headers=headers)
    try:
        urllib.request.build_opener(NoRedirect).open(request)
    except urllib.error.HTTPError as redirect:
        if redirect.code == 303:
            return redirect
        raise
    raise RuntimeError(f"{url} was not answered with a redirect")


class Server:
    """A running ALICE that demands accounts."""

    def __init__(self, programs: pathlib.Path, folder: pathlib.Path):
        self.base = f"http://127.0.0.1:{free_port()}"
        port = self.base.rsplit(":", 1)[1]
        (folder / "config.yaml").write_text(
            f"server: {{ port: {port}, require_auth: true, registration_mode: approval }}\n"
            f"generation: {{ backend: cpu, backend_directories: ['{programs / 'deps'}', '{programs}'] }}\n"
        )
        self.log = folder / "log"
        self.process = subprocess.Popen([programs / "alice"], cwd=folder, stderr=self.log.open("w"))
        self.key = ""

    def set_up(self) -> str:
        """Makes the first administrator, and gives the cookie of a login."""
        while not (token := re.search(r"alice_setup_\w+", self.log.read_text())):
            time.sleep(0.1)
        self.key = call("POST", f"{self.base}/v1/auth/bootstrap", {"setup_token": token[0]})["key"]
        answer = send(f"{self.base}/login", {"key": self.key})
        return answer.headers["set-cookie"].split(";")[0]

    def paint(self, prompt: str, **more: object) -> None:
        """Makes a picture."""
        call("POST", f"{self.base}/v1/images/generations", {"prompt": prompt, **more}, self.key)


class Browser:
    """Chromium under the WebDriver protocol."""

    def __init__(self):
        port = free_port()
        self.process = subprocess.Popen(["chromedriver", f"--port={port}"], stdout=subprocess.DEVNULL)
        base = f"http://127.0.0.1:{port}"
        while True:
            try:
                call("GET", f"{base}/status")
                break
            except OSError:
                time.sleep(0.1)
        options = {"args": ["--headless", "--no-sandbox", "--disable-gpu", "--no-first-run", "--hide-scrollbars"]}
        wanted = {"capabilities": {"alwaysMatch": {"goog:chromeOptions": options}}}
        self.session = f"{base}/session/{call('POST', f'{base}/session', wanted)['value']['sessionId']}"

    def tell(self, path: str, body: dict) -> object:
        """A command."""
        return call("POST", self.session + path, body)["value"]

    def devtools(self, command: str, **parameters: object) -> dict:
        """A command of the developer tools."""
        return self.tell("/goog/cdp/execute", {"cmd": command, "params": parameters})

    def look(self, width: int, theme: str) -> None:
        """As on a screen of this width in this theme."""
        size = {"width": width, "height": SIZES[width], "deviceScaleFactor": 1, "mobile": width < 500}
        self.devtools("Emulation.setDeviceMetricsOverride", **size)
        self.devtools("Emulation.setEmulatedMedia", features=[{"name": "prefers-color-scheme", "value": theme}])

    def picture(self, width: int) -> bytes:
        """The page from its top to its end, as WebP."""
        height = self.devtools("Page.getLayoutMetrics")["cssContentSize"]["height"]
        clip = {"x": 0, "y": 0, "width": width, "height": max(SIZES[width], min(height, LONGEST)), "scale": 1}
        # What clings to the edge of the window would hang in the middle of the picture.
        self.devtools("Emulation.setDeviceMetricsOverride", width=width, height=int(clip["height"]), deviceScaleFactor=1,
                      mobile=width < 500)
        shot = self.devtools("Page.captureScreenshot", format="webp", quality=80, clip=clip)
        self.devtools("Emulation.setDeviceMetricsOverride", width=width, height=SIZES[width], deviceScaleFactor=1,
                      mobile=width < 500)
        return base64.b64decode(shot["data"])


def furnish(server: Server, cookie: str) -> dict[str, str]:
    """Makes pictures and what else pages show, and gives the pages by their names."""
    for place, prompt in enumerate(PROMPTS):
        size = ("512x512", "512x512", "384x512", "512x384")[place % 4]
        server.paint(prompt, size=size, seed=place)
    # The newest first: the other way round from the prompts.
    pictures = re.findall(r'id="p([0-9a-f]{32})"', page(server, "/gallery", cookie))

    def act(action: str, chosen: list[str], **more: str) -> None:
        send(f"{server.base}/gallery", {"id": chosen, "action": action, "back": "/gallery", **more}, cookie)

    by_prompt = list(zip(reversed(PROMPTS), pictures))
    for tag, words in TAGS.items():
        act("tag", [picture for prompt, picture in by_prompt if any(word in prompt for word in words)], tags=tag)
    act("favourite", pictures[::5])
    act("publish", pictures[::7], hours="168")
    act("trash", pictures[-2:])
    several = send(f"{server.base}/", {"prompt": "a fox", "size": "512x512", "count": "4", "seed": "3"}, cookie)
    job = several.headers["location"]
    while len(re.findall(r'<img src="/images/', page(server, job, cookie))) < 4:
        time.sleep(0.2)
    call("POST", f"{server.base}/v1/auth/keys/generate", {"name": "SAM"}, server.key)
    call("POST", f"{server.base}/v1/auth/invites", {"uses": 3}, server.key)
    return {"job": job, "picture": f"/gallery/{pictures[5]}"}


def page(server: Server, path: str, cookie: str) -> str:
    """A page's text."""
    request = urllib.request.Request(server.base + path, headers={"cookie": cookie})
    with urllib.request.urlopen(request) as answer:
        return answer.read().decode()


def main() -> None:
    """Takes them all."""
    programs = pathlib.Path(sys.argv[1]).resolve()
    only = set(sys.argv[2:])
    SCREENS.mkdir(exist_ok=True)
    with tempfile.TemporaryDirectory() as folder:
        server, browser = Server(programs, pathlib.Path(folder)), Browser()
        try:
            cookie = server.set_up()
            first = {"login": "/login", "register": "/register"}
            welcome = {"welcome": "/"}
            take(browser, server, first, only)
            browser.tell("/url", {"url": f"{server.base}/livez"})
            name, value = cookie.split("=", 1)
            browser.tell("/cookie", {"cookie": {"name": name, "value": value}})
            take(browser, server, welcome, only)
            pages = {
                "create": "/", "gallery": "/gallery", "trash": "/gallery/trash", "queue": "/queue", "models": "/library", "model": "/library/sd%2Falice-emoji",
                "status": "/status", "guide": "/guide", "api": "/api", "account": "/account", "admin": "/admin",
                "admin-keys": "/admin/keys", "admin-invites": "/admin/invites",
                "admin-storage": "/admin/storage", "admin-log": "/admin/log", **furnish(server, cookie),
            }
            take(browser, server, pages, only)
        finally:
            browser.tell("/url", {"url": "about:blank"})
            urllib.request.urlopen(urllib.request.Request(browser.session, method="DELETE"))
            browser.process.kill()
            server.process.terminate()
            server.process.wait()


def take(browser: Browser, server: Server, pages: dict[str, str], only: set[str]) -> None:
    """Takes these pages on all screens."""
    for name, path in pages.items():
        if only and name not in only:
            continue
        for width in SIZES:
            for theme in THEMES:
                browser.look(width, theme)
                browser.tell("/url", {"url": server.base + path})
                time.sleep(0.4)
                (SCREENS / f"{name}-{width}-{theme}.webp").write_bytes(browser.picture(width))
        print(name)


if __name__ == "__main__":
    main()
