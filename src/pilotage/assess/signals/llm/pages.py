"""Pages that show an answer: scripts and templates that write it as markup.

JavaScript is read line by line and not parsed. What a request or an event brings is foreign; a name is foreign after it
is given something foreign, or is a parameter of a function that is called with such; what a cleaner gave back is not.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence

from pilotage.assess.folder import Folder
from pilotage.assess.model import Finding

__all__ = ["in_pages"]

_PAGES = (
    ".html", ".htm", ".jinja", ".jinja2", ".j2", ".js", ".jsx", ".ts", ".tsx", ".vue", ".svelte", ".mjs", ".ejs",
    ".hbs",
)  # fmt: skip
_MOST = 1 << 20
_LONG = 2000
_WORDS = (
    r"(answer|response|reply|completion|output|message|msg|bot\w*|generated\w*|llm\w*|assistant\w*|content|chunk|token"
    r"|delta|summary|explanation|suggestion)"
)
_TEMPLATES = re.compile(
    rf"(?i)\{{\{{[^}}]*\b{_WORDS}\b[^}}]*\|\s*safe\s*[|}}]|\{{%\s*autoescape\s+(false|off)|<%-[^%]*\b{_WORDS}\b"
    rf"|\{{\{{\{{[^}}]*\b{_WORDS}\b[^}}]*\}}\}}\}}"
)
_SINK = re.compile(
    r"(?:\.(?:innerHTML|outerHTML)|\[['\"]innerHTML['\"]\])\s*\+?=(?!=)\s*(?P<set>.*)"
    r"|insertAdjacentHTML\(\s*[^,]+,\s*(?P<insert>.*)|document\.write(?:ln)?\((?P<write>.*)"
    r"|(?:\$\([^)]*\)|\$?\w+)\.(?:html|append|prepend|before|after)\(\s*(?P<jquery>.*)"
    r"|dangerouslySetInnerHTML\s*=\s*\{\{?\s*(?P<react>.*)|v-html\s*=\s*[\"'](?P<vue>[^\"']*)|\{@html\s+(?P<svelte>[^}]*)"
    r"|\[innerHTML\]\s*=\s*[\"'](?P<angular>[^\"']*)|createContextualFragment\((?P<fragment>.*)|setHTMLUnsafe\((?P<unsafe>.*)"
)
_CLEANS = re.compile(
    r"(?i)(?:dompurify|\b\w*sanitiz\w*|\b\w*escape\w*|\bbleach|\bxss|\bpurify\w*|\bencodeHTML|\bstripTags|encodeURIComponent"
    r"|\btextToHtml)(?:\.\w+)*\("
)
_SOURCE = re.compile(
    r"\bfetch\(|\.json\(\)|\.read\(\)|\bgetReader\(|\.text\(\)|\bJSON\.parse\(|\b(?:e|ev|evt|event|msg|message)\.data\b|\.decode\(|responseText"
    r"|\baxios[.(]|\bXMLHttpRequest|\$\.(?:post|get|ajax|getJSON)\(|\bawait\s+\w*(?:ask|chat|complete|generate|query|send)\w*\(|\buseChat\("
    r"|\b(?:res|resp|response|result)\.data\b|choices\s*\??\.?\["
)
_GIVEN = re.compile(
    r"(?:\b(?:const|let|var)\s+)?(?P<names>\{[^}=]*\}|\[[^\]=]*\]|[\w$.]+)\s*(?:\+|\?\?|\|\|)?=(?![=>])\s*(?=(?P<value>.+))"
)
_FUNCTION = re.compile(
    r"(?:function\s+(?P<name>\w+)\s*|(?:const|let|var)\s+(?P<arrow>\w+)\s*=\s*(?:async\s*)?(?:function\s*)?)\((?P<given>[^)]*)\)"
)
_LATER = re.compile(
    r"\.(?:then|done|on\w*|subscribe|forEach|map)\(\s*(?:['\"][^'\"]*['\"]\s*,\s*)?(?:async\s*)?(?:function\s*)?\(?\s*(\{[^}]*\}|\w+)"
)
_CALLED_BACK = re.compile(r"\$\.(?:post|get|getJSON)\(.*[,(]\s*(?:function\s*\(\s*(?=\w)|\(?(?=\w+\)?\s*=>))(\w+)")
_NAME = re.compile(r"[A-Za-z_$][\w$]*")
_ERROR = re.compile(r"\b(?:e|ex|err|error|exception)\.message\b")
_STRING = re.compile(r"'(?:[^'\\]|\\.)*'|\"(?:[^\"\\]|\\.)*\"")
_PUSHED = re.compile(r"\b(\w+)(?:\.value|\.current)?\.(?:push|unshift|concat|append)\((.+)|\bset([A-Z]\w*)\((.+)")
_EACH = re.compile(
    r"v-for\s*=\s*[\"']\(?\s*(\w+)[^\"']*?\s(?:in|of)\s+(\w+)|\{#each\s+(\w+)\s+as\s+(\w+)|\bof\s+(\w+)\)"
)
_FILLED = re.compile(r"\$\{([^}]*)\}")
_PARTS = frozenset({"id", "length", "className", "type", "role", "status", "index", "key"})


def in_pages(folder: Folder) -> Iterator[Finding]:
    """Lines of templates and scripts that write an answer as markup."""
    for path, size in folder.files.items():
        if not path.lower().endswith(_PAGES) or size > _MOST or ".min." in path or not (text := folder.text(path)):
            continue
        for number in sorted(set(_written(text.lines))):
            yield Finding(
                file=path,
                line=number,
                message="the answer becomes part of a page as HTML",
                digest=text.line_digest(number),
            )


def _written(lines: Sequence[str]) -> Iterator[int]:
    foreign, own = _followed(lines)
    for number, line in enumerate(lines, 1):
        if len(line) > _LONG or line.lstrip().startswith(("//", "*", "{#", "<!--")):
            continue
        if _TEMPLATES.search(line):
            yield number
        for sink in _SINK.finditer(line):
            kind, value = next((kind, value) for kind, value in sink.groupdict().items() if value is not None)
            whole = value if value.strip() or number == len(lines) else lines[number]
            if (
                kind == "jquery"
                and not re.match(r"[`'\"]?\s*[`'\"]?<|\w*(html|marked)", whole)
                and ".html(" not in sink[0]
            ):
                continue
            if kind == "angular":  # which cleans, unless a pipe of the pilot says that it need not
                if re.search(r"(?i)\|\s*\w*(trust|safe|bypass)\w*", whole):
                    yield number
            elif _is_foreign(whole, foreign, own):
                yield number


def _is_foreign(value: str, foreign: set[str], own: set[str]) -> bool:
    """Whether what is written holds something foreign, or something that is called like an answer."""
    if _CLEANS.search(value):
        return False
    if _SOURCE.search(value):
        return True
    names = _names(_ERROR.sub(" ", value))
    return bool(names & foreign) or any(re.fullmatch(_WORDS, name, re.IGNORECASE) for name in names - own)


def _names(value: str) -> set[str]:
    """The names in an expression, outside its strings; of a template string those that are filled in."""
    filled = " ".join(_FILLED.findall(value))
    bare = re.sub(r"`[^`]*`?", " ", _STRING.sub(" ", value)) + " " + filled
    return {name for name in _NAME.findall(bare) if name not in _PARTS}


def _followed(lines: Sequence[str]) -> tuple[set[str], set[str]]:
    """Names that hold something foreign, and names that hold only what was cleaned or is written in the page."""
    foreign: set[str] = set()
    clean: set[str] = set()
    own: set[str] = set()
    functions = {(found["name"] or found["arrow"]): _split(found["given"]) for found in _functions(lines)}
    for _ in range(3):
        before = len(foreign), len(clean)
        for line in lines:
            if len(line) > _LONG:
                continue
            for given in _GIVEN.finditer(line):
                names, value = _held(given["names"]), given["value"]
                if _CLEANS.search(value):
                    clean |= names
                elif _SOURCE.search(value) or _names(value) & foreign:
                    foreign |= names - {"innerHTML", "textContent", "innerText"}
                elif not _names(value):
                    own |= names
            for into, value, state, set_to in _PUSHED.findall(line):
                if not _CLEANS.search(line) and (_SOURCE.search(value + set_to) or _names(value + set_to) & foreign):
                    foreign.add(into or state[:1].lower() + state[1:])
            for each, over, of, one, _ in _EACH.findall(line):
                if (over or of) in foreign:
                    foreign.add(each or one)
            if (_SOURCE.search(line) or _names(line) & foreign) and not _CLEANS.search(line):
                for later in [*_LATER.findall(line), *_CALLED_BACK.findall(line)]:
                    foreign |= set(_NAME.findall(later))
            for name, parameters in functions.items():
                for call in re.finditer(rf"(?<!function )\b{re.escape(name)}\((.*)", line):
                    for parameter, value in zip(parameters, _split(call[1]), strict=False):
                        if not _CLEANS.search(value) and (_SOURCE.search(value) or _names(value) & foreign):
                            foreign.add(parameter)
        if (len(foreign), len(clean)) == before:
            break
    return foreign - clean, (own - foreign) | clean


def _held(target: str) -> set[str]:
    """The name that an assignment gives a value: of `draft.value` the first, of `this.answer` the last."""
    first, _, last = target.partition(".")
    return set(_NAME.findall(first if not last or last in ("value", "current") else last.rpartition(".")[2]))


def _functions(lines: Sequence[str]) -> Iterator[re.Match[str]]:
    for line in lines:
        if len(line) <= _LONG and (found := _FUNCTION.search(line)):
            yield found


def _split(arguments: str) -> list[str]:
    """Arguments as they are written, up to the bracket that closes them."""
    found, depth, at = [""], 0, ""
    for letter in arguments:
        if at:
            at = "" if letter == at else at
        elif letter in "'\"`":
            at = letter
        elif letter in "([{":
            depth += 1
        elif letter in ")]}":
            if not depth:
                break
            depth -= 1
        elif letter == "," and not depth:
            found.append("")
            continue
        found[-1] += letter
    return [each.strip() for each in found]
