"""The doctor: what it says of an installation, whole, lacking and broken."""

import shutil
from importlib import metadata

import pytest

from tests.test_cli import run
from warped_diffusion import doctor
from warped_diffusion.doctor import MANIFEST, Requirement, embedded_weights, healthy, packages
from warped_diffusion.models.model import WEIGHTS


def told(monkeypatch, *requires: str) -> dict[str, doctor.Finding]:
    monkeypatch.setattr(metadata, "requires", lambda _: list(requires))
    return {finding.subject: finding for finding in packages()}


def test_the_manifest_lists_the_weights_that_are_shipped():
    listed = {line.split()[1] for line in (WEIGHTS / MANIFEST).read_text().splitlines()}
    assert listed == {path.name for path in WEIGHTS.glob("*.safetensors")}, f"run sha256sum *.safetensors > {MANIFEST}"
    assert healthy(list(embedded_weights())), f"run sha256sum *.safetensors > {MANIFEST}"


@pytest.mark.parametrize("harm", ["one bit", "cut short", "gone", "no list"])
def test_weights_that_are_not_whole_are_found(harm, tmp_path):
    weights = shutil.copytree(WEIGHTS, tmp_path / "weights")
    victim = weights / "clean-up.safetensors"
    data = bytearray(victim.read_bytes())
    data[-100] ^= 4
    if harm == "one bit":
        victim.write_bytes(data)
    elif harm == "cut short":
        victim.write_bytes(data[: len(data) // 2])
    else:
        (victim if harm == "gone" else weights / MANIFEST).unlink()
    broken = [finding for finding in embedded_weights(weights) if finding.state == "broken"]
    assert len(broken) == 1
    assert "pip install" in broken[0].told


def test_what_is_missing_comes_with_the_line_that_gets_it(monkeypatch):
    found = told(monkeypatch, "numpy>=1.0", "no-such-thing>=2; extra == 'rare'", "no-such-thing; extra == 'dev'")
    assert found["numpy"].state == "ok"
    assert found["extra rare"].state == "missing"
    assert 'pip install "warped-diffusion[rare]"' in found["extra rare"].told
    assert "extra dev" not in found
    assert healthy(list(found.values()))


def test_what_is_required_and_not_there_is_broken(monkeypatch):
    found = told(monkeypatch, "numpy>=1000.2", "no-such-thing>=2")
    assert 'pip install "numpy>=1000.2"' in found["numpy"].told
    assert found["no-such-thing"].state == "broken"
    assert not healthy(list(found.values()))


def test_requirements_are_read_as_metadata_has_them():
    assert Requirement.parse('torchvision>=0.19; extra == "raft"') == Requirement("torchvision", "0.19", "raft")
    assert Requirement.parse("typer>=0.12,<2") == Requirement("typer", "0.12", None)


def test_the_command_ends_with_1_where_something_needed_is_broken(monkeypatch, capsys):
    kinds = {"a": "ok", "b": "missing"}
    monkeypatch.setattr(doctor, "examine", lambda: (doctor.Finding(name, state, "") for name, state in kinds.items()))
    assert run(monkeypatch, "doctor") == 0
    kinds["c"] = "broken"
    assert run(monkeypatch, "doctor") == 1
    assert len(capsys.readouterr().out.splitlines()) == 5
