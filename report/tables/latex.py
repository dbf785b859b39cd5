r"""The main table of a dataset in LaTeX: booktabs, one note per card, ready for \input.

Only what pdfLaTeX prints with its own fonts is written: accents become accent commands, signs that
have one become commands, and any other character stands as its code point, [U+6F22].
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Mapping, Sequence

from bench.records.rows import Score
from bench.records.text import clean
from bench.records.words import gist
from bench.report.tables.main import BEST, SECOND, Board, Row, about, printed, treatment

PREAMBLE = r"\usepackage{booktabs,graphicx}"
# As wide as it is, or shrunk to the line where that is wider.
FIT = r"\resizebox{\ifdim\width>\linewidth\linewidth\else\width\fi}{!}{%"
TRAINED = "10em"  # width of the column of the training set, whose names are long
_SIGNS = {
    "\\": r"\textbackslash{}", "{": r"\{", "}": r"\}", "$": r"\$", "&": r"\&", "#": r"\#",
    "%": r"\%", "_": r"\_", "^": r"\^{}", "~": r"\textasciitilde{}", "<": r"\(<\)",
    ">": r"\(>\)", "|": r"\(|\)", "\u201c": "``", "\u201d": "''", "`": r"\`{}",
    "–": r"\textendash{}", "—": r"\textemdash{}", "…": r"\ldots{}",
    "±": r"\(\pm\)", "×": r"\(\times\)", "·": r"\(\cdot\)", "≥": r"\(\ge\)",
    "≤": r"\(\le\)", "→": r"\(\to\)", "−": r"\(-\)", "√": r"\(\surd\)",
    "∞": r"\(\infty\)", "ß": r"\ss{}", "ø": r"\o{}", "Ø": r"\O{}", "æ": r"\ae{}",
    "Æ": r"\AE{}", "ł": r"\l{}", "Ł": r"\L{}", "ı": r"\i{}", "©": r"\copyright{}",
}  # fmt: skip
_ACCENTS = {
    "\u0300": "`", "\u0301": "'", "\u0302": "^", "\u0303": "~", "\u0304": "=", "\u0306": "u",
    "\u0307": ".", "\u0308": '"', "\u030a": "r", "\u030b": "H", "\u030c": "v", "\u0327": "c",
    "\u0328": "k",
}  # fmt: skip
_GREEK = {
    "alpha", "beta", "gamma", "delta", "epsilon", "zeta", "eta", "theta", "iota", "kappa", "lambda",
    "mu", "nu", "xi", "pi", "rho", "sigma", "tau", "upsilon", "phi", "chi", "psi", "omega",
}  # fmt: skip


def escape(text: object, longest: int = 200) -> str:
    r"""Return text so that LaTeX prints exactly its characters.

    >>> escape("50 % of a_b & Radenović")
    "50 \\% of a\\_b \\& Radenovi\\'{c}"
    """
    line = re.sub(r'(^|[\s(\[{])"', "\\1\u201c", clean(text, longest)).replace('"', "\u201d")
    return "".join(map(_character, line)).replace("--", "-{}-")


def table(board: Board) -> str:
    r"""Return a table* that compiles after `PREAMBLE`; empty cells where nothing was measured."""
    shown, same = _columns(board)
    heads = ["method", "backbone", "trained on", *shown]
    metrics = [f"{escape(column.head)}" for column in board.columns]
    count = len(heads) + len(metrics)
    lines = [
        f"% {escape(board.dataset)}: written by `python -m bench report`; needs {PREAMBLE}",
        r"\begin{table*}[t]",
        r"\centering\footnotesize\setlength{\tabcolsep}{3pt}",
        rf"\caption{{{_caption(board, same)}}}",
        rf"\label{{tab:{label(board.dataset)}}}",
        FIT,
        rf"\begin{{tabular}}{{@{{}}llp{{{TRAINED}}}{'l' * len(shown)}{'r' * len(metrics)}@{{}}}}",
        r"\toprule",
        " & ".join([*map(escape, heads), *metrics]) + r" \\",
    ]
    for group in board.groups:
        heading = rf"\multicolumn{{{count}}}{{@{{}}l}}{{\emph{{{escape(group.heading)}}}}} \\"
        lines += [r"\midrule", heading, r"\addlinespace[2pt]"]
        lines += [_row(row, shown, board.digits) for row in group.rows]
    lines += [r"\bottomrule", r"\end{tabular}}"]
    texts = {
        note: rf"card \texttt{{{run.card8}}}: {escape(gist(run.card), 400)}."
        for note, run in board.cards.items()
    }
    return "\n".join([*lines, *notes(texts), r"\end{table*}"]) + "\n"


def notes(texts: Mapping[str, str]) -> list[str]:
    """Return the lines below a table: each finished note after its letter."""
    out = [r"\par\smallskip\begin{minipage}{\linewidth}\scriptsize\raggedright"]
    out += [rf"\textsuperscript{{{note}}}~{text}\par" for note, text in texts.items()]
    return [*out, r"\end{minipage}"]


def _columns(board: Board) -> tuple[list[str], dict[str, str]]:
    """Return the columns of the treatment that differ, and the others with their one value."""
    every = [treatment(row.run) for row in board.rows]
    same = {key: every[0][key] for key in about(board) if len({e[key] for e in every}) == 1}
    if len(every) == 1:
        same = {}
    return [key for key in about(board) if key not in same], same


def _caption(board: Board, same: Mapping[str, str]) -> str:
    caption = f"{escape(board.dataset)}: {escape(board.label)}, \\%"
    if any(score.interval for row in board.rows for score in row.scores):
        drawn = f" from {board.drawn}" if board.drawn else ""
        caption += f", with 95\\,\\% intervals{drawn}"
    caption += "."
    if same:
        words = "; ".join(f"{escape(key)} {escape(value)}" for key, value in same.items())
        caption += f" All rows: {words}."
    if any(BEST in row.places for row in board.rows):
        caption += r" \textbf{Best}"
        if any(SECOND in row.places for row in board.rows):
            caption += r" and \underline{second best}"
        caption += " of a group."
    if len(board.groups) > 1:
        caption += " Rows under different headings must not be compared."
    return caption


def _row(row: Row, shown: Sequence[str], digits: int) -> str:
    run, words = row.run, treatment(row.run)
    cells = [
        rf"{{}}{escape(run.short_name(60))}\textsuperscript{{{row.note}}}",
        escape(run.backbone, 40),
        rf"\raggedright {escape(run.training_set, 120)}",
        *(escape(words[key], 60) for key in shown),
        *(_cell(score, place, digits) for score, place in zip(row.scores, row.places, strict=True)),
    ]
    return " & ".join(cells) + r" \\"


def _cell(score: Score, place: int, digits: int) -> str:
    text = printed(score.mean, digits).replace("–", "--")
    text = {BEST: rf"\textbf{{{text}}}", SECOND: rf"\underline{{{text}}}"}.get(place, text)
    if score.interval is None:
        return text
    low, high = (f"{100 * end:.1f}" for end in score.interval)
    return rf"{text} {{\tiny [{low}, {high}]}}"


def label(dataset: str) -> str:
    """Return a dataset's name with nothing but letters, digits and hyphens, for a label."""
    return "".join(c if c.isascii() and c.isalnum() else "-" for c in dataset)


def _character(character: str) -> str:
    if character in _SIGNS:
        return _SIGNS[character]
    if character.isascii():
        return character
    letter = unicodedata.name(character, "").removeprefix("GREEK SMALL LETTER ").lower()
    if (name := letter.replace("lamda", "lambda")) in _GREEK:
        return rf"\(\{name}\)"
    base, *marks = list(unicodedata.normalize("NFD", character))
    if len(marks) == 1 and marks[0] in _ACCENTS and base.isascii():
        return rf"\{_ACCENTS[marks[0]]}{{{base}}}"
    return f"[U+{ord(character):04X}]"
