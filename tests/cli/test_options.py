"""Where an option's value comes from: the command line, its command's variable, the shared one."""

from __future__ import annotations

import click
import pytest
from click.testing import CliRunner

from edge_audiokv.cli.main import cli
from edge_audiokv.cli.options import engine_options, name_variables, settings_from, variables
from edge_audiokv.engine.settings import EngineSettings


def settings_of(*args: str, **environment: str) -> EngineSettings:
    found: list[EngineSettings] = []

    @click.command()
    @engine_options
    def hear(**values: object) -> None:
        found.append(settings_from(values))

    result = CliRunner().invoke(
        hear, args, env=environment, auto_envvar_prefix="EDGE_AUDIOKV_HEAR", standalone_mode=False
    )
    if result.exception is not None:
        raise result.exception
    return found[0]


SHARED = {"EDGE_AUDIOKV_MEM": "3GB"}
OWN = {"EDGE_AUDIOKV_HEAR_MEM": "2GiB"}


@pytest.mark.parametrize(
    ("args", "environment", "mem"),
    [
        ([], SHARED, "3GB"),
        ([], OWN, "2GiB"),
        ([], {**SHARED, **OWN}, "2GiB"),
        (["--mem", "1GB"], {**SHARED, **OWN}, "1GB"),
        ([], {"EDGE_AUDIOKV_MEM": ""}, EngineSettings().mem),
    ],
)
def test_the_nearest_setting_wins(args, environment, mem) -> None:
    assert settings_of(*args, **environment).mem == mem


def test_every_engine_option_has_a_shared_variable() -> None:
    settings = settings_of(
        EDGE_AUDIOKV_MODEL="tiny",
        EDGE_AUDIOKV_KV_POLICY="snapkv",
        EDGE_AUDIOKV_KV_BUDGET="40%",
        EDGE_AUDIOKV_KV_OPTION="window=16 pooled=true",
        EDGE_AUDIOKV_CACHE_TYPE_K="q8_0",
        EDGE_AUDIOKV_CACHE_TYPE_V="q4_0",
        EDGE_AUDIOKV_THREADS="2",
        EDGE_AUDIOKV_PROVIDER="cuda",
        EDGE_AUDIOKV_COMPUTE="Vulkan0",
        EDGE_AUDIOKV_GPU_LAYERS="all",
        EDGE_AUDIOKV_KV_DEVICE="cpu",
    )
    assert (settings.model, settings.kv_policy, settings.kv_share) == ("tiny", "snapkv", 0.4)
    assert settings.kv_options == {"window": 16, "pooled": True}
    assert (settings.type_k, settings.type_v) == ("q8_0", "q4_0")
    assert (settings.threads, settings.provider) == (2, "cuda")
    assert (settings.compute, settings.gpu_layers) == ("Vulkan0", "all")
    assert settings.kv_device == "cpu" and settings_of().kv_device == "auto"


@pytest.mark.parametrize(
    ("typed", "layers"), [("12", 12), ("0", 0), ("ALL", "all"), ("auto", "auto")]
)
def test_layers(typed: str, layers: int | str) -> None:
    assert settings_of("-ngl", typed).gpu_layers == layers
    assert settings_of().gpu_layers is None


@pytest.mark.parametrize("typed", ["-1", "many", "1.5", "", "1000"])
def test_what_is_no_number_of_layers(typed: str) -> None:
    with pytest.raises(click.BadParameter, match="nor all or auto"):
        settings_of("--gpu-layers", typed)


