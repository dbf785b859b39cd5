"""AmsterTime: 1,231 places of Amsterdam, an archive picture and a street view of each."""

from pathlib import Path
from typing import Any

from bench.data import locate, raw
from bench.datasets._readers import places, utm
from bench.errors import BenchError, first_few
from bench.facts import Download, Expected, Facts

VARIANTS = {
    "vpr": "one direction, as in place recognition: folders or lists with @ names",
    "new-to-old": "street views as queries, archive photographs as database; official list",
    "old-to-new": "archive photographs as queries, street views as database; official list",
}
CITATION = (
    "B. Yildiz, S. Khademi, R. Siebes, J. van Gemert: AmsterTime: A Visual Place Recognition "
    "Benchmark Dataset for Severe Domain Shift, ICPR 2022"
)
ITEM = "d2ee2551-986a-46bc-8540-b43f5b01ec4d"
FACTS = Facts(
    tier=2,
    headline="Recall@1",
    size_bytes=None,
    licence="see the 4TU deposit, doi 10.4121/19580806",
    licence_url="https://doi.org/10.4121/19580806",
    downloads=(
        Download(
            file="data.zip",
            urls=(f"https://data.4tu.nl/ndownloader/items/{ITEM}/versions/4",),
        ),
    ),
    truth=("retrieval.csv", "amstertime_*.npy", "@*@.jpg"),
    folders=("AmsterTime-v1.0", "AmsterTime"),
    expected={
        "vpr": Expected(
            database=1231,
            queries=1231,
            database_sha256="ec36884371c963adbb344ed804eb3a42b93cb64c5547b2fb45edb635c5b20818",
            queries_sha256="5046371618d60ebf2d8a7376705eca177cf733197131731e52f0679c8a824197",
            positives={"all": 1231},
        ),
        "new-to-old": Expected(database=1231, queries=1231, positives={"all": 1231}),
        "old-to-new": Expected(database=1231, queries=1231, positives={"all": 1231}),
    },
    notes=("The archive from 4TU contains a second one, AmsterTime-v1.0.zip: unpack both.",),
)


def load(root: Path, variant: str) -> dict[str, Any]:
    """Return the pairs in one direction."""
    if variant == "vpr":
        form = utm.load(root, "amstertime", FACTS, CITATION)
        return {key: form[key] for key in form if key != "positions"}  # of its names: numbers
    path = locate.find(locate.folders(root, "amstertime", FACTS.folders), "retrieval.csv")
    if path is None:
        raise places.missing(root, "amstertime", "retrieval.csv", FACTS)
    asks, answers = variant.split("-to-")
    rules = {"positive": "same-number"}
    read = _tasks(path, asks, answers)
    return places.dataset(root, "amstertime", FACTS, CITATION, read, rules=rules)


def _tasks(path: Path, asks: str, answers: str) -> dict[str, Any]:
    """Return the tasks `<asks>/<id>.<ending>,<answers>` of the list, in its order."""
    try:
        rows = [row for _, row in raw.table(raw.read(path), path, ())]
        files = [row["query"] for row in rows if row["query"].startswith(f"{asks}/")]
        targets = {row["query"] for row in rows if row["query"].startswith(f"{answers}/")}
    except (KeyError, AttributeError, ValueError) as error:
        raise BenchError(f"{path} is not a list of tasks, query,target: {error!r}.") from error
    by_id = {Path(file).stem: file for file in targets}
    lacking = {Path(file).stem for file in files} ^ by_id.keys()
    if lacking:
        raise BenchError(
            f"{path}: {len(lacking)} places have only one photograph: {first_few(sorted(lacking))}."
        )
    return {
        "database": [by_id[Path(file).stem] for file in files],
        "queries": files,
        "positive": [[i] for i in range(len(files))],
    }
