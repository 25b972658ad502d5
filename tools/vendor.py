"""Refresh the foreign files that the web pages carry: `python3 tools/vendor.py` (needs npm).

What it writes is committed, so neither an installation nor a build fetches anything. Versions and their
integrity are in tools/vendor/package-lock.json; npm checks them. CodeMirror's packages are made into one file
by esbuild, by what tools/vendor/codemirror.js takes of them. `--check` says whether the committed files
are still the ones of SHA256SUMS, without npm.
"""

from __future__ import annotations

import hashlib
import json
import re
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
PINS = ROOT / "tools" / "vendor"
PAGES = ROOT / "src" / "sealwire" / "server" / "ui" / "static" / "vendor"
TESTS = ROOT / "tests" / "browser" / "vendor"

# What is copied as it is: package, file in it, name here (``{version}`` is the package's).
FILES = (
    (PAGES, "htmx.org", "dist/htmx.min.js", "htmx-{version}.js"),
    (PAGES, "htmx.org", "dist/ext/hx-sse.min.js", "htmx-sse-{version}.js"),
    (
        PAGES,
        "@fontsource-variable/inter",
        "files/inter-latin-wght-normal.woff2",
        "inter-latin-{version}.woff2",
    ),
    (
        PAGES,
        "@fontsource-variable/inter",
        "files/inter-latin-ext-wght-normal.woff2",
        "inter-latin-ext-{version}.woff2",
    ),
    (TESTS, "axe-core", "axe.min.js", "axe-{version}.js"),
)

# The Lucide icons in use; they become one sprite. Keep it sorted.
ICONS = (
    "activity", "arrow-down", "arrow-left", "arrow-right", "arrow-up", "ban", "bell", "book-open", "box",
    "bug", "building-2", "calendar-clock", "check", "chevron-down", "chevron-left", "chevron-right",
    "circle-alert", "circle-check", "circle-dashed", "circle-help", "circle-x", "clock", "columns-2",
    "copy", "crosshair", "download", "ellipsis", "external-link", "eye", "eye-off", "file-json",
    "file-pen", "file-text", "filter", "fingerprint", "flag", "gauge", "git-compare", "globe", "hand",
    "history", "house", "inbox", "info", "key-round", "layers", "link", "list", "list-checks", "loader",
    "lock", "lock-open", "log-in", "log-out", "menu", "minus", "monitor", "moon", "network", "package",
    "pause", "pencil", "play", "plug-zap", "plus", "refresh-cw", "rotate-ccw", "scroll-text", "search",
    "send", "server", "settings", "shield", "shield-alert", "shield-check", "shield-off", "smartphone",
    "square-check", "sun", "table", "target", "terminal", "timer", "toggle-left", "toggle-right",
    "trash-2", "triangle-alert", "undo-2", "unplug", "upload", "user", "user-check", "user-cog",
    "user-plus", "user-x", "users", "webhook", "x", "zap",
)  # fmt: skip

# What is made of several packages: entry beside the pins, name here, the package whose version it carries.
BUNDLES = (("codemirror.js", "codemirror-{version}.js", "@codemirror/view"),)

_SVG = re.compile(r"<svg[^>]*>(.*)</svg>", re.S)


def main() -> int:
    if sys.argv[1:] == ["--check"]:
        return _check()
    with tempfile.TemporaryDirectory() as folder:
        work = Path(folder)
        for name in ("package.json", "package-lock.json", *(entry for entry, *_ in BUNDLES)):
            shutil.copy(PINS / name, work)
        subprocess.run(
            ["npm", "ci", "--ignore-scripts", "--no-audit", "--no-fund", "--silent"], cwd=work, check=True
        )
        for target in (PAGES, TESTS):
            shutil.rmtree(target, ignore_errors=True)
            target.mkdir(parents=True)
        modules = work / "node_modules"
        for target, package, source, name in FILES:
            shutil.copyfile(
                modules / package / source, target / name.format(version=_version(modules, package))
            )
        _sprite(modules / "lucide-static" / "icons", _version(modules, "lucide-static"))
        bundled = _bundles(work, modules)
        _licences(modules, bundled)
    for target in (PAGES, TESTS):
        lines = [f"{_sha256(file)}  {file.name}\n" for file in _files(target)]
        (target / "SHA256SUMS").write_text("".join(lines))
        print(f"{target.relative_to(ROOT)}:\n{''.join(lines)}", end="")
    return 0


def _bundles(work: Path, modules: Path) -> set[str]:
    """Make one file of each bundle; returns the packages that are in them."""
    packages = set()
    for entry, name, main_package in BUNDLES:
        target = PAGES / name.format(version=_version(modules, main_package))
        subprocess.run(
            [
                modules / ".bin" / "esbuild", entry, "--bundle", "--minify", "--format=esm",
                "--target=es2022", "--legal-comments=none", "--log-level=warning", f"--outfile={target}",
                "--metafile=made.json",
            ],
            cwd=work, check=True,
        )  # fmt: skip
        for source in json.loads((work / "made.json").read_text())["inputs"]:
            match = re.match(r"node_modules/((?:@[^/]+/)?[^/]+)/", source)
            if match is not None:
                packages.add(match[1])
    return packages


def _version(modules: Path, package: str) -> str:
    return str(json.loads((modules / package / "package.json").read_text())["version"])


def _sprite(icons: Path, version: str) -> None:
    """One SVG that holds each icon as a symbol; a page draws one with <use>."""
    parts = ['<svg xmlns="http://www.w3.org/2000/svg">']
    for name in ICONS:
        drawing = _SVG.search((icons / f"{name}.svg").read_text())
        assert drawing is not None, name
        inside = re.sub(r"\s+", " ", drawing[1]).replace("> <", "><").strip()
        parts.append(f'<symbol id="{name}" viewBox="0 0 24 24">{inside}</symbol>')
    (PAGES / f"lucide-{version}.svg").write_text("\n".join([*parts, "</svg>"]) + "\n")


def _licences(modules: Path, bundled: set[str]) -> None:
    for target in (PAGES, TESTS):
        parts = []
        packages = {package for where, package, *_ in FILES if where is target}
        if target is PAGES:
            packages |= {"lucide-static", *bundled}
        for package in sorted(packages):
            text = (modules / package / "LICENSE").read_text().strip()
            parts.append(f"{package} {_version(modules, package)}\n{'=' * 60}\n\n{text}\n")
        (target / "LICENSES").write_text("\n\n".join(parts))


def _files(folder: Path) -> list[Path]:
    return sorted(file for file in folder.iterdir() if file.name != "SHA256SUMS")


def _sha256(file: Path) -> str:
    return hashlib.sha256(file.read_bytes()).hexdigest()


def _check() -> int:
    wrong = 0
    for target in (PAGES, TESTS):
        listed = dict(
            reversed(line.split("  ", 1)) for line in (target / "SHA256SUMS").read_text().splitlines()
        )
        present = {file.name: _sha256(file) for file in _files(target)}
        for name in sorted(listed.keys() | present.keys()):
            if listed.get(name) != present.get(name):
                print(f"{target.relative_to(ROOT)}/{name} is not the file of SHA256SUMS", file=sys.stderr)
                wrong += 1
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
