"""The page "When things go wrong" says what the code says."""

from __future__ import annotations

import ast
import sys

import pytest
from test_dvc_yaml import ROOT

sys.path.insert(0, str(ROOT / "docs" / "site"))

import refusals

ERRORS = '''
MOST = 3
class IngestError(ValueError):
    """Ours."""
class NamedError(IngestError):
    def __init__(self, path, why=""):
        super().__init__(f"{path} is no file of that name{why}; call it otherwise.")
'''


def said(body: str) -> list[refusals.Refusal]:
    trees = {"hpcl/geo/errors.py": ast.parse(ERRORS), "hpcl/ingest/new.py": ast.parse(body)}
    return refusals.refusals(trees)


@pytest.mark.parametrize(
    ("body", "wrong", "remedy"),
    [
        (
            "raise IngestError(f'{self.path} has {len(bands)} bands_; give {MOST}' f' of `{name}`.')",
            r"<var>path</var> has <var>number</var> bands\_; give <var>MOST</var> of `NAME`",
            None,
        ),
        (
            "from hpcl.geo.errors import MOST\nraise IngestError(f'{a} has more than that; give {MOST}.')",
            "<var>a</var> has more than that",
            "give 3",
        ),
        (
            "raise IngestError(f\"Its name is '{name}'{hint}; write '{other}' there.\")",
            "Its name is '<var>name</var>' <var>hint</var>",
            "write '<var>other</var>' there",
        ),
        ("raise NamedError(path)", "<var>path</var> is no file of that name <var>why</var>", "call it otherwise"),
        (
            "raise IngestError(f\"{' and '.join(paths)} lie apart{' (far)' if far else ''}, or {'so' if a else 'not'}.\")",
            r"<var>paths</var> lie apart \[(far)\], or so / not",
            "",
        ),
        (
            'raise IngestError(f\'No CRS is there; set it, as in `{remedies.edit_info(path, "--crs", "EPSG:1")}`.\')',
            "No CRS is there",
            "set it, as in `rio edit-info --crs EPSG:1 PATH`",
        ),
        (
            "raise IngestError(f'A rim is there; mark it: `{remedies.mark_rim(raw.path, edge.code, near)}`.')",
            "A rim is there",
            "mark it: `python -m stages.mend --rim=CODE --within=NEAR PATH`",
        ),
        (
            "def f():\n    why = 'of this'\n    if x:\n        why = f'of {that}'\n    raise IngestError(f'It is wrong because {why}.')",
            "It is wrong because of this / of <var>that</var>",
            "",
        ),
    ],
)
def test_a_sentence_is_read_from_the_code(body: str, wrong: str, remedy: str | None) -> None:
    if remedy is None:
        wrong, _, remedy = wrong.partition("; ")
    assert said(body) == [refusals.Refusal("hpcl/ingest/new.py", wrong, remedy)]


def test_bugs_and_sentences_from_elsewhere_are_left_out() -> None:
    assert said("raise ValueError('This is a bug of ours.')\nraise IngestError('; '.join(findings))") == []


def test_the_page_says_who_says_it() -> None:
    trees = {
        "hpcl/ingest/new.py": ast.parse(
            '"""What is new. More."""\nclass NewError(ValueError): ...\nraise NewError("It is new; wait.")'
        ),
        "stages/look.py": ast.parse("from hpcl.ingest import new"),
        "stages/other.py": ast.parse("import sys"),
    }
    assert "## Raw files and outlines\n\nWhat is new. (`look`)\n\n- It is new; **wait**\n" in refusals.markdown(trees)
    trees["hpcl/unknown.py"] = trees["hpcl/ingest/new.py"]
    with pytest.raises(KeyError, match="name it in GROUPS"):
        refusals.markdown(trees)
