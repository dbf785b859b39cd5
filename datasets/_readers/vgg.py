"""What is known of the Oxford and Paris photographs, which four data sets share."""

from __future__ import annotations

from bench.facts import Download

LICENCE = (
    "photographs from Flickr under the terms of access of the Visual Geometry Group, no "
    "redistribution; ground truth published without a licence"
)
OXFORD_URL = "https://www.robots.ox.ac.uk/~vgg/data/oxbuildings/"
PARIS_URL = "https://www.robots.ox.ac.uk/~vgg/data/parisbuildings/"
_HOSTS = {
    "oxford": (OXFORD_URL, "https://thor.robots.ox.ac.uk/datasets/oxford-buildings/"),
    "paris": (PARIS_URL, "https://thor.robots.ox.ac.uk/datasets/paris-buildings/"),
}
_TRUTH = (
    "http://cmp.felk.cvut.cz/revisitop/data/datasets/{0}/gnd_{0}.pkl",
    "http://cmp.felk.cvut.cz/cnnimageretrieval/data/test/{0}/gnd_{0}.pkl",
)

# Bytes of the unpacked photographs: about what the archives take, as JPEG does not shrink further.
OXFORD_BYTES = 2_000_000_000
PARIS_BYTES = 2_600_000_000

OXFORD_PREFIXES = {
    "all_souls": 132, "ashmolean": 195, "balliol": 154, "bodleian": 214, "christ_church": 543,
    "cornmarket": 59, "hertford": 67, "jesus": 161, "keble": 121, "magdalen": 685, "new": 458,
    "oriel": 95, "oxford": 1502, "pitt_rivers": 108, "radcliffe_camera": 282, "trinity": 217,
    "worcester": 70,
}  # fmt: skip
PARIS_PREFIXES = {
    "paris_defense": 381, "paris_eiffel": 147, "paris_general": 1497, "paris_invalides": 452,
    "paris_louvre": 266, "paris_moulinrouge": 444, "paris_museedorsay": 739,
    "paris_notredame": 444, "paris_pantheon": 659, "paris_pompidou": 436,
    "paris_sacrecoeur": 377, "paris_triomphe": 550,
}  # fmt: skip

# In the archive these are saved pages of a web server, not photographs, and no list names them.
PARIS_NOT_IMAGES = (
    "paris_louvre_000136", "paris_louvre_000146", "paris_moulinrouge_000422",
    "paris_museedorsay_001059", "paris_notredame_000188", "paris_pantheon_000284",
    "paris_pantheon_000960", "paris_pantheon_000974", "paris_pompidou_000195",
    "paris_pompidou_000196", "paris_pompidou_000201", "paris_pompidou_000467",
    "paris_pompidou_000640", "paris_sacrecoeur_000299", "paris_sacrecoeur_000330",
    "paris_sacrecoeur_000353", "paris_triomphe_000662", "paris_triomphe_000833",
    "paris_triomphe_000863", "paris_triomphe_000867",
)  # fmt: skip

# Two photographs with clear faces, as they were before the archives were made again in June 2022.
PARIS_UNBLURRED = {
    "paris_louvre_000223": "91d7e847c3dc127cfd9a94632372f67091e778d457f2548b3ca6f14b2906c2c0",
    "paris_eiffel_000004": "b9312df83bbed17351e7af7c671c8bb5aba1e844317fca91aaaf67472f108671",
}

BLURRED = (
    "in June 2022 the photographs were republished with obscured faces, as archives called -v1; "
    "earlier and later numbers are on slightly different pixels"
)
SHRUNK = (
    "the 256-pixel copies (r-oxford-* and r-paris-* of mteb) have a different protocol: their "
    "numbers cannot be compared"
)
NOTES = (BLURRED, SHRUNK)


def oxford_images() -> Download:
    """Return the archive of the Oxford photographs."""
    return Download(
        "oxbuild_images-v1.tgz",
        _urls("oxford", "oxbuild_images-v1.tgz"),
        into="jpg",
        reported="8f0017cc5d671f35011d6968269fbf47",
    )


def paris_images() -> tuple[Download, ...]:
    """Return the two archives of the Paris photographs."""
    files = ("paris_1-v1.tgz", "paris_2-v1.tgz")
    return tuple(Download(file, _urls("paris", file), into="jpg") for file in files)


def oxford_texts() -> Download:
    """Return the archive of the original ground truth of Oxford, text files."""
    file = "gt_files_170407.tgz"
    return Download(
        file,
        _urls("oxford", file),
        into="gt",
        kind="ground truth",
        reported="06c4dee0ad954f6ee122c82390548537",
        optional=True,
    )


def paris_texts() -> Download:
    """Return the archive of the original ground truth of Paris, text files."""
    file = "paris_120310.tgz"
    return Download(file, _urls("paris", file), into="gt", kind="ground truth", optional=True)


def pickled(name: str, sha256: str | None = None, reported: str | None = None) -> Download:
    """Return the pickled ground truth of the data set `name`."""
    urls = tuple(url.format(name) for url in _TRUTH if name.startswith("r") or "/test/" in url)
    return Download(f"gnd_{name}.pkl", urls, kind="ground truth", sha256=sha256, reported=reported)


def folders(*names: str) -> tuple[str, ...]:
    """Return where people keep the photographs; other programs use datasets/ and test/."""
    official = [name for name in names if name.endswith("k")]
    nested = [f"{above}/{name}" for above in ("datasets", "test") for name in official]
    return (*names, *nested)


def _urls(place: str, file: str) -> tuple[str, ...]:
    return tuple(f"{host}{file}" for host in _HOSTS[place])