def test_a_command_s_variable_has_the_name_of_the_option() -> None:
    seen: dict[str, object] = {}

    @click.group()
    def top() -> None:
        pass

    @top.command("hear-it")
    @click.option("-f", "--format", "format_name")
    @click.option("--json", "as_json", is_flag=True)
    @engine_options
    def _hear(format_name: str, as_json: bool, **values: object) -> None:
        seen.update(format=format_name, json=as_json, share=settings_from(values).kv_share)

    name_variables(top, "EDGE_AUDIOKV_TOP")
    environment = {
        "EDGE_AUDIOKV_TOP_HEAR_IT_FORMAT": "srt",
        "EDGE_AUDIOKV_TOP_HEAR_IT_JSON": "1",
        "EDGE_AUDIOKV_TOP_HEAR_IT_KV_BUDGET": "40%",
        "EDGE_AUDIOKV_KV_BUDGET": "70%",
    }
    assert {*environment} <= {*variables(top)}
    result = CliRunner().invoke(top, ["hear-it"], env=environment)
    assert result.exit_code == 0, result.output
    assert seen == {"format": "srt", "json": True, "share": 0.4}


@pytest.mark.parametrize(
    ("args", "meant"),
    [
        (["transcribe", "x", "--mem", "2"], "2GB"),
        (["transcribe", "x", "--mem", "500"], "500MB"),
        (["models", "plan", "--mem", "4GB,8"], "8GB"),
        (["serve", "--max-upload", "25"], "25MB"),
        (["transcribe", "x", "--kv-budget", "40"], "40%"),
        (["models", "plan", "--kv-budget", "40"], "40%"),
    ],
)
def test_a_number_without_its_unit_is_wrong_usage(call, args, meant) -> None:
    ran = call(*args)
    assert ran.code == 2 and f"did you mean {meant}?" in ran.complaint


def test_an_upload_is_no_share_of_the_machine(call) -> None:
    ran = call("serve", "--max-upload", "50%")
    assert ran.code == 2 and "write a size such as 25MB" in ran.complaint


def test_a_bad_value_in_the_environment_is_wrong_usage() -> None:
    with pytest.raises(click.BadParameter, match="lots"):
        settings_of(EDGE_AUDIOKV_MEM="lots")


@pytest.mark.parametrize(
    ("args", "variable", "value", "option"),
    [
        ("transcribe x", "EDGE_AUDIOKV_MEM", "banana", "--mem"),
        ("transcribe x", "EDGE_AUDIOKV_TRANSCRIBE_MEM", "banana", "--mem"),
        ("transcribe x", "EDGE_AUDIOKV_KV_OPTION", "alpha", "--kv-option"),
        ("transcribe x", "EDGE_AUDIOKV_TRANSCRIBE_FORMAT", "xml", "--format"),
        ("models plan", "EDGE_AUDIOKV_MODELS_PLAN_MEM", "4 parsecs", "--mem"),
        (f"calibrate --data {__file__} -o y", "EDGE_AUDIOKV_CALIBRATE_TABLES", "z", "--tables"),
        ("serve", "EDGE_AUDIOKV_API_KEY", "short", "--api-key"),
        ("listen", "EDGE_AUDIOKV_LISTEN_REALTIME", "perhaps", "--realtime"),
        ("devices", "EDGE_AUDIOKV_QUIET", "perhaps", "--quiet"),
    ],
)
def test_a_bad_value_is_told_with_the_variable_it_came_from(
    call, monkeypatch, args, variable, value, option
) -> None:
    monkeypatch.setenv(variable, value)
    ran = call(*args.split())
    assert ran.code == 2, ran
    assert ran.complaint.startswith(f"edge-audiokv: Invalid value for {variable} ({option}): ")


def test_a_bad_value_that_was_typed_is_told_by_its_option(call, monkeypatch) -> None:
    monkeypatch.setenv("EDGE_AUDIOKV_MEM", "banana")
    assert "Invalid value for '--mem': 'lots'" in call("transcribe", "x", "--mem", "lots").complaint


def numbers(command: click.Command) -> list[click.Parameter]:
    found = [item for item in command.params if isinstance(item.type, click.FLOAT.__class__)]
    if isinstance(command, click.Group):
        context = click.Context(command)
        for name in command.list_commands(context):
            found += numbers(command.get_command(context, name) or command)
    return found


def test_no_command_takes_nan_for_a_number() -> None:
    options = numbers(cli)
    assert len(options) >= 10
    for option in options:
        with pytest.raises(click.BadParameter):
            option.type.convert("nan", option, None)
