"""OpenVoiceOS hears with this package: a plug-in that its manager finds by entry points.

It runs inside OpenVoiceOS's listener and needs no server. In its configuration, under the plug-in's
name, stand fields of `EngineSettings`, such as `"mem": "1GB"`.
"""

from __future__ import annotations

from dataclasses import fields
from typing import Any

from ovos_plugin_manager.templates.stt import STT
from ovos_utils.process_utils import RuntimeRequirements

from edge_audiokv.engine.finals.language import check_language
from edge_audiokv.engine.settings import EngineSettings
from edge_audiokv.engine.transcriber import Transcriber
from edge_audiokv.models.catalog import list_models, resolve
from edge_audiokv.output.text import one_line

# What is spoken is asked for with each utterance.
_NAMES = {item.name for item in fields(EngineSettings)} - {"language"}


class _Languages:
    """Of the model that a plug-in has; asked of the class, of the default one."""

    def __get__(self, plugin: SpeechToText | None, owner: type) -> set[str]:
        return set((resolve() if plugin is None else plugin.entry).languages)


class SpeechToText(STT):
    """One loaded model. The constructor raises what `Transcriber.load` does. Keys of `config` that
    are no settings are OpenVoiceOS's own, and let be.
    """

    available_languages = _Languages()
    # A model is fetched once; hearing needs no network.
    runtime_requirements = RuntimeRequirements(
        network_before_load=False,
        internet_before_load=False,
        requires_network=False,
        requires_internet=False,
        no_network_fallback=True,
        no_internet_fallback=True,
    )

    def __init__(self, config: dict[str, Any] | None = None) -> None:
        super().__init__(config)
        given = {name: value for name, value in self.config.items() if name in _NAMES}
        self.entry = resolve(EngineSettings(**given).model)
        self._transcriber = Transcriber(**given).load()

    def execute(self, audio: Any, language: str | None = None) -> str:
        """The text of one utterance, an `AudioData`; empty if there was no speech in it.

        Raises UnfitModelError for a language that the model does not list.
        """
        check_language(language or self.lang, self.entry)
        pcm = audio.get_raw_data(convert_width=2)
        finals = self._transcriber.transcribe(pcm, rate_hz=audio.sample_rate)
        return " ".join(text for final in finals if (text := one_line(final.text)))

    def shutdown(self) -> None:
        """Give all memory back."""
        self._transcriber.close()


def _configs() -> dict[str, list[dict[str, Any]]]:
    found: dict[str, list[dict[str, Any]]] = {}
    for entry in list_models():
        for language in entry.languages:
            meta = {"display_name": f"edge_audiokv {entry.name}", "offline": True, "priority": 60}
            found.setdefault(language, []).append(
                {"lang": language, "model": entry.name, "meta": meta}
            )
    return found


# What can be chosen for a language, as the manager shows it.
CONFIGS = _configs()
