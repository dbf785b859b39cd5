"""The data set that a record was scored on, as it is here: by a known name, or the user's own.

A record is data. What it names is looked up among the data sets known here; the path of any other
comes from the user, as an option, and what is there must have the revision on the record's card.
"""

from __future__ import annotations

from bench import datasets, plugins
from bench.errors import BenchError, MissingDataError
from bench.scoring import card as cards
from bench.types import Dataset


def is_known(card: cards.Card) -> bool:
    """Tell whether a data set known here has the name on a card."""
    name = str(card["dataset"]["name"])
    return bool({name, name.partition(".")[0]} & {*datasets.names()})


def named(text: str | None) -> tuple[str | None, str | None]:
    """Return the name of the data set that the user gives, and its path where it is one."""
    if text is None or not (datasets.is_own(text) or plugins.is_path(text)):
        return text, None
    return datasets.load(text).name, text


def dataset_of(card: cards.Card, own: str | None, where: str) -> Dataset:
    """Return the data set of a card; `own` is its name or path where the user gives one.

    `where` names the record in sentences. The user's data set must be the scored one: the same
    name, revision and counts. Of a known data set that is the caller's to compare.
    """
    stated = card["dataset"]
    if own is None and not is_known(card):
        raise MissingDataError(
            f"the data set {stated['name']} is unknown; if it is your own, give its folder or "
            "its dataset.json with --dataset."
        )
    dataset = datasets.load_known(stated["name"]) if own is None else datasets.load(own)
    if card["limit"] is not None:
        dataset = datasets.limited(dataset, card["limit"], card["limit_rule"])
    if own is not None:
        check_revision(card, dataset, own, where)
    return dataset


def check_revision(card: cards.Card, dataset: Dataset, named: str, where: str) -> None:
    """Refuse a data set whose lists and labels are not those that a record was scored on."""
    stated, here = card["dataset"], cards.make(dataset, None, unit_norm=True)["dataset"]
    if any(here[key] != stated[key] for key in ("name", "revision", "database", "queries")):
        raise BenchError(
            f"{where} was made with {stated['name']}, revision {stated['revision'][:8]}, but "
            f"{named} on this machine is {here['name']}, revision {here['revision'][:8]}; use "
            "the lists and labels that were scored."
        )
