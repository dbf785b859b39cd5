"""The sessions of the project; all but `lock` use the same environment, made once in .venv-nox."""

import hashlib
import os
import shutil
import sys
from pathlib import Path

import nox

nox.needs_version = ">=2024.4.15"
nox.options.sessions = ["tests", "lint", "types"]

ROOT = Path(__file__).resolve().parent
ENVIRONMENT = Path(os.environ.get("RETRIEVAL_BENCH_VENV", ROOT / ".venv-nox")).absolute()
PYTHON = ENVIRONMENT / ("Scripts/python.exe" if os.name == "nt" else "bin/python")
LOCK = ROOT / "requirements" / "dev.txt"
# A process per processor, four at most; a file's tests share what its fixtures make.
PARALLEL = ("--numprocesses=auto", "--maxprocesses=4", "--dist=loadfile")
PYTHONS = ("3.11", "3.12", "3.13", "3.14")  # for which torch has wheels
LOCKS = {  # by file: what of pyproject.toml it holds
    "dev": ["--group", "dev"],
    "core": [],
    "hdf5": ["--extra", "hdf5"],
    "ray": ["--extra", "ray"],
    "tensorflow": ["--extra", "tensorflow"],
    "xfeat": ["--extra", "xfeat"],
}


def session(function):
    """Make a nox session that has no environment of its own: all share the one of `run`."""
    return nox.session(venv_backend="none", default=False)(function)


def run(session: nox.Session, *command: str) -> None:
    """Run a Python command in the shared environment, which is made before if it is not there.

    It holds exactly what the lock names, and is made again when the lock or the Python changes.
    """
    mark = ENVIRONMENT / "installed.sha256"
    digest = hashlib.sha256(sys.version.encode() + LOCK.read_bytes()).hexdigest()
    if not mark.is_file() or mark.read_text(encoding="ascii") != digest:
        if ENVIRONMENT.exists() and ENVIRONMENT != ROOT / ".venv-nox" and not mark.is_file():
            session.error(
                f"{ENVIRONMENT} is not a finished environment of this project; delete it, or "
                "choose another folder."
            )
        shutil.rmtree(ENVIRONMENT, ignore_errors=True)
        session.run(sys.executable, "-m", "virtualenv", "--quiet", str(ENVIRONMENT), external=True)
        install = ("pip", "install", "--quiet", "--require-hashes", "-r", str(LOCK))
        session.run(str(PYTHON), "-m", *install, external=True)
        mark.write_text(digest, encoding="ascii")
    session.run(str(PYTHON), "-m", *command, external=True)


@session
def bench(session: nox.Session) -> None:
    """Run methods on data sets: nox -s bench -- --method delg."""
    run(session, "bench", "run", *session.posargs)


@session
def train(session: nox.Session) -> None:
    """Train a method: nox -s train -- --method delg.r50 --data FOLDER."""
    run(session, "bench", "train", *session.posargs)


@session
def ablation(session: nox.Session) -> None:
    """Train DOLG's small network without each part: nox -s ablation -- PHOTOGRAPHS [DATA SET …]."""
    if not session.posargs:
        session.error("name the folder of photographs, as methods/weights/README.md makes it.")
    photographs, *args = session.posargs
    for part in ("", "-no-local", "-concatenation", "-no-multi-atrous"):
        out = f"training-runs/ablation{part}"
        printed = (
            "--recipe",
            f"dolg-lite0{part}",
            "--data",
            photographs,
            "--seed",
            "1",
            "--out",
            out,
        )
        run(session, "bench", "train", "--method", "dolg.lite0", *printed)
        for dataset in args or ["mini"]:
            printed = ("--weights", f"{out}/final.safetensors", "--dataset", dataset)
            more = ("--measure", "none", "--results", "results/ablation")
            run(session, "bench", "run", "--method", "dolg.lite0", *printed, *more)


@session
def sources(session: nox.Session) -> None:
    """Train and judge the lite1 heads by sources left out: nox -s sources -- PACKAGES OUTPUT."""
    run(session, "bench.training.sources", *session.posargs)


@session
def report(session: nox.Session) -> None:
    """Rebuild all that follows from the records: sheet of mini, report, tables, figures, page."""
    run(session, "bench", "sheet", "--dataset", "mini", *session.posargs)
    run(session, "bench", "report", "--html", *session.posargs)


@session
def tests(session: nox.Session) -> None:
    """Run the tests but for large networks and clusters; `-- -m "not slow"`: the quick ones."""
    run(session, "pytest", *PARALLEL, *session.posargs)


