"""What the documents show is true: commands parse, print what is shown, and trees are complete.

A command is a line ``$ penjing ...`` or ``$ make ...`` in a block marked ``console`` or ``sh``. The
lines under it are its output, all of it; a line ``...`` stands for any number of lines left out. A
command without output is only parsed, unless it writes a file. A tree is a block that begins with a
folder (``penjing/``, or ``./`` for the repository): an entry a line, its name first. What stands
under a folder is all that is in it; ``*`` may stand for many.
"""

import fnmatch
import os
import re
import shlex
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest

from penjing import __version__
from penjing.cli.main import _parser
from penjing.errors import BadCommand

ROOT = Path(__file__).parents[2]
DOCUMENTS = ("README.md", "ARCHITECTURE.md", "CONTRIBUTING.md")
BY_DOCUMENT = pytest.mark.parametrize("document", DOCUMENTS)


@dataclass(frozen=True, kw_only=True)
class Shown:
    """A command as a document shows it, and the output under it."""

    command: str
    output: str

    @property
    def words(self) -> list[str]:
        """The words of the first program; pipes and redirections are the shell's."""
        words = shlex.split(self.command.replace("\\\n", " "), comments=True)
        ends = [i for i, w in enumerate(words) if w in ("|", ">", ">>", "2>", "&&", ";", "<")]
        return words[: min(ends, default=len(words))]

    @property
    def writes(self) -> bool:
        """Into a file, which a command further down may read."""
        return re.search(r"\s>>?\s", self.command) is not None


def read(document: str) -> str:
    file = ROOT / document
    assert file.is_file(), f"{document} is missing"
    return file.read_text(encoding="utf-8")


def commands(text: str) -> list[Shown]:
    found = []
    for block in re.findall(r"^```(?:console|sh)\n(.*?)^```", text, re.DOTALL | re.MULTILINE):
        for part in re.split(r"^\$ ", block, flags=re.MULTILINE)[1:]:
            command = re.match(r"(?:.*\\\n)*.*", part)
            assert command
            found.append(Shown(command=command[0], output=part[command.end() :].strip("\n")))
    return [s for s in found if s.words and s.words[0] in ("penjing", "make")]


def recipe(target: str) -> str:
    """The shell lines of a target of the Makefile."""
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    found = re.search(rf"^{re.escape(target)}:.*\n((?:\t.*\n)+)", makefile, re.MULTILINE)
    assert found, f"the Makefile has no target {target}"
    return found[1].replace("\t@", "\t").replace("$(BIN)/", "").replace("\t", "")


def unknown(shown: Shown) -> str:
    """Why the command is refused; empty where it is understood."""
    program, *words = shown.words
    if program == "make":
        for word in (w for w in words if "=" not in w):
            recipe(word)
        return ""
    try:
        _parser().parse_args(words)
    except BadCommand as error:
        return f"refused: {shown.command}: {error}"
    except SystemExit:
        pass  # --help and --version leave so, having said what they say
    return ""


def printed(shown: Shown, folder: Path) -> str:
    """Both streams of the command, typed in a folder that looks like the repository."""
    program, *words = shown.words
    script = shown.command if program == "penjing" else "\n".join(map(recipe, words))
    penjing = f'penjing() {{ {shlex.quote(sys.executable)} -m penjing "$@"; }}\n'
    environment = os.environ | {"COLUMNS": "100", "PYTHONPATH": str(ROOT)}
    return subprocess.run(
        ["bash", "-c", penjing + script],
        cwd=folder,
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        stdin=subprocess.DEVNULL,
        text=True,
        check=False,
    ).stdout


def agrees(expected: str, actual: str) -> bool:
    """Line by line, trailing blanks aside; a line ``...`` stands for any lines or none."""
    lines = [r"(?:.*\n)*?" if x == "..." else re.escape(x) + r"\n" for x in trimmed(expected)]
    return re.fullmatch("".join(lines), "".join(f"{x}\n" for x in trimmed(actual))) is not None


def trimmed(text: str) -> list[str]:
    return [line.rstrip() for line in text.strip("\n").splitlines()]


def trees(text: str) -> list[str]:
    blocks = re.findall(r"^```\w*\n(.*?)^```", text, re.DOTALL | re.MULTILINE)
    return [b for b in blocks if re.match(r"[\w.-]+/(\s|$)", b)]


def entries(tree: str, root: Path) -> dict[Path, list[str]]:
    """The names under each folder of the tree, by the folder's path."""
    above: list[tuple[int, Path]] = []
    found: dict[Path, list[str]] = {}
    for line in filter(str.strip, tree.splitlines()):
        match = re.match(r"([\s│├└─]*)(\S+)", line)
        assert match, line
        depth, name = len(match[1]), match[2]
        while above and above[-1][0] >= depth:
            above.pop()
        if above:
            found.setdefault(above[-1][1], []).append(name.rstrip("/"))
        above.append((depth, (above[-1][1] if above else root) / name))
    return found


