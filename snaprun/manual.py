"""What `--help` and `snaprun help KEY` print, from the comments of the YAML files."""

import shutil
import textwrap
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from snaprun import checks, keys
from snaprun.keys import Key, Page

FLAGS = "--cfg job shows the composed configuration, --hydra-help the flags."


@dataclass(frozen=True)
class Manual:
    """The YAML files in some folders: those of snaprun, and perhaps the user's own."""

    folders: Sequence[Path]
    commands: Mapping[str, str]  # what each command does

    def command(self, name: str, words: Sequence[str] = ()) -> str:
        """Return the help of a command: a section for each group as `words` choose it, and keys.

        Raises UserError for a choice that no file has.
        """
        said = dict(word.split("=", 1) for word in words if "=" in word)
        page = self.page(name)
        lines = [f"snaprun {name}: {self.commands[name]}.", ""]
        groups = {group.path for group in page.groups}
        own = [key for key in page.keys if key.path not in groups]
        for group in page.groups:
            choice = said.get(group.path, group.default)
            lines += _item(f"{group.path}={choice}", self._about(group))
            shown = [key for one in _each(choice) for key in self.chosen(group.path, one).keys]
            belongs = [key for key in own if key.path.startswith(f"{group.path}.")]
            own = [key for key in own if key not in belongs]
            lines += self._listed([*shown, *belongs], "  ")
            lines.append("")
        lines += self._listed(own)
        lines += ["", "Examples:", *(f"  {line}" for line in page.examples)]
        lines += ["", f"snaprun help KEY tells more of one key. {FLAGS}"]
        return "\n".join(lines)

    def key(self, wanted: str) -> str:
        """Return all that is known of a key, or of a group, by its path or its last part.

        Raises UserError for a key that no file has.
        """
        lines = list[str]()
        groups: dict[str, Key] = {}  # as the first command that has them, train, explains them
        for name in self.commands:
            for group in self.page(name).groups:
                groups.setdefault(group.path, group)
        if wanted in groups:
            lines += [*_item(wanted, groups[wanted].comment.partition(":")[0]), ""]
            for choice in self.choices(wanted):
                lines += _item(f"{wanted}={choice}", self.chosen(wanted, choice).title, "  ")
            return "\n".join(lines)
        known = list(self._everything(groups))
        found = [one for one in known if wanted in (one[1].path, one[1].path.rpartition(".")[2])]
        if not found:
            paths = sorted({key.path for _, key in known} | {*groups})
            checks.refuse("help", wanted, "a key or a group", checks.near(wanted, paths))
        of_all: dict[Key, list[str]] = {}
        for where, key in found:
            of_all.setdefault(key, []).append(where)
        for key, where in of_all.items():
            lines += [f"{key.path}={key.default}    ({', '.join(where)})"]
            lines += [*_wrapped(key.comment, "    "), ""]
        return "\n".join(lines[:-1])

    def _everything(self, groups: Mapping[str, Key]) -> Iterator[tuple[str, Key]]:
        """Yield every key with the command or the choice that has it; experiments add none."""
        for name in self.commands:
            for key in self._read(name).keys:
                yield f"snaprun {name}", key
        for group in groups:
            for choice in self.choices(group):
                for key in self.chosen(group, choice).keys:
                    if key.path.startswith(f"{group}."):
                        yield f"{group}={choice}", key

    def _read(self, name: str, group: str = "") -> Page:
        """Return the page of a file; an empty one if only Hydra knows the name."""
        files = (folder / f"{name}.yaml" for folder in self.folders)
        return next((keys.read(file, group) for file in files if file.is_file()), Page([], []))

    def choices(self, group: str) -> list[str]:
        """Return the names of the files of a group, sorted."""
        files = [file for folder in self.folders for file in (folder / group).glob("*.yaml")]
        return sorted({file.stem for file in files})

    def page(self, name: str) -> Page:
        """Return the page of a command, with the groups and keys of the files it begins with."""
        page = self._read(name)
        for base in page.bases:
            below = self.page(base)
            groups, own = [*below.groups, *page.groups], [*page.keys, *below.keys]
            page = Page(page.head, own, groups)
        return page

    def chosen(self, group: str, choice: str) -> Page:
        """Return the page of a choice; raises UserError if there is none of that name."""
        if choice not in (accepted := self.choices(group)):
            checks.refuse(group, choice, checks.listed(accepted), checks.near(choice, accepted))
        return self._inherited(group, choice)

    def _inherited(self, group: str, choice: str) -> Page:
        """Return the page of a choice, with the keys of the choices it begins with."""
        page = self._read(f"{group}/{choice}", group)
        own = {key.path: key for key in page.keys}
        for base in page.bases:
            for key in self._inherited(group, base.partition("@")[0]).keys:
                own.setdefault(key.path, key)
        return Page(page.head, [*own.values()])

    def _about(self, group: Key) -> str:
        said, names = group.comment.partition(":")[0], self.choices(group.path)
        listed = ", ".join(names) if len(names) <= MANY else f"snaprun help {group.path} lists them"
        return f"{said}: {listed}"

    def _listed(self, shown: Sequence[Key], indent: str = "") -> Iterator[str]:
        for key in shown:
            yield from _item(f"{key.path}={key.default}", key.comment, indent)


WIDTH, COLUMN = 100, 30  # of a page that is not shown on a terminal; where comments begin
MANY = 12  # choices of a group are not listed in a line


def _each(choice: str) -> list[str]:
    """Return the names in a choice of a group: one, several as in [a,b], or none."""
    names = map(str.strip, choice.strip("[]").split(","))
    return [name for name in names if name not in ("", "null")]


def _item(left: str, right: str, indent: str = "") -> list[str]:
    """Return a key and its comment: beside it, or below it where it is long."""
    left = indent + left
    lines = _wrapped(right, " " * COLUMN)
    if len(left) + 2 <= COLUMN and lines:
        return [left.ljust(COLUMN) + lines[0].lstrip(), *lines[1:]]
    return [left, *lines]


def _wrapped(text: str, indent: str) -> list[str]:
    width = min(shutil.get_terminal_size((WIDTH, 0)).columns, 140)
    return textwrap.wrap(
        text,
        max(width, 60),
        initial_indent=indent,
        subsequent_indent=indent,
        break_long_words=False,
        break_on_hyphens=False,
    )
