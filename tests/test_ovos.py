"""OpenVoiceOS's own plug-in manager finds, makes and uses the plug-in, beside what it wants."""

from __future__ import annotations

import json
import os
import re
import sys
import tomllib
from pathlib import Path

import pytest

from tests.conftest import _PACKAGE_ROOT

pytestmark = [pytest.mark.integration, pytest.mark.usefixtures("local_model")]

ROOT = Path(__file__).parents[1]
NAME = "ovos-stt-plugin-edge-audiokv"
# Put there by scripts/test: it cannot share packages with what tests and lints here.
MANAGER = Path(sys.prefix) / "ovos"

LISTEN = f"""
import json, sys
import soundfile
from ovos_plugin_manager import stt
from ovos_plugin_manager.utils.audio import AudioData

found = {{"class": stt.load_stt_plugin("{NAME}").__name__}}
found["configs"] = stt.get_stt_module_configs("{NAME}")
found["languages"] = stt.get_stt_supported_langs()
config = json.loads(sys.argv[2])
config["stt"]["{NAME}"].update(threads=1, plain_text=True)
config["stt"]["fallback_module"] = "x"
plugin = stt.OVOSSTTFactory.create({{"lang": "en-us", **config}})
found["listed"] = sorted(plugin.available_languages)
found["mem"] = plugin._transcriber.settings.mem
samples, rate = soundfile.read(sys.argv[1], dtype="int16")
sound = AudioData(samples.tobytes(), rate, 2)
found["said"] = plugin.transcribe(sound, "en-US")
found["silence"] = plugin.execute(AudioData(bytes(32_000), 16_000, 2))
try:
    plugin.execute(sound, "de-DE")
except Exception as error:
    found["refused"] = str(error)
plugin.shutdown()
print(json.dumps(found))
"""


def readme_config() -> str:
    """What README.md tells people to write."""
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    (found,) = (text for text in re.findall(r"```json\n(.*?)```", readme, re.S) if NAME in text)
    return found


def test_what_is_tested_is_what_is_asked_for() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    (needed,) = project["optional-dependencies"]["ovos"]
    assert f'"{needed}"' in (ROOT / "scripts/test").read_text(encoding="utf-8")


def test_its_plug_in_manager_loads_it_and_hears_speech(command, spoken, tmp_path) -> None:
    assert MANAGER.is_dir(), "scripts/test puts OpenVoiceOS's plug-in manager there"
    ran = command.python(
        "-c",
        LISTEN,
        spoken["letter"].path,
        readme_config(),
        PYTHONPATH=os.pathsep.join([str(MANAGER), _PACKAGE_ROOT]),
        XDG_CONFIG_HOME=str(tmp_path),
        XDG_STATE_HOME=str(tmp_path),
    )
    assert ran.code == 0, ran.err
    found = json.loads(ran.out.splitlines()[-1])
    assert found["class"] == "SpeechToText"
    (config,) = found["configs"]["en"]
    assert config["model"] == "smollm2-audio" and config["meta"]["offline"]
    assert found["languages"]["en"] == [NAME]
    assert found["listed"] == ["en"] and found["mem"] == "1GB"
    ((text, confidence),) = found["said"]
    words, meant = (set(said.lower().strip(".").split()) for said in (text, spoken["letter"].text))
    assert confidence == 1.0 and len(words & meant) >= 0.75 * len(meant)
    assert found["silence"] == ""
    assert "does not know German" in found["refused"]
