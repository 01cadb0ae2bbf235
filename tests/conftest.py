"""Fixtures that several test files use."""

from __future__ import annotations

import os

# One thread for each worker of pytest-xdist and for the programs that it starts, or they fight for the processors.
# This has to be said before the first of these libraries is imported.
if "PYTEST_XDIST_WORKER" in os.environ:
    for threads in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "TF_NUM_INTRAOP_THREADS", "TF_NUM_INTEROP_THREADS"):
        os.environ.setdefault(threads, "1")

import shutil
import signal
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
import training_pairs
from environments import Environments
from signals import coloured_noise
from synthesised import write_corpus
from turns import Turns

from dtln.commands import convert, enhance

# A shell starts what it puts into the background with interrupts ignored, and nohup with hang-ups; every program that
# tests start inherits that. The tests of Ctrl+C and of a terminal that is closed want the usual handlers.
signal.signal(signal.SIGINT, signal.default_int_handler)
if hasattr(signal, "SIGHUP"):
    signal.signal(signal.SIGHUP, signal.SIG_DFL)

ENVIRONMENTS = pytest.StashKey[Environments]()
TURNS = pytest.StashKey[Turns]()
# With CI set, a test that is skipped has failed, but for a reason that begins with one of these.
ALLOWED_SKIPS_IN_CI = ("tflite_runtime has no wheel for this Python",)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item, call):
    """Turns skips into failures in CI, where everything that tests need is to be there."""
    report = yield
    if os.environ.get("CI") and report.skipped and not hasattr(report, "wasxfail"):
        reason = str(report.longrepr[2]).removeprefix("Skipped: ")
        if not reason.startswith(ALLOWED_SKIPS_IN_CI):
            report.outcome, report.longrepr = "failed", f"skipped in CI, which counts as a failure: {reason}"
    return report


def pytest_configure(config):
    """Makes the folder in which the workers of a test run share environments; the process that began them does it."""
    worker = getattr(config, "workerinput", None)
    folder = worker["environments"] if worker else tempfile.mkdtemp(prefix="dtln-environments-")
    config.stash[ENVIRONMENTS] = Environments(Path(folder))
    config.stash[TURNS] = Turns(Path(folder))


@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_runtest_protocol(item, nextitem):
    """Has tests that carry the marker `alone` wait until no other worker is at a test, and others wait for them.

    One that follows another keeps its turn, or it would wait for a test of the other worker between the two.
    """
    alone = _is_alone(item)
    with item.config.stash[TURNS].take(alone, keep=alone and nextitem is not None and _is_alone(nextitem)):
        return (yield)


def _is_alone(item) -> bool:
    return item.get_closest_marker("alone") is not None


@pytest.hookimpl(optionalhook=True)
def pytest_configure_node(node):
    """Tells a worker of pytest-xdist where that folder is."""
    node.workerinput["environments"] = str(node.config.stash[ENVIRONMENTS].folder)


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items):
    """Marks tests that want environments as slow, unless they are foreign, of aarch64 or of the web.

    Those that want to be alone come last, when nobody has to wait for them any more. They get a second try: what they
    measure passes in real time, and a virtual machine may be halted at any moment.
    """
    items.sort(key=_is_alone)
    for item in items:
        kinds = ("foreign", "aarch64", "web")
        if item.get_closest_marker("environments") and not any(item.get_closest_marker(kind) for kind in kinds):
            item.add_marker(pytest.mark.slow)
        if _is_alone(item):
            item.add_marker(pytest.mark.flaky(reruns=1))


def pytest_collection_finish(session):
    """Begins to make the environments that the collected tests want."""
    if not session.config.option.collectonly:
        markers = filter(None, (item.get_closest_marker("environments") for item in session.items))
        session.config.stash[ENVIRONMENTS].make_ahead({name for marker in markers for name in marker.args})


def pytest_unconfigure(config):
    """Deletes the environments."""
    if not hasattr(config, "workerinput"):
        shutil.rmtree(config.stash[ENVIRONMENTS].folder, ignore_errors=True)


@pytest.fixture(scope="session")
def python_of(pytestconfig: pytest.Config) -> Callable[[str], str]:
    """Function: name of an environment -> its python. Tests that call it carry the marker `environments(name, ...)`."""
    return pytestconfig.stash[ENVIRONMENTS].path


@pytest.fixture(scope="session")
def node_modules(pytestconfig: pytest.Config) -> str:
    """The folder with the `node_modules` of the environment "node"."""
    return pytestconfig.stash[ENVIRONMENTS].path("node")


@pytest.fixture(scope="session")
def shared() -> Path:
    """The folder with published weights and evaluation pairs: DTLN_SHARED, or `shared` beside the repository."""
    folder = Path(os.environ.get("DTLN_SHARED", Path(__file__).resolve().parents[2] / "shared"))
    if not (folder / "eval").is_dir():
        pytest.skip(f"{folder} holds no evaluation data; set DTLN_SHARED")
    return folder


@pytest.fixture(scope="session")
def identity_weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An `.h5` file of a network that passes signals through unchanged and without delay."""
    import DTLN_model

    network = DTLN_model.build_network(DTLN_model.DTLNConfig(), seed=1)
    DTLN_model.initialise_mdct(network.dtln_layers)
    for core in (network.dtln_layers.core_1, network.dtln_layers.core_2):
        core.dense.set_weights([np.zeros_like(weight) for weight in core.dense.get_weights()])  # masks of just 0.5
    path = tmp_path_factory.mktemp("weights") / "identity.h5"
    network.save_weights(path)
    return path


@pytest.fixture
def small_networks() -> Iterator[None]:
    """Networks of `training_pairs.small_networks` during a test."""
    with training_pairs.small_networks():
        yield


@pytest.fixture
def eagerly() -> Iterator[None]:
    """`training_pairs.eager_tensorflow` during a test."""
    with training_pairs.eager_tensorflow():
        yield


@pytest.fixture
def noise():
    """The function `coloured_noise`."""
    return coloured_noise


@pytest.fixture(scope="session")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with `speech` and `noise` as `synthesised.write_corpus` makes them."""
    return write_corpus(tmp_path_factory.mktemp("corpus"))


@pytest.fixture
def folders(tmp_path) -> tuple[Path, Path]:
    """An empty input folder and the name of an output folder that does not exist yet."""
    (tmp_path / "in").mkdir()
    return tmp_path / "in", tmp_path / "out"


@pytest.fixture
def evaluate(folders, identity_weights):
    """Runs the script on the two folders with the network that passes signals through; returns the exit status."""

    def run(*options: str | Path, weights: Path = identity_weights) -> int:
        source, target = folders
        return enhance.main(["-i", str(source), "-o", str(target), "-m", str(weights), *map(str, options)])

    return run


@pytest.fixture(scope="session")
def weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An `.h5` file of a network with random masks, of the variant that normalises magnitudes."""
    from signals import random_network

    import DTLN_model as dtln

    path = tmp_path_factory.mktemp("weights") / "plain_name.h5"
    random_network(dtln.DTLNConfig(norm_stft=True)).save_weights(path)
    return path


@pytest.fixture(scope="session")
def model_dir(weights: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with every export of `weights`, made by the converter."""
    folder = tmp_path_factory.mktemp("exports")
    assert convert.main(["-m", str(weights), "-t", str(folder)]) == 0
    return folder