@session
def tests_all(session: nox.Session) -> None:
    """Run every test, large networks and clusters too; then without fusion; then on other Pythons.

    A Python that is not on this machine is skipped by name.
    """
    for version in PYTHONS:
        if version != f"{sys.version_info[0]}.{sys.version_info[1]}":
            session.notify(f"tests_python-{version}")
    run(session, "pytest", *PARALLEL, "-m", "not cluster", *session.posargs)
    run(session, "pytest", "-m", "cluster", *session.posargs)
    session.env["RETRIEVAL_BENCH_FUSION"] = "0"
    run(session, "pytest", *PARALLEL, "tests/describe", "tests/methods", *session.posargs)


@nox.session(python=PYTHONS, default=False)
def tests_python(session: nox.Session) -> None:
    """Run the tests with the lock on a Python: nox -s tests_python-3.13."""
    session.install("uv>=0.9")
    install_and_test(session, "--require-hashes", "-r", str(LOCK))


@session
def cluster(session: nox.Session) -> None:
    """Run the long tests that start clusters of Ray and kill parts of them: best alone."""
    run(session, "pytest", "-m", "cluster", *session.posargs)


@session
def lint(session: nox.Session) -> None:
    """Check style and likely mistakes with ruff."""
    run(session, "ruff", "check", ".")
    run(session, "ruff", "format", "--check", ".")


@session
def types(session: nox.Session) -> None:
    """Check types with mypy, strict: bench, methods, datasets and report."""
    run(session, "tests.support.typed_tree", *session.posargs)


@nox.session(default=False)
def lock(session: nox.Session) -> None:
    """Write requirements/*.txt from pyproject.toml; `-- --upgrade` moves to the newest versions.

    Without it every version stays that still fits. The other locks follow the one of development,
    and so do the names of timm's models.
    """
    session.install("uv>=0.9")
    shared = ["--universal", "--python-version", "3.11", "--generate-hashes", "--no-header"]
    for name, part in LOCKS.items():
        like = [] if name == "dev" else ["--constraint", "requirements/dev.txt"]
        out = ["--output-file", f"requirements/{name}.txt", "--quiet"]
        arguments = [*shared, *part, *like, *out, "pyproject.toml", *session.posargs]
        session.run("uv", "pip", "compile", *arguments)
    version = (ROOT / "requirements" / "timm-models.txt").read_text(encoding="ascii").split()[0]
    if f"timm=={version} " not in LOCK.read_text(encoding="utf-8"):
        run(session, "bench.methods._nets.timm_names")


def other_versions(session: nox.Session, *choice: str) -> None:
    """Run the tests in an environment of versions other than those of the lock."""
    session.install("uv>=0.9")
    file = f"{session.create_tmp()}/requirements.txt"
    Path(file).unlink(missing_ok=True)  # whose versions uv would keep
    compiling = ("uv", "pip", "compile", "--quiet", "--no-header", "--output-file", file)
    session.run(*compiling, *choice, *LOCKS["dev"], "pyproject.toml")
    install_and_test(session, "-r", file)


def install_and_test(session: nox.Session, *requirements: str) -> None:
    """Install into the environment of a session by uv, and run the tests there.

    Environments have gigabytes: one whose tests pass is removed.
    """
    python = f"{session.virtualenv.bin}/python"
    session.run("uv", "pip", "install", "--quiet", "--python", python, *requirements)
    session.run("python", "-m", "bench", "doctor", success_codes=[0, 1])
    session.run("python", "-m", "pytest", *PARALLEL, *session.posargs)
    shutil.rmtree(session.virtualenv.location)


@nox.session(python="3.11", default=False)
def tests_lowest(session: nox.Session) -> None:
    """Run the tests with the lowest direct versions that pyproject.toml allows, on Python 3.11."""
    other_versions(session, "--resolution", "lowest-direct", "--python-version", "3.11")


@nox.session(default=False)
def tests_newest(session: nox.Session) -> None:
    """Run the tests with the newest versions there are: no lock, the Python that runs nox."""
    other_versions(session, "--upgrade")


@session
def perf(session: nox.Session) -> None:
    """Measure speed as ratios within one run; writes results/perf/."""
    raw = session.create_tmp() + "/benchmarks.json"
    run(
        session,
        "pytest",
        "tests/perf",
        "--benchmark-only",
        f"--benchmark-json={raw}",
        *session.posargs,
    )
    run(session, "tests.perf.keep", raw, "results/perf")


@session
def gpu(session: nox.Session) -> None:
    """Measure all there is on a GPU in 8 minutes: nox -s gpu [-- --quick, on a processor]."""
    run(session, "tests.perf.gpu", *session.posargs)


@session
def doctor(session: nox.Session) -> None:
    """Check this installation: no GPU, no download."""
    run(session, "bench", "doctor", *session.posargs)


@session
def torture(session: nox.Session) -> None:
    """Kill, flip, fuzz and inject faults for a time: nox -s torture -- --minutes 60 --seed 1."""
    run(session, "tests.torture", *session.posargs)
