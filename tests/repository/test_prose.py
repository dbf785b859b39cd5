"""The patterns of a translated dialect stay out of help, errors, report and documentation.

Only phrases without an honest use are searched for. A text that needs one anyway is quoted in
`QUOTED`, with the reason.
"""

import ast
import re
from collections.abc import Iterator

from tests.support.checkout import ROOT

PHRASES = (
    r"what (?:is|was) there", r"what there is", r"what of (?:a|an|the|every|each)", r"by hand",
    r"(?:it|they|file|files|images|which|that|data) (?:lies|lie)", r"says? so", r"as said",
    r"(?:is|are|was|be|been) said", r"said (?:above|otherwise)", r"of old", r"anew",
    r"(?:is|are) wanted", r"at hand", r"(?:can|could|to) (?:not )?be had", r"nobody", r"somebody",
    r"(?:stands?|is there) twice", r"for (?:want|lack) of", r"in words", r"(?:is|are) none of",
    r"(?:none|one|error|errors|sentence) of ours", r"mend(?:s|ed)?", r"(?:asks?|asked) among",
    r"is no (?:name|file|path|matrix|image|number|list|archive|query|option|rule|member|folder)",
    r"goes? with no", r"no more of it", r"comparable with nothing", r"nothing can be shown",
    r"not to be compared", r"told apart",
)  # fmt: skip
PATTERN = re.compile(rf"\b(?:{'|'.join(PHRASES)})\b", re.IGNORECASE)
QUOTED = {
    "CONTRIBUTING.md": ('"lies", "says so", "by hand"',),  # the rule itself
}
CODE = sorted(
    path
    for top in ("bench", "methods", "datasets", "report")
    for path in (ROOT / top).rglob("*.py")
)
PAGES = sorted(
    path
    for top in ("bench", "methods", "datasets", "results", ".github")
    for path in (ROOT / top).rglob("*.md")
    if path.parent != ROOT / "results" / "perf"  # figures with their titles, as measured
)
NAMES = {"one", "held", "said", "given"}
BOUND = re.compile(rf"\b(?:{'|'.join(sorted(NAMES))})(?:\s*[:=,)]| in )")
JOINT = re.compile(r'"\s+[rf]?"')  # between the parts of one string


def texts(source: str) -> Iterator[tuple[int, str]]:
    """Yield line and text of every string of a module that is not a docstring or a key."""
    tree = ast.parse(source)
    skipped = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.JoinedStr):
            skipped |= {id(value) for value in node.values}
        body = getattr(node, "body", None)
        if isinstance(body, list) and body and isinstance(body[0], ast.Expr):
            skipped.add(id(body[0].value))
    for node in ast.walk(tree):
        if id(node) in skipped:
            continue
        if isinstance(node, ast.JoinedStr):
            parts = [v.value if isinstance(v, ast.Constant) else "…" for v in node.values]
            yield node.lineno, "".join(map(str, parts))
        elif isinstance(node, ast.Constant) and isinstance(node.value, str):
            yield node.lineno, node.value


def found(text: str) -> list[str]:
    """Return the phrases of a text, white space made one blank."""
    return PATTERN.findall(" ".join(text.split()))


def test_the_search_finds_a_phrase_across_lines_and_not_within_words() -> None:
    assert found("the file\n  lies here, as\nsaid above; Anew") == ["file lies", "as said", "Anew"]
    assert found("a renewed list; supplies; aforesaid; handheld") == []


def test_help_errors_and_report_have_none_of_the_phrases() -> None:
    faults = []
    for path in CODE:
        source = path.read_text(encoding="utf-8")
        if not found(JOINT.sub("", source)):
            continue  # parsing takes most of the time
        for line, text in texts(source):
            if " " in text and (phrases := found(text)):
                faults.append(f"{path.relative_to(ROOT)}:{line}: {phrases}")
    assert not faults, "\n".join(faults)


def test_the_documentation_has_none_of_the_phrases() -> None:
    faults = []
    for path in (*ROOT.glob("*.md"), *PAGES):
        name, text = path.relative_to(ROOT).as_posix(), path.read_text(encoding="utf-8")
        for quoted in QUOTED.get(name, ()):
            assert quoted in text, f"{name} does not quote {quoted} any more"
            text = text.replace(quoted, "")
        faults += [f"{name}: {phrase}" for phrase in found(text)]
    assert not faults, "\n".join(faults)


def test_variables_have_names_of_things() -> None:
    faults = []
    for path in (*CODE, ROOT / "noxfile.py", ROOT / "hatch_build.py"):
        source = path.read_text(encoding="utf-8")
        if not BOUND.search(source):
            continue
        for node in ast.walk(ast.parse(source)):
            stored = isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store)
            name = node.id if stored else getattr(node, "arg", None)  # type: ignore[attr-defined]
            if name in NAMES and (stored or isinstance(node, ast.arg)):
                faults.append(f"{path.relative_to(ROOT)}:{node.lineno}: {name}")  # type: ignore[attr-defined]
    assert not faults, "\n".join(faults)
