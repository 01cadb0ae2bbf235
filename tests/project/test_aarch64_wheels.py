"""benchmarks/aarch64_wheels.py: how it reads names and conditions, and what the package index has."""

from __future__ import annotations

import json

import pytest
from environments import NETWORK_FAILURES

from benchmarks import aarch64_wheels
from benchmarks.aarch64_wheels import PI_32_BIT, PI_SYSTEMS, NoWheel, System, has_wheel, needed_packages, oldest_glibc

BOOKWORM, TRIXIE = PI_SYSTEMS


@pytest.mark.parametrize(
    ("file", "glibc"),
    [
        ("numpy-2.4.6-cp313-cp313-manylinux_2_27_aarch64.manylinux_2_28_aarch64.whl", 27),
        ("cffi-2.1.1-cp311-cp311-manylinux2014_aarch64.manylinux_2_17_aarch64.whl", 17),
        ("protobuf-7.36.2-cp310-abi3-manylinux2014_aarch64.whl", 17),
        ("flatbuffers-25.12.19-py2.py3-none-any.whl", None),
    ],
)
def test_glibc_is_read_from_the_tags(file, glibc):
    assert oldest_glibc(file) == glibc


def test_wheel_without_glibc_is_refused():
    with pytest.raises(ValueError, match="name no glibc"):
        oldest_glibc("numpy-2.4.6-cp313-cp313-musllinux_1_2_aarch64.whl")


def test_pip_is_told_all_tags_that_fit():
    options = System("old", "3.11", 18).pip_options()
    assert "--python-version=3.11" in options and "--only-binary=:all:" in options
    platforms = {option.partition("=")[2] for option in options if option.startswith("--platform")}
    assert {"manylinux_2_17_aarch64", "manylinux_2_18_aarch64", "manylinux2014_aarch64"} <= platforms
    assert "manylinux_2_19_aarch64" not in platforms and all(tag.endswith("_aarch64") for tag in platforms)


def test_conditions_are_those_of_the_pi():
    chosen = {
        "a": {"requires_dist": ['on-arm; platform_machine == "aarch64"', 'on-intel; platform_machine == "x86_64"']},
        "on-arm": {"requires_dist": ['late; python_version >= "3.13"', "B.C[more]", 'other; extra == "unasked"']},
        "b-c": {"requires_dist": ['extra-one; extra == "more"', "a"]},
        "not-needed": {},
    }
    early = ["a", "on-arm", "b-c", "extra-one"]
    assert needed_packages(["A>=1"], chosen, BOOKWORM) == early
    assert sorted(needed_packages(["A>=1"], chosen, TRIXIE)) == sorted([*early, "late"])


def test_what_pip_left_out_is_asked_for(monkeypatch):
    """pip on another machine takes `on-intel` and leaves out `on-arm`."""
    asked = []

    def resolve(requirements, system):
        asked.append(list(requirements))
        texts = ['on-arm; platform_machine == "aarch64"', 'on-intel; platform_machine == "x86_64"']
        return {"a": {"requires_dist": texts}, "on-intel": {}} | {name: {} for name in requirements[1:]}

    monkeypatch.setattr(aarch64_wheels, "resolve", resolve)
    monkeypatch.setattr(aarch64_wheels, "download", lambda packages, system: list(packages))
    assert aarch64_wheels.wheels_for(["a"], BOOKWORM) == ["a", "on-arm"]
    assert asked == [["a"], ["a", "on-arm"]]


def test_missing_wheel_is_named_and_fails(monkeypatch, capsys):
    def resolve(requirements, system):
        raise NoWheel("no wheel of soxr>=1.1")

    monkeypatch.setattr(aarch64_wheels, "resolve", resolve)
    monkeypatch.setattr(aarch64_wheels, "has_wheel", lambda requirement, system: False)
    assert aarch64_wheels.main([]) == 1
    assert capsys.readouterr().out.count("MISSING: no wheel of soxr>=1.1") == 2


@pytest.mark.slow
def test_package_index_has_every_wheel(tmp_path, capsys):
    try:
        status = aarch64_wheels.main(["--json", str(tmp_path / "wheels.json")])
        assert status == 0, capsys.readouterr().out
        assert has_wheel("tflite-runtime", BOOKWORM) and not has_wheel("tflite-runtime", TRIXIE)
        assert not has_wheel("ai-edge-litert", PI_32_BIT)
    except RuntimeError as error:
        if any(words in str(error) for words in NETWORK_FAILURES):
            pytest.skip("packages cannot be looked up: no package index was reached")
        raise
    found = json.loads((tmp_path / "wheels.json").read_text())
    for system in PI_SYSTEMS:
        wheels = {wheel["package"]: wheel for wheel in found["wheels"][system.name]}
        assert {"numpy", "sounddevice", "soxr", "ai-edge-litert", "cffi", "flatbuffers"} <= set(wheels)
        assert not {"soundfile", "tensorflow", "scipy"} & set(wheels)
        assert all(wheel["glibc"] is None or wheel["glibc"] <= 36 for wheel in wheels.values())
        assert 50 < sum(wheel["installed_megabytes"] for wheel in wheels.values()) < 200
