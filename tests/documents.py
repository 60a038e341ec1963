"""README.md and docs as the tests read them: fenced blocks, commands, links.

A block says by its language what becomes of it:

    bash                    commands that a test runs, with short budgets, in the order of the page
    python                  a program that a test runs; with title="FILE" it is written to that file instead, for those that follow
    console                 commands that are shown only: they install, need an extra or hours; those of asyncrl are still parsed
    toml                    the file of a study, which is read
    text                    anything else
"""

from __future__ import annotations

import re
import shlex
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parent.parent
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
LANGUAGES = ("bash", "python", "console", "toml", "text")
PLACEHOLDERS = {"ALGO", "ENV", "RUN", "NAME", "COMMAND", "FILE", "STUDY"}


@dataclass(frozen=True)
class Block:
    """A fenced block: its first line without the fence, and its text."""

    page: str
    info: str
    text: str

    @property
    def language(self) -> str:
        return self.info.partition(" ")[0]

    @property
    def title(self) -> str | None:
        found = re.search(r'title="([^"]+)"', self.info)
        return found[1] if found else None

    def commands(self) -> list[list[str]]:
        """The words of each line, without comments."""
        lines = (shlex.split(line, comments=True) for line in self.text.splitlines())
        return [words for words in lines if words]


def blocks(page: Path) -> list[Block]:
    found = re.findall(r"^```(.*)\n((?:.*\n)*?)```$", page.read_text(), re.MULTILINE)
    return [Block(page.name, info, text) for info, text in found]


def prose(page: Path) -> str:
    """The page without its blocks."""
    return re.sub(r"^```.*\n(?:.*\n)*?```$", "", page.read_text(), flags=re.MULTILINE)


def spans(page: Path) -> list[str]:
    """What stands in single backticks."""
    return re.findall(r"`([^`\n]+)`", prose(page))


def commands_of(page: Path) -> list[list[str]]:
    """Every command of asyncrl's on a page, in blocks and in lines, that can be read as it stands: without placeholders."""
    shown = [words for block in blocks(page) if block.language in ("bash", "console") for words in block.commands()]
    inline = [shlex.split(span) for span in spans(page) if re.match(r"asyncrl [a-z]", span)]
    ours = [words[1:] for words in (*shown, *inline) if words[0] == "asyncrl"]
    named = [words for words in ours if words[1:] and words != ["bench", "throughput"]]
    return [words for words in named if not PLACEHOLDERS & set(words)]


def anchors(page: Path) -> set[str]:
    """What a link into the page may name, as both GitHub and the built pages write it."""
    titles = re.findall(r"^#+ (.*)$", prose(page), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", title.lower()).strip().replace(" ", "-") for title in titles}


SHORT = {"--steps": 2_000, "--workers": 2, "--warm-up": 500, "--checkpoint-every": 1_000, "--evaluate-every": 1_000, "--episodes": 2}
"""The largest numbers with which commands are run."""
OF_REPLAYS = {"ddpg": 800, "td3": 800, "sac": 800}
"""Steps of those that make an update at every step after the warm-up."""
OF_BENCHES = {"throughput": ["--seconds", "0.2"], "queues": ["--messages", "400"], "heads": ["--seconds", "0.001", "--actions", "1000"]}


def shortened(words: list[str]) -> list[str]:
    """A command with small budgets, whatever it names; `resume` goes on by as many steps as a run has."""
    words = list(words)
    steps = 2 * SHORT["--steps"] if words[0] == "resume" else OF_REPLAYS.get("".join(words[1:2]), SHORT["--steps"])
    most = {**SHORT, "--steps": steps, "--workers": 4 if any("@" in word for word in words) else SHORT["--workers"]}  # workers by number
    for place, word in enumerate(words[:-1]):
        if word in most:
            words[place + 1] = str(min(int(float(words[place + 1].replace("_", ""))), most[word]))
    if words[0] == "train":
        words += [extra for name in ("--steps", "--workers") if name not in words for extra in (name, str(most[name]))]
        words += ["--evaluation-episodes", "1"]
    if words[0] == "study":
        place = words.index("--set") + 1 if "--set" in words else len(words) + 1
        words = [*words, "--set"] if "--set" not in words else [word for word in words if not word.startswith("steps=")]
        words.insert(place, f"steps={SHORT['--steps']}")
        words += ["--seeds", "1"]
    if words[0] == "bench":
        words += OF_BENCHES.get(words[1], [])
    return [*words, "--quiet"] if words[0] in ("train", "resume", "study") else words


def shortened_program(text: str) -> str:
    """The same for a program."""
    text = re.sub(r"\bsteps=[\d_]+", "steps=2_000, evaluation_episodes=1", text)
    return re.sub(r"\bevaluations=[\d_]+", "evaluations=400", text)
