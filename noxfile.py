"""The sessions of the project; every one uses the same environment, made once in .venv-nox."""

import hashlib
import os
from pathlib import Path

import nox

nox.needs_version = ">=2025.2.9"
nox.options.sessions = ["tests", "lint", "types"]
nox.options.error_on_missing_interpreters = True

ROOT = Path(__file__).resolve().parent
ENVIRONMENT = os.environ.get("RETRIEVAL_BENCH_VENV", ".venv-nox")
PROJECT = nox.project.load_toml(ROOT / "pyproject.toml")


def session(function):  # noqa: ANN001, ANN201
    """Make a nox session that shares the one environment."""
    return nox.session(venv_location=ENVIRONMENT, reuse_venv=True, default=False)(function)


def install(session: nox.Session) -> None:
    """Install what pyproject.toml names, once: again only when that file changes."""
    wanted = [
        *PROJECT["project"]["dependencies"],
        *nox.project.dependency_groups(PROJECT, "dev"),
    ]
    mark = Path(session.virtualenv.location) / "installed.sha256"
    digest = hashlib.sha256("\n".join(wanted).encode()).hexdigest()
    if not mark.is_file() or mark.read_text(encoding="ascii") != digest:
        session.install(*wanted)
        mark.write_text(digest, encoding="ascii")


@session
def bench(session: nox.Session) -> None:
    """Run methods on data sets: nox -s bench -- --method delg."""
    install(session)
    session.run("python", "-m", "bench", "run", *session.posargs)


@session
def report(session: nox.Session) -> None:
    """Rebuild results/report.md and its figures from the records."""
    install(session)
    session.run("python", "-m", "bench", "report", *session.posargs)


@session
def tests(session: nox.Session) -> None:
    """Run the tests."""
    install(session)
    session.run("pytest", *session.posargs)


@session
def lint(session: nox.Session) -> None:
    """Check style and likely mistakes with ruff."""
    install(session)
    session.run("ruff", "check", ".")
    session.run("ruff", "format", "--check", ".")


@session
def types(session: nox.Session) -> None:
    """Check types with mypy, strict for bench."""
    install(session)
    session.run("mypy")


@session
def perf(session: nox.Session) -> None:
    """Measure speed as ratios within one run; writes results/perf/."""
    install(session)
    (ROOT / "results" / "perf").mkdir(parents=True, exist_ok=True)
    session.run(
        "pytest",
        "tests/perf",
        "--benchmark-only",
        "--benchmark-json=results/perf/latest.json",
        *session.posargs,
    )


@session
def doctor(session: nox.Session) -> None:
    """Check this installation: no GPU, no download."""
    install(session)
    session.run("python", "-m", "bench", "doctor", *session.posargs)