def wrong_in(tree: str, root: Path) -> list[str]:
    """What a tree shows that is not there, and what is there that it leaves out."""
    wrong = []
    for folder, names in entries(tree, root).items():
        there = {f.name for f in folder.iterdir()} if folder.is_dir() else set()
        gone = [n for n in names if not fnmatch.filter(there, n)]
        seen = {n for name in names for n in fnmatch.filter(there, name)}
        missed = sorted(n for n in there - seen if not is_left_out(n))
        wrong += [f"{folder.relative_to(root)}: {n} is not there" for n in gone]
        wrong += [f"{folder.relative_to(root)}: {n} is not shown" for n in missed]
    return wrong


def is_left_out(name: str) -> bool:
    """Hidden files, ``__init__.py`` and its like, and what git ignores."""
    ignored = (ROOT / ".gitignore").read_text(encoding="utf-8").split()
    patterns = [".*", "__*", "py.typed", *(p.rstrip("/") for p in ignored)]
    return any(fnmatch.fnmatch(name, p) for p in patterns)


@BY_DOCUMENT
def test_every_command_is_understood(document: str) -> None:
    refused = [why for why in map(unknown, commands(read(document))) if why]
    assert not refused, "\n".join(refused)


@BY_DOCUMENT
def test_commands_print_what_is_shown(document: str, tmp_path: Path) -> None:
    for entry in ROOT.iterdir():
        if not is_left_out(entry.name):
            (tmp_path / entry.name).symlink_to(entry)
    for shown in filter(lambda s: s.output or s.writes, commands(read(document))):
        actual = printed(shown, tmp_path)
        assert agrees(shown.output, actual), f"{document}: $ {shown.command}\n{actual}"


def test_the_readme_shows_how_to_run_and_what_comes_out() -> None:
    found = commands(read("README.md"))
    assert {s.words[0] for s in found} == {"penjing", "make"}
    assert any(s.output for s in found)


@pytest.mark.parametrize("document", DOCUMENTS[:2])
def test_every_tree_is_complete(document: str) -> None:
    wrong = [w for tree in trees(read(document)) for w in wrong_in(tree, ROOT)]
    assert not wrong, "\n".join(wrong)


def test_some_document_shows_the_tree_of_the_package() -> None:
    found = [t for document in DOCUMENTS[:2] for t in trees(read(document))]
    assert any(ROOT / "penjing" in entries(t, ROOT) for t in found)


SAMPLE = """
```console
$ penjing chips show \\
    H20
H20: NVIDIA
...
also called: H20

$ make run
$ ls
```
```sh
$ penjing chips list | head -3  # the first
```
"""


def test_commands_are_found_with_their_output() -> None:
    show, make, listing = commands(SAMPLE)
    assert show.words == ["penjing", "chips", "show", "H20"]
    assert show.output == "H20: NVIDIA\n...\nalso called: H20"
    assert (make.words, make.output) == (["make", "run"], "")
    assert listing.words == ["penjing", "chips", "list"]


def test_a_wrong_command_is_refused() -> None:
    assert unknown(Shown(command="penjing chips list", output="")) == ""
    assert unknown(Shown(command="penjing --version", output="")) == ""
    assert "invalid choice: 'chisp'" in unknown(Shown(command="penjing chisp list", output=""))
    with pytest.raises(AssertionError, match="no target rum"):
        unknown(Shown(command="make rum", output=""))


def test_what_is_printed_is_compared(tmp_path: Path) -> None:
    piped = Shown(command="penjing --version | cat", output="")
    assert printed(piped, tmp_path) == f"penjing {__version__}\n"
    assert agrees("a\n...\nd", "a  \nb\nc\nd\n")
    assert agrees("a\n...\nd", "a\nd\n")
    assert not agrees("a\n...\nd", "a\nb\n")
    assert not agrees("a", "a\nb\n")
    assert not agrees("a.c", "abc")


def test_a_tree_that_leaves_out_or_makes_up_is_caught(tmp_path: Path) -> None:
    (tmp_path / "room" / "data").mkdir(parents=True)
    for name in ("__init__.py", "door.py", "wall.py", "data/a.toml", "data/b.toml"):
        (tmp_path / "room" / name).touch()
    whole = "room/        what it is\n├── door.py   in\n├── wall.py\n└── data/\n    └── *.toml\n"
    assert trees(f"```text\n{whole}```\n```\na diagram\n```\n") == [whole]
    assert wrong_in(whole, tmp_path) == []
    assert wrong_in("room/\n  door.py\n  roof.py\n  data/\n", tmp_path) == [
        "room: roof.py is not there",
        "room: wall.py is not shown",
    ]


def test_make_run_installs_what_its_verbs_need() -> None:
    """Tests run where everything is installed, so none of them would miss it."""
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    stamp = makefile.partition(".venv/run: ")[2].partition("\n\n")[0]
    assert "penjing train" in makefile.partition("\nrun: ")[2].partition("\n\n")[0]
    assert "'.[run]'" in stamp
