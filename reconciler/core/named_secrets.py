"""Secrets in a text that others wrote, by what stands before them: a name, an option, a header. Pure.

Where a secret starts is sure, where it ends often is not: texts are of any language, and cut anywhere. Then the end
is that of the line, and the secret goes on below. Every search is linear in the length of the text.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import NamedTuple

from reconciler.core.secret_names import is_secret_name, is_secret_value

# What an option is parted from its value by, in a command or in a list of its words.
_NEXT_WORD = r"""\\*['"]?,?[ \t]+"""
_WHO = r"""[^\s:'"/()|&;+%]{1,128}"""
# What a value follows: user and password of curl and its like, that of sshpass, a name with what separates it from its
# value (in JSON inside of JSON the quotes have backslashes), or an option with a blank.
_BEFORE = re.compile(
    rf"""(?<![\w.-])(?:
    (?P<user>-[a-z]{{0,3}}u{_NEXT_WORD}|-u|--(?:proxy-)?user(?:{_NEXT_WORD}|=))(?P<quote>['"]?)(?P<who>{_WHO}):
    |(?P<sshpass>sshpass[ \t]+-p)[ \t]*
    |(?P<name>[\w.-]+)\\*['"]?[ \t]*[:=]+>?(?P<blank>[ \t]*)
    |(?P<option>--?[a-z][\w.-]*){_NEXT_WORD}(?=[^\s|&;<>-])
    )""",
    re.IGNORECASE | re.VERBOSE,
)
# What is no password after `-u`: a group, when user and group are numbers (`docker run -u 1000:1000`).
_GROUP = re.compile(r"\d+(?![^\s'\"])")
# Whose `-u` takes a password; and options whose command stands elsewhere (above, where a variable is used).
_CLIENTS = re.compile(r"""curl|wget|\b(?:https?|xh)[\s"']""")
_NO_COMMAND = re.compile(r"""(?:[\s\["'(;|&`]*|.*[:=][ \t]*(?:[\[(]?["'][ \t]*|[\[(]|(?<=[:=])|(?<=:[ \t])))(?:-|$)""")
_BETWEEN = ("; ", "| ", "& ", "`", "\n")
_NEAR = 300
"""Characters in which the command of an option is looked for."""
_NEARER = 20
"""Characters in which a word before an option is looked for."""
# Options that say how to come by a secret, and hold none.
_FLAG = re.compile(r"--?(?:no|use|with|without|ask|prompt)-|-(?:stdin|prompt|env|fd)$", re.IGNORECASE)
# What a message about an option has before and after it. After the latter no value follows, and it is none itself.
_OPTION = re.compile(r"""(?<![\w-])(?:option|flag|argument|parameter)[ \t]+\\*['"]?\Z""", re.IGNORECASE)
_ABOUT_OPTION = re.compile(
    r"(?:in|and|or|requires?|needs?|expects?|takes?|must|may|can|cannot|does|should|has[ \t]no"
    r"|is[ \t](?:not?|an?|required|missing|un\w+|invalid|ambiguous|deprecated|obsolete))(?=[ \t.,;:]|$)",
    re.IGNORECASE | re.MULTILINE,
)
_HEADER = re.compile("authorization|cookie", re.IGNORECASE)
_SIGNATURE = re.compile(r"(?:[\w.-]*[_.-])?sig(?:nature)?", re.IGNORECASE)

_OPENING = re.compile(r"""[bBfFrRuU]{0,2}(\\*)(["'])""")
# Where a value without quotes ends, or what opens in it: that of a header, one that may hold blanks, and a word of a
# shell.
_LINE = re.compile(r"""(?P<end>$)|[\[({"`]""", re.MULTILINE)
_PHRASE = re.compile(r"""(?P<end>(?<![,;&])[,;&]+[ \t]*\\*['"]?[\w.-]+\\*['"]?[ \t]*[:=]|$)|[\[({"`]""", re.MULTILINE)
_WORD = re.compile(
    r"""(?P<end>(?<![,;&])[,;&]+(?:\\*['"]?[\w.-]+\\*['"]?[:=]|(?=\s|$))|\s|$)|\\.|[\[({"'`]""", re.MULTILINE
)
# What shows that a value ended with its quotes: without it, what follows is of it as well.
_AFTER = re.compile(r"[ \t]*(?:[;&|<>)\]}]|,(?!\w)|$)", re.MULTILINE)
# What may open or close something: past a backslash with what follows it, and past quotes that are doubled.
_MARK = re.compile(r"""\\.|""|''|(["'`\[{\])}]|\$?\()|$""", re.MULTILINE)


class Named(NamedTuple):
    """A secret in a text: what says so, where its value starts and ends, and whether it goes on below that line."""

    name: str
    start: int
    end: int
    goes_on: bool


def named_secrets(text: str) -> Iterator[Named]:
    """Yield each secret in `text` that its name, its option or its header tells.

    A value in quotes ends with them. That of a header (`Cookie: a=b; c=d`) ends with its line, one that follows a
    blank (`password: correct horse`) too, any other with the word; both of these end before a comma, semicolon or `&`
    that the next name follows. What opens in a value (quotes, brackets, a command of the shell) is of it to where it
    closes, or all of the line when it does not.
    """
    at = 0
    while (found := _BEFORE.search(text, at)) is not None:
        start = at = found.end()
        if not _tells(text, found):
            continue
        name = (found["user"] or found["sshpass"] or found["option"] or found["name"]).strip("\\'\", \t=")
        if found["quote"]:
            at, goes_on = _close(text, start, found["quote"])
            end = at if goes_on else at - 1
        else:
            start, end, goes_on = _value(text, start, _end_of(text, found))
            at = end
        if (end > start or goes_on) and (not is_secret_name(name) or is_secret_value(name, text[start:end])):
            yield Named(name, start, end, goes_on)


def is_secret_option(word: str) -> bool:
    """Whether this is an option of a command, and the word that follows it is a secret."""
    return word.startswith("-") and " " not in word and is_secret_name(word) and _FLAG.search(word) is None


def _tells(text: str, found: re.Match[str]) -> bool:
    """Whether what was found is followed by a secret."""
    if found["user"]:
        is_group = found["who"].isdigit() and _GROUP.match(text, found.end()) is not None
        return not is_group and _takes_passwords(text, found.start())
    if found["option"]:
        return is_secret_option(found["option"]) and not _is_in_message(text, found)
    if found["name"]:
        before, end = text[found.start() - 1 : found.start()], found.end()
        in_a_path = before == "/" and text[end - 1 : end + 1] == ":/"
        in_a_query = before in {"?", "&", ";"}
        is_secret = is_secret_name(found["name"]) or (in_a_query and _SIGNATURE.fullmatch(found["name"]) is not None)
        return is_secret and not in_a_path
    return True


def _is_in_message(text: str, found: re.Match[str]) -> bool:
    """Whether this is a message about an option, without a value for it (`option --token requires an argument`)."""
    return (
        _ABOUT_OPTION.match(text, found.end()) is not None
        and _OPTION.search(text, max(0, found.start() - _NEARER), found.start()) is not None
    )


def _takes_passwords(text: str, at: int) -> bool:
    """Whether the command whose option `-u` is at `at` takes a password with it, or is not to be seen there."""
    start = max(0, at - _NEAR)
    command = text[max(start, *(text.rfind(mark, start, at) for mark in _BETWEEN)) : at]
    return _NO_COMMAND.match(command) is not None or _CLIENTS.search(command.lower()) is not None


def _end_of(text: str, found: re.Match[str]) -> re.Pattern[str]:
    """Return what ends the value that follows, when it has no quotes."""
    if found["option"] and (inner := _BEFORE.match(text, found.end())) and inner["name"] and _tells(text, inner):
        return _end_of(text, inner)  # `--token password: a b`
    if found["name"] and _HEADER.search(found["name"]):
        return _LINE if ":" in text[found.end("name") : found.end()] else _PHRASE
    return _PHRASE if found["blank"] else _WORD


def _value(text: str, start: int, end_of: re.Pattern[str]) -> tuple[int, int, bool]:
    """Return start and end of the value at `start`, without its quotes, and whether it goes on below its line."""
    opening = _OPENING.match(text, start)
    if opening is None:
        return start, *_end(text, start, end_of)
    escapes = len(opening[1])
    if escapes:  # it ends with the same quote after as many backslashes, not more
        closing = re.compile(rf"(?<!\\)\\{{{escapes}}}{opening[2]}|$", re.MULTILINE).search(text, opening.end())
        end, goes_on = (closing.end(), not closing[0]) if closing else (len(text), True)
    else:
        end, goes_on = _close(text, opening.end(), opening[2])
    if goes_on:
        return opening.end(), end, True
    if _AFTER.match(text, end) or (text[end].isspace() and end_of is _WORD):
        return opening.end(), end - escapes - 1, False
    return start, *_end(text, end, end_of)


def _end(text: str, start: int, end_of: re.Pattern[str]) -> tuple[int, bool]:
    """Return where a value ends that goes on at `start`, and whether it goes on below its line."""
    at = start
    while (found := end_of.search(text, at)) is not None and found["end"] is None:
        at = found.end()
        if not found[0].startswith("\\"):
            at, goes_on = _close(text, at, found[0])
            if goes_on:
                return at, not (_is_around(text, found[0], start) and _is_command(text, start, at))
    end = found.start() if found else len(text)
    if "<<" in text[start:end]:
        return end, True
    if not text.endswith("\\", start, end):
        return end, False
    is_over = any(quote in text[start:end] and _is_around(text, quote, start) for quote in "\"'")
    return end, not (is_over and _is_command(text, start, end))


def _is_around(text: str, quote: str, at: int) -> bool:
    """Whether this opened before `at` on its line, around the name as well: where it closes, the value is over."""
    return quote in "\"'" and text.count(quote, text.rfind("\n", 0, at) + 1, at) % 2 == 1


def _is_command(text: str, start: int, end: int) -> bool:
    """Whether below a value that ends like this only its command goes on, when anything does: no secret of its own."""
    if not text.endswith("\\", start, end):
        return True
    last = text[start:end].rsplit(maxsplit=2)[-2:]
    return len(last) == 2 and last[1] == "\\" and not is_secret_option(last[0])


def _close(text: str, at: int, opening: str) -> tuple[int, bool]:
    """Return where what opened before `at` is closed, and False; or the end of the line, and True."""
    inside = [opening]
    while inside and (found := _MARK.search(text, at)) is not None:
        at, mark = found.end(), found[1]
        if not found[0]:
            return at, True
        quote = inside[-1] if inside[-1] in "\"'`" else ""
        if mark and (mark == quote if quote else mark in "])}"):
            inside.pop()
        elif mark and (not quote or (quote == '"' and mark in {"$(", "`"})):
            inside.append(mark)
    return at, bool(inside)
